#!/usr/bin/env bash
# overhead.sh MODEL.commx: which share of a step's instructions lies outside of kernels, counted by callgrind (valgrind is
# needed; it runs the AVX2 kernels and takes a minute or two for a step of 3 GFLOP). The aim is 2 % or less.
#   COMMC_BIN=DIR   folder of commrun; default build/bin of this tree
set -euo pipefail
model=${1:?usage: overhead.sh MODEL.commx}
bin=${COMMC_BIN:-$(cd "$(dirname "$0")/.." && pwd)/build/bin}
command -v valgrind >/dev/null || { echo "overhead: valgrind is missing: apt-get install valgrind" >&2; exit 2; }
out=$(mktemp)
trap 'rm -f "$out"' EXIT
valgrind -q --tool=callgrind --callgrind-out-file="$out" --collect-atstart=no --toggle-collect='comm_session_run' \
  "$bin/commrun" "$model" --trust-native --quiet 2>/dev/null
# What threads share out is the kernels'; the rest of comm_session_run is the runtime's own, and so are here loops so short that the caller runs them.
callgrind_annotate --inclusive=yes --threshold=100 "$out" | awk '
  /PROGRAM TOTALS/ { gsub(",", "", $1); total = $1 }
  /Function_handler<comm::rt::Status.*(Step::run|StepChains::run)/ { gsub(",", "", $1); kernels += $1 }
  END {
    if (!total || !kernels) { print "overhead: nothing was counted" > "/dev/stderr"; exit 1 }
    printf "%d instructions in a step, %d of them outside of kernels: %.4f %%\n", total, total - kernels, 100 * (total - kernels) / total
  }'
