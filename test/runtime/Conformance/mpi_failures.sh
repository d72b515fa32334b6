#!/bin/bash
# mpi_failures.sh MPIEXEC MPI_CONFORMANCE: ranks over MPI that die, hang or disagree. Prints the first failure.
set -u
mpiexec=$1 program=$2

# expect RANKS REQUEST TEXT...: the run ends by itself, not with 0, and says each text.
expect() {
  local ranks=$1 request=$2 out rc
  shift 2
  out=$(timeout 120 "$mpiexec" -n "$ranks" "$program" "$request" 2>&1)
  rc=$?
  for text in "$@"; do
    if [[ "$out" != *"$text"* ]]; then
      printf '%s over %s ranks: "%s" is not in (exit %s):\n%s\n' "$request" "$ranks" "$text" "$rc" "$out"
      exit 1
    fi
  done
  if [ $rc -eq 0 ] || [ $rc -eq 124 ]; then # 124: it had to be ended
    printf '%s over %s ranks: exit %s:\n%s\n' "$request" "$ranks" "$rc" "$out"
    exit 1
  fi
}

# A killed rank: MPI itself notices and ends the others.
expect 3 "steps 50 2 20 9" "signal 9"
# One that loops: the deadline names it and the operation; its process is ended too.
expect 2 "steps 50 1 20 1" "heard: rank 0 waited 700 ms in all_reduce #20 'layer/o_proj' for rank 1 (after all_reduce #19 'layer/o_proj')"
expect 3 "steps 50 2 0 1" "for rank 2 (before its first operation)"
# Disagreements are found before data moves, on every rank or by the news from another one.
for which in 0 1 7; do # ConformanceTest has all of them, over a made-up MPI and shared memory
  expect 2 "mismatch $which" "the ranks disagree: " "#3 'layer/o_proj'"
done
expect 2 "mismatch 5" "run different programs"
expect 2 "mismatch 9" "elements to rank"
echo "failures over MPI: all passed"
