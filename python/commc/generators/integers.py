"""Models of matmul, add, ReLU, gather, reshape and concat whose weights and inputs are small integers in f32.

Every partial sum stays below 2**24, so f32 arithmetic is exact in any order and N ranks must equal one rank bit for bit.
"""

from __future__ import annotations

from pathlib import Path
from typing import Callable

import numpy as np
from onnx import TensorProto

from commc.graph import Graph

OPSET = 20
FLOAT = TensorProto.FLOAT


class _Maker:
    def __init__(self, name: str, seed: int):
        self.g = Graph(name, OPSET)
        self.rng = np.random.default_rng(seed)

    def weight(self, name: str, *shape: int) -> str:
        return self.g.weight(name, self.rng.integers(-2, 3, shape).astype(np.float32))


def _mlp(m: _Maker) -> dict[str, np.ndarray]:
    """Two layers with ReLU between: a column split followed by a row split."""
    g = m.g
    x = g.input("x", FLOAT, [4, 24])
    hidden = g.op("Relu", g.op("Add", g.op("MatMul", x, m.weight("w1", 24, 48)), m.weight("b1", 48)))
    y = g.op("Add", g.op("MatMul", hidden, m.weight("w2", 48, 12)), m.weight("b2", 12))
    g.output(y, "y", FLOAT, [4, 12])
    return {"x": m.rng.integers(-2, 3, (4, 24)).astype(np.float32)}


def _residual(m: _Maker) -> dict[str, np.ndarray]:
    """Two residual blocks on a 3-D input, widths no rank count divides; one matmul twice."""
    g = m.g
    x = g.input("x", FLOAT, [2, 5, 15])
    value = x
    for i in range(2):
        up = g.op("Relu", g.op("MatMul", value, m.weight(f"up{i}", 15, 35)))
        value = g.op("Add", value, g.op("MatMul", up, m.weight(f"down{i}", 35, 15)))
    g.output(value, "y", FLOAT, [2, 5, 15])
    return {"x": m.rng.integers(-1, 2, (2, 5, 15)).astype(np.float32)}


def _embedding(m: _Maker) -> dict[str, np.ndarray]:
    """Gather from a table, a matmul, and a head as wide as the table (vocabulary-parallel on both ends)."""
    g = m.g
    ids = g.input("ids", TensorProto.INT64, [2, 6])
    rows = g.op("Gather", m.weight("table", 30, 16), ids, axis=0)
    hidden = g.op("Relu", g.op("MatMul", rows, m.weight("w", 16, 16)))
    g.output(g.op("MatMul", hidden, m.weight("head", 16, 30)), "scores", FLOAT, [2, 6, 30])
    return {"ids": m.rng.integers(0, 30, (2, 6))}


def _heads(m: _Maker) -> dict[str, np.ndarray]:
    """Reshape into heads and back, a product of two activations per head, and a concat of two branches."""
    g = m.g
    x = g.input("x", FLOAT, [1, 6, 16])
    shape, perm = g.const([1, 6, 4, 4]), [0, 2, 1, 3]
    q = g.op("Transpose", g.op("Reshape", g.op("MatMul", x, m.weight("wq", 16, 16)), shape), perm=perm)
    k = g.op("Transpose", g.op("Reshape", g.op("MatMul", x, m.weight("wk", 16, 16)), shape), perm=[0, 2, 3, 1])
    scores = g.op("Relu", g.op("MatMul", q, k))  # [1, 4, 6, 6]
    flat = g.op("Reshape", g.op("Transpose", scores, perm=perm), g.const([1, 6, 24]))
    both = g.op("Concat", flat, g.op("MatMul", x, m.weight("side", 16, 8)), axis=-1)
    g.output(both, "joined", FLOAT, [1, 6, 32])
    g.output(g.op("MatMul", both, m.weight("out", 32, 8)), "y", FLOAT, [1, 6, 8])
    return {"x": m.rng.integers(-1, 2, (1, 6, 16)).astype(np.float32)}


MODELS: dict[str, Callable[[_Maker], dict[str, np.ndarray]]] = {
    "mlp": _mlp, "residual": _residual, "embedding": _embedding, "heads": _heads,
}


def build(name: str, folder: Path, seed: int = 0) -> tuple[Path, dict[str, np.ndarray]]:
    """Writes model `name` of MODELS; returns its path and its inputs."""
    maker = _Maker(name, seed)
    inputs = MODELS[name](maker)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    maker.g.save(path)
    return path, inputs
