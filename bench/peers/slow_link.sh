#!/usr/bin/env bash
# slow_link.sh RATE [ROUNDS]: four W1 blocks of 512 tokens as two ranks in two network namespaces joined by a token bucket of RATE (MTU 9000, burst
# 64 KB, one core a rank): commc's plain plan, what commc chooses, and torch over gloo, plain and split in halves by hand, in turn. One JSON line
# per run, milliseconds. Needs root, Open MPI and the torch environment of setup.sh (ENVS=DIR; default build/peers); without it commc runs alone.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
rate=${1:?usage: slow_link.sh RATE [ROUNDS]} rounds=${2:-3}
envs=${ENVS:-$top/build/peers}
torch=$envs/torch/bin/python
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export BURST=64kb PROBE=0 MTU=9000
cd "$top"
PYTHONPATH=python:bench/overlap:bench .venv/bin/python - "$work" <<'PY'
import dataclasses, pathlib, sys
import sweep
from commc import generate
from commc.generators import llama
folder = pathlib.Path(sys.argv[1])
config = dataclasses.replace(sweep.BLOCKS, sequence=512)
llama.build(config, folder, external=True)
generate.write_calls(folder, "inputs", llama.make_inputs(config))
PY
link=${rate/gbit/Gbit}
link=${link/mbit/Mbit}
compile() { build/bin/commc "$work/model.onnx" --devices=cpu:2 --shapes-from=@"$work/inputs.npz" --link="$link,50us" -o "$work/$1.commx" -q "${@:2}"; }
compile plain --overlap=off
compile chosen
ours() {
  bench/overlap/two_namespaces.sh "$rate" build/bin/commrun "$work/$1.commx" --transport=mpi --input @"$work/inputs.npz" --bench --iterations=5 --json |
    .venv/bin/python -c '
import json, sys
text = sys.stdin.read()
found = json.loads(text[text.index("{") :])
print(json.dumps({"what": "commc " + sys.argv[1], "best_ms": round(found["latency_best_ms"], 1), "median_ms": round(found["latency_median_ms"], 1),
                  "hidden": round(found["hidden_ms"] / found["communication_ms"], 3) if found["communication_ms"] else 1.0}), flush=True)' "$1"
}
for ((round = 0; round < rounds; ++round)); do
  ours plain
  ours chosen
  if [ -x "$torch" ]; then
    # shellcheck disable=SC2016 # the rank is known inside only
    bench/overlap/two_namespaces.sh "$rate" bash -c 'cd "$1" && RANK=$OMPI_COMM_WORLD_RANK MASTER_ADDR=10.78.0.1 MASTER_PORT=29577 \
      GLOO_SOCKET_IFNAME=ve$OMPI_COMM_WORLD_RANK exec "$2" tp_slow.py 4 3' torch "$here" "$torch" | grep '^{'
  fi
done
