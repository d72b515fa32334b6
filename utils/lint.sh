#!/usr/bin/env bash
# lint.sh [--fix]: style, layers, sizes and generated docs of all files of the tree; lists every problem, exits 1 if there is one.
# --fix formats the sources and writes the generated docs first.
# As a pre-commit hook: ln -s ../../utils/lint.sh "$(git rev-parse --git-path hooks)/pre-commit"
set -euo pipefail
# Under a symbolic link (the hook) this still finds the tree.
cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.."

status=0
# check NAME COMMAND...: runs one check; its output explains a failure.
check() {
  local name=$1
  shift
  if "$@"; then echo "lint: $name ok"; else
    echo "lint: $name FAILED"
    status=1
  fi
}

files() { git ls-files --cached --others --exclude-standard -- "$@"; }

cxx_files() { files '*.cpp' '*.h' '*.c' '*.cu' '*.cuh'; }

# Names the files only; --fix shows and does the rest.
format() {
  local wrong
  wrong=$(cxx_files | xargs -r clang-format-22 --dry-run --ferror-limit=1 2>&1 | sed -n 's/^\([^: ]*\):[0-9].*/\1/p' | sort -u)
  [ -z "$wrong" ] || { echo "not formatted (utils/lint.sh --fix):" && echo "$wrong" && return 1; }
}

# Over 500 lines asks why, over 800 fails.
sizes() {
  files '*.cpp' '*.h' '*.cu' '*.cuh' '*.td' '*.py' '*.sh' | xargs -r wc -l | awk '
    $2 == "total" { next }
    $1 > 800 { print $2 ": " $1 " lines, the limit is 800"; bad = 1; next }
    $1 > 500 { print $2 ": warning: " $1 " lines; is it more than one thing?" }
    END { exit bad }'
}

python_syntax() { files '*.py' | xargs -r python3 -c '
import ast, sys
for path in sys.argv[1:]:
    ast.parse(open(path, encoding="utf-8").read(), path)'; }

shell() { files '*.sh' .ci/run | xargs -r shellcheck; }

# Absolute paths of somebody's machine: this checkout's parent, a home directory.
machine_paths() {
  local parent
  parent=$(dirname "$PWD")
  case $parent in / | /tmp | /opt | /srv) parent=/home ;; esac # folders anybody may have
  ! git grep --untracked -nIE -e "${parent//./\\.}/|/home/[a-z]|/Users/[A-Za-z]" -- . ':!utils/lint.sh'
}

if [ "${1:-}" = --fix ]; then
  cxx_files | xargs -r clang-format-22 -i
  utils/gen_docs.sh
fi

check clang-format format
check layers python3 utils/check_layers.py
check sizes sizes
check python python_syntax
check shell shell
check "machine paths" machine_paths
check "generated docs" utils/gen_docs.sh --check
exit $status
