#!/usr/bin/env bash
# build.sh [target...]: configures the release preset in build/ and builds the targets (default: everything).
set -euo pipefail
# shellcheck source=utils/steps.sh
. "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
cd "$top"

options=()
# Tests need packages that a user of the tools does not: a first build of single targets leaves them out.
[ $# -gt 0 ] && [ ! -e build/CMakeCache.txt ] && options+=(-DCOMM_TESTS=OFF)
[ $# -gt 0 ] || options+=(-DCOMM_TESTS=ON)
step configure "configuring build/" cmake --preset release "${options[@]}"
loud build "building ${*:-everything} (first time: several minutes)" \
  env NINJA_STATUS='[%f/%t %es] ' ninja -C build ${COMM_JOBS:+-j "$COMM_JOBS"} "$@"
