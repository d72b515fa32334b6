#!/usr/bin/env bash
# fuzz.sh [SECONDS]: libFuzzer under ASan and UBSan on the importer and on the loader of executables, together for SECONDS (default
# 600), each on half of the cores. What was found before is tried first; a crash, leak, hang or too much memory ends it with an error
# and leaves the input in build-fuzz/found. Skips, saying so, where clang's libFuzzer is not installed.
set -euo pipefail
# shellcheck source=utils/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$top"

seconds=${1:-600}
[[ $seconds =~ ^[1-9][0-9]*$ ]] || die 2 "'$seconds' is not a number of seconds; usage: utils/fuzz.sh [SECONDS]"
if ! [ -e "$(clang++-22 --print-runtime-dir 2>/dev/null)/libclang_rt.fuzzer-$(uname -m).a" ] &&
  ! [ -e "$(clang++-22 --print-resource-dir 2>/dev/null)/lib/linux/libclang_rt.fuzzer-$(uname -m).a" ]; then
  echo "Skipped: libFuzzer is not installed (package libclang-rt-22-dev)."
  exit 0
fi

export ASAN_OPTIONS=allow_user_poisoning=0:allocator_may_return_null=1:detect_leaks=1
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
step configure-fuzz "configuring build-fuzz/" cmake --preset asan-ubsan -B build-fuzz -DCOMM_FUZZ=ON -DCOMM_TESTS=ON \
  -DCMAKE_CXX_FLAGS=-fsanitize=fuzzer-no-link
loud build-fuzz "building the fuzz targets" ninja -C build-fuzz fuzz-executable-libfuzzer fuzz-import-libfuzzer make-samples

work=$top/build-fuzz
mkdir -p "$work"/corpus/{executable,import} "$work"/seeds/{executable,import} "$work/found"
"$work/test/bin/make-samples" "$work/seeds/executable"
# Small models: one per kind of operator, and the operator tests of the package onnx.
python=.venv/bin/python
[ -x $python ] || python=python3
$python test/fuzz/seeds.py "$work/seeds/import"
PYTHONPATH=python $python -c 'import sys; from pathlib import Path; from commc import node_cases; list(node_cases.collect(Path(sys.argv[1])))' \
  "$work/cases" >/dev/null 2>&1 || echo "Without the operator tests of onnx."
find "$work/cases" test/data -name '*.onnx' -size -17k 2>/dev/null | while read -r model; do
  cp "$model" "$work/seeds/import/$(echo "${model#"$work/"}" | tr / _)"
done
grep -rhoE '"[A-Z][A-Za-z]+"' lib/Import/Ops lib/Import/OpTable.cpp | sort -u >"$work/seeds/import.dict"

# target SECONDS: one fuzzer, quiet unless it finds something.
target() {
  local name=$1 log=$work/$1.log dictionary=()
  [ "$name" = executable ] || dictionary=(-dict="$work/seeds/import.dict")
  if "$work/test/bin/fuzz-$name-libfuzzer" "$work/corpus/$name" "$work/seeds/$name" "${dictionary[@]}" -max_total_time="$2" \
    -max_len=131072 -timeout=25 -rss_limit_mb=3000 -malloc_limit_mb=2000 -artifact_prefix="$work/found/$name-" >"$log" 2>&1; then
    echo "fuzz $name: $(grep -E '^(Done|#[0-9]+.*DONE)' "$log" | tail -1)"
  else
    tail -60 "$log"
    echo "fuzz $name: FAILED, the input is in $work/found, the whole report in $log"
    return 1
  fi
}
status=0
target executable "$seconds" &
executable=$!
target import "$seconds" || status=1
wait "$executable" || status=1
[ "$status" = 0 ] && echo "Fuzzed for $seconds s, nothing found."
exit "$status"
