#!/usr/bin/env bash
# setup.sh DIR: two Python environments with the peers, DIR/peers (ONNX Runtime, OpenVINO, JAX) and DIR/torch (torch brings gigabytes).
# TORCH=0 leaves torch out. Nothing is installed into the project's own environment.
set -euo pipefail
dir=${1:?usage: setup.sh DIR}
mkdir -p "$dir"
environment() { # NAME PACKAGE...
  [ -x "$dir/$1/bin/python" ] || python3 -m venv "$dir/$1"
  echo "peers: installing ${*:2} into $dir/$1"
  "$dir/$1/bin/pip" install -q "${@:2}"
}
environment peers onnxruntime==1.31.1 onnx==1.23.2 numpy openvino==2026.4.1 "jax[cpu]==0.10.2"
[ "${TORCH:-1}" = 0 ] || environment torch torch==2.15.0 numpy
