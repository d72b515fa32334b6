#!/usr/bin/env bash
# sanitize.sh [all|compiler|corpus]: ASan+UBSan over runtime, formats and importer, and TSan over the runtime, with their unit tests.
# "compiler" puts the whole compiler under ASan and runs the lit tests; "all" does both. "corpus" compiles and runs exported models at 1
# and 2 ranks with sanitized tools: those of test/data/second_tier, and those in the folder that COMMC_MODELS names.
set -euo pipefail
# shellcheck source=utils/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$top"

# libMLIR.so is not built with ASan, and its inline allocators poison what it then uses.
export ASAN_OPTIONS=allow_user_poisoning=0:detect_stack_use_after_return=1
export UBSAN_OPTIONS=print_stacktrace=1
export TSAN_OPTIONS=halt_on_error=1:second_deadlock_stack=1

# Unit tests of one build folder whose names match; an empty set is a mistake, not a success.
unit_tests() { ctest --test-dir "$1" --output-on-failure --no-tests=error -j "$(nproc)" --timeout 600 "${@:2}"; }

# sanitized PRESET FOLDER TARGET...
sanitized() {
  step "configure-$1" "configuring $2/" cmake --preset "$1"
  loud "build-$1" "building under $1" ninja -C "$2" "${@:3}"
}

parts() {
  sanitized asan-ubsan build-asan sanitized-tests
  loud test-asan "unit tests under ASan and UBSan" unit_tests build-asan -L sanitized
  sanitized tsan build-tsan
  loud test-tsan "unit tests under TSan" unit_tests build-tsan
}

compiler() {
  sanitized asan-ubsan build-asan
  loud test-compiler "unit tests of everything under ASan and UBSan" unit_tests build-asan
  loud lit-compiler "lit tests under ASan and UBSan" ninja -C build-asan check-comm
}

corpus() {
  local python=.venv/bin/python
  [ -x $python ] || python=python3
  sanitized asan-ubsan build-asan commc commrun commc-rank
  [ -n "${COMMC_MODELS:-}" ] || echo "Skipped: further exported models, COMMC_MODELS names no folder of them."
  COMMC_BIN=$top/build-asan/bin UBSAN_OPTIONS=$UBSAN_OPTIONS:halt_on_error=1 loud corpus "exported models under ASan and UBSan" \
    $python -m pytest -q -c test/pytest.ini test/e2e/test_models.py -k "(equals_oracle and not -4]) or refused"
}

case ${1:-} in
  "") parts ;;
  compiler) compiler ;;
  corpus) corpus ;;
  all) parts && compiler ;;
  *) die 2 "unknown argument '$1'; usage: utils/sanitize.sh [all|compiler|corpus]" ;;
esac
echo "Sanitizers passed in $SECONDS s."
