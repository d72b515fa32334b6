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

utils/setup.sh test
utils/build.sh
loud lint "checking style, layers and generated docs" utils/lint.sh
loud ctest "unit tests" ctest --test-dir build --output-on-failure -j "$(nproc)" --timeout 600
loud lit "lit tests" ninja -C build check-comm
loud pytest "Python and end-to-end tests" .venv/bin/python -m pytest -q -c test/pytest.ini "${pytest_options[@]}" test
echo "All tests passed in $SECONDS s."
