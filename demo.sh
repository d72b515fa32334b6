#!/usr/bin/env bash
# demo.sh [arguments of commc.demo]: installs, builds and runs the main job: two real models on 1, 2 and 4 ranks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
utils/setup.sh demo
utils/build.sh commc commrun
PYTHONPATH=python exec .venv/bin/python -m commc.demo "$@"
