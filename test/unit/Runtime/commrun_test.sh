#!/bin/bash
# commrun_test.sh COMMRUN MAKE_SAMPLES: the command line of commrun on small executables. Prints the first failure.
set -u
commrun=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export XDG_CACHE_HOME=$dir/cache
mkdir "$XDG_CACHE_HOME"
"$2" "$dir" || exit 1
cd "$dir" || exit 1

# expect CODE TEXT ARGS...: exit code and a part of what is printed on both streams.
expect() {
  local code=$1 text=$2 got
  shift 2
  got=$("$commrun" "$@" 2>&1)
  local rc=$?
  if [ $rc -ne "$code" ] || [[ "$got" != *"$text"* ]]; then
    printf 'commrun %s\n  expected exit %s and "%s", got exit %s and:\n%s\n' "$*" "$code" "$text" "$rc" "$got"
    exit 1
  fi
}

expect 0 "Exit codes" --help
expect 0 "commrun " --version
expect 2 "executable is required"
expect 2 "unknown flag '--bnch'" matmul1.commx --bnch
expect 2 "did you mean --bench?" matmul1.commx --bnch
expect 2 "did you mean --save-outputs?" matmul1.commx --save-output=x.npz
expect 2 "neither @file.npz nor name=@file.npy" matmul1.commx --input x.npz
expect 2 "does not begin with @" matmul1.commx --expect x.npz
expect 2 "not rtol[,atol]" matmul1.commx --verify=abc
expect 2 "error[E201]" matmul1.commx --threads=0
expect 2 "error[E201]" matmul1.commx --ranks-as=hosts
expect 2 "--expect is given 1 times" matmul1.commx --input @a.npz --input @b.npz --expect @c.npz
expect 2 "error[E202]: none.npz" matmul1.commx --input @none.npz
expect 2 "no entry 'other'" matmul1.commx --entry=other
expect 3 "error[E301]: none.commx: No such file" none.commx
head -c 1000 matmul1.commx > cut.commx
expect 3 "truncated or damaged" cut.commx
expect 3 "error[E302]" native.commx
expect 3 "--trust-native" native.commx
expect 3 "error[E301]: native code" native.commx --trust-native

# Made-up inputs are the same for the same seed; outputs are written whole, and compare with themselves.
expect 0 "saved  a.npz" matmul1.commx --save-outputs a.npz
expect 0 "saved  b.npz" matmul1.commx --save-outputs b.npz --random-seed=0
expect 0 "saved  c.npz" matmul1.commx --save-outputs c.npz --random-seed=1
cmp a.npz b.npz || exit 1
cmp -s a.npz c.npz && { echo "another seed gives the same inputs"; exit 1; }
ls ./*.tmp* 2>/dev/null && { echo "temporary files are left"; exit 1; }
expect 0 "expect  1 tensors  max abs error 0" matmul1.commx --expect @a.npz
expect 7 "error[E701]: expect: tensor 'y' at [" matmul1.commx --expect @c.npz
expect 0 "ok" matmul1.commx --expect @c.npz,1e9
expect 0 "verify  1 tensors" matmul1.commx --verify
expect 0 "" matmul1.commx -q
[ -z "$("$commrun" matmul1.commx -q)" ] || { echo "-q prints"; exit 1; }
expect 2 "have 'y'" state1.commx --expect @a.npz

# Summary, JSON, trace.
expect 0 "=== Performance summary ===" matmul1.commx --bench --iterations=3 --warmup=0
expect 0 "runs 3" matmul1.commx --bench --iterations=3 --warmup=0
for key in latency_best_ms latency_median_ms bytes_sent_per_rank collectives_executed collectives_planned wait_share ranks arena_bytes weight_bytes iterations; do
  expect 0 "\"$key\":" matmul1.commx --bench --iterations=2 --warmup=0 --json
done
expect 0 "trace  t.json" matmul1.commx --trace t.json
grep -q '"cat":"compute"' t.json || { echo "the trace has no compute event"; exit 1; }

# Two calls: the state is carried over, or comes from the file.
expect 0 "entry prefill" state1.commx --entry=prefill --save-outputs p.npz
expect 0 "entry decode" state1.commx --entry=decode --save-outputs d.npz

# More ranks give the same numbers.
for ranks_as in processes threads; do
  expect 0 "  ok" matmul2.commx --expect @a.npz,0,1e-5 --ranks-as=$ranks_as
  expect 0 "collectives 1/1" matmul4.commx --verify --ranks-as=$ranks_as
  expect 0 "2 ranks" state2.commx --verify=0,0 --entry=decode --ranks-as=$ranks_as
done

# An emulated link: the same numbers, and every result names it.
expect 0 "  ok" matmul2.commx --expect @a.npz,0,1e-5 --link 1Gbit,50us
expect 0 "link 1 Gbit/s, 50 us" matmul2.commx --link 1Gbit,50us
expect 0 "link 1 Gbit/s, 50 us" matmul2.commx --link 125MB,0.05ms --bench --iterations=2 --warmup=0
expect 0 '"link":"100 Mbit/s, 20 us"' matmul2.commx --link 100Mbit,20us --json
expect 0 "link native" matmul2.commx --bench --iterations=2 --warmup=0
expect 2 "the link 'fast' is not a rate" matmul2.commx --link fast

# What was hidden.
expect 0 "Communication " matmul2.commx --bench --iterations=2 --warmup=0
expect 0 "all_reduce" matmul2.commx --bench --iterations=2 --warmup=0 -v
expect 0 "Without overlap: " matmul4.commx --bench --iterations=2 --warmup=0 --link 1Gbit,50us
expect 0 '"without_overlap_median_ms":' matmul4.commx --bench --iterations=2 --warmup=0 --json
for key in communication_ms hidden_ms exposed_ms late_ms compute_ms collectives; do
  expect 0 "\"$key\":" matmul2.commx --json
done

# A rank that is killed ends the run with exit 8, soon, and is named.
"$commrun" matmul2.commx --bench --iterations=100000000 --timeout=20 2> killed.txt &
run=$!
for _ in $(seq 100); do
  rank=$(pgrep -P $run -n) && break
  sleep 0.1
done
sleep 0.5
kill -9 "$rank"
begin=$SECONDS
wait $run
rc=$?
if [ $rc -ne 8 ] || [ $((SECONDS - begin)) -gt 10 ] || ! grep -q 'error\[E801\]: rank [01] was ended by signal 9' killed.txt; then
  echo "a killed rank: exit $rc after $((SECONDS - begin)) s: $(cat killed.txt)"
  exit 1
fi
echo "commrun: all passed"
