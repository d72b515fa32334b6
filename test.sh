#!/usr/bin/env bash
# test.sh [--quick]: installs what the tests need, builds everything, runs lint, ctest, lit and pytest.
# --quick leaves out the tests marked slow (the large end-to-end sweeps).
set -euo pipefail
# shellcheck source=utils/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/utils/steps.sh"
cd "$top"

pytest_options=()
case ${1:-} in
  "") ;;
  --quick) pytest_options+=(-m "not slow") ;;
  *) die 2 "unknown argument '$1'; usage: ./test.sh [--quick]" ;;
esac

# stage WORD SENTENCE COMMAND...: one kind of test; the others run even if it fails.
failed=()
stage() {
  mkdir -p "$logs"
  (loud "$@") 2>&1 | tee "$logs/$1.log" || failed+=("$1")
}

# The last words of each stage, together.
closings() {
  echo
  echo "lint    $(grep -c ' ok$' "$logs/lint.log") checks passed, $(grep -c ' FAILED$' "$logs/lint.log") failed"
  echo "ctest   $(grep 'tests passed' "$logs/ctest.log")"
  echo "lit     $(sed -n 's/^  \([A-Z][A-Za-z ]*\): *\([0-9]*\).*/\2 \1/p' "$logs/lit.log" | paste -sd, | tr '[:upper:]' '[:lower:]')"
  echo "pytest  $(grep -E '^[0-9]+ (passed|failed|skipped|error)|^no tests' "$logs/pytest.log" | tail -n 1)"
}

utils/setup.sh test
utils/build.sh
stage lint "checking style, layers and generated docs" utils/lint.sh
stage ctest "unit tests" ctest --test-dir build --output-on-failure --no-tests=error -j "$(nproc)" --timeout 600
stage lit "lit tests" ninja -C build check-comm
stage pytest "Python and end-to-end tests" .venv/bin/python -m pytest -q -c test/pytest.ini "${pytest_options[@]}" test
closings
[ ${#failed[@]} -eq 0 ] || die 1 "failed: ${failed[*]} (logs in $logs); $SECONDS s"
echo "All tests passed in $SECONDS s."
