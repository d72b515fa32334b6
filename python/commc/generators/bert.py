"""BERT-shaped encoders: post-norm, erf GELU, additive padding mask, pooler.

Inputs input_ids, attention_mask, token_type_ids, all int64 [B, S]. Outputs last_hidden_state [B, S, E] and pooler_output [B, E].
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto

from commc.generators.net import Net

LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Config:
    hidden: int = 64
    heads: int = 8
    layers: int = 2
    inter: int = 128
    vocab: int = 256
    positions: int = 64
    opset: int = 20
    decomposed: bool = False  # LayerNorm and GELU as their parts, as opset 14 exports have them
    seed: int = 0
    batch: int | None = None  # None: dynamic
    sequence: int | None = None


def build(config: Config, folder: Path, external: bool = False) -> Path:
    """Writes the model and returns its path. Raises ValueError when heads does not divide hidden."""
    c = config
    if c.hidden % c.heads:
        raise ValueError(f"hidden {c.hidden} is not a multiple of heads {c.heads}")
    net = Net("bert", folder, c.opset, c.seed, external=external, batch=c.batch, sequence=c.sequence)
    g = net.g
    shape = [net.batch, net.sequence]
    ids, mask, types = (g.input(n, TensorProto.INT64, shape) for n in ("input_ids", "attention_mask", "token_type_ids"))
    batch, sequence = net.dim(ids, 0, net.batch), net.dim(ids, 1, net.sequence)
    x = _embed(net, c, ids, types, sequence)
    # (1 - mask) * lowest, added to the scores: [B, 1, 1, S]
    wide = g.op("Cast", g.op("Unsqueeze", g.op("Unsqueeze", mask, g.const([1])), g.const([2])), to=TensorProto.FLOAT)
    bias = g.op("Mul", g.op("Sub", net.scalar(1.0), wide), net.scalar(LOWEST))
    for i in range(c.layers):
        x = _layer(net, c, x, bias, batch, sequence, f"encoder.layer.{i}")
    g.output(x, "last_hidden_state", TensorProto.FLOAT, shape + [c.hidden])
    first = g.op("Gather", x, g.const(0), axis=1)
    pooled = g.op("Tanh", net.linear(first, "pooler.dense", c.hidden, c.hidden, bias=True))
    g.output(pooled, "pooler_output", TensorProto.FLOAT, [net.batch, c.hidden])
    g.save(net.path)
    return net.path


def make_inputs(config: Config, batch: int = 2, sequence: int = 11, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """One call; rows after the first are padded on the right to different lengths."""
    rng = np.random.default_rng(seed)
    batch, sequence = config.batch or batch, config.sequence or sequence
    mask = np.ones((batch, sequence), np.int64)
    for row in range(1, batch):
        mask[row, max(1, sequence - 2 * row):] = 0
    types = np.zeros((batch, sequence), np.int64)
    types[:, sequence // 2:] = 1
    return [{"input_ids": rng.integers(0, config.vocab, (batch, sequence)) * mask, "attention_mask": mask, "token_type_ids": types}]


def _embed(net: Net, c: Config, ids: str, types: str, sequence: str) -> str:
    g = net.g
    words = g.op("Gather", net.weight("embeddings.word_embeddings.weight", (c.vocab, c.hidden), 0.5), ids, name="/embeddings/words/Gather")
    kinds = g.op("Gather", net.weight("embeddings.token_type_embeddings.weight", (2, c.hidden), 0.5), types, name="/embeddings/types/Gather")
    table = net.weight("embeddings.position_embeddings.weight", (c.positions, c.hidden), 0.5)
    places = g.op("Slice", table, g.const([0]), sequence, g.const([0]), name="/embeddings/positions/Slice")
    total = g.op("Add", g.op("Add", words, kinds), places)
    return net.layer_norm(total, "embeddings.LayerNorm", c.hidden, 1e-12, c.decomposed)


def _layer(net: Net, c: Config, x: str, bias: str, batch: str, sequence: str, name: str) -> str:
    g, size = net.g, c.hidden // c.heads
    q, k, v = (net.split_heads(net.linear(x, f"{name}.attention.self.{part}", c.hidden, c.hidden, bias=True), batch, sequence, size)
               for part in ("query", "key", "value"))
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]), name=f"/{name}/attention/scores")
    scores = g.op("Add", g.op("Div", scores, net.scalar(math.sqrt(size))), bias)
    context = g.op("MatMul", g.op("Softmax", scores, axis=-1), v, name=f"/{name}/attention/context")
    merged = net.merge_heads(context, batch, sequence, c.hidden)
    out = net.linear(merged, f"{name}.attention.output.dense", c.hidden, c.hidden, bias=True)
    x = net.layer_norm(g.op("Add", out, x), f"{name}.attention.output.LayerNorm", c.hidden, 1e-12, c.decomposed)
    up = net.linear(x, f"{name}.intermediate.dense", c.hidden, c.inter, bias=True)
    down = net.linear(gelu(net, up, c.decomposed), f"{name}.output.dense", c.inter, c.hidden, bias=True)
    return net.layer_norm(g.op("Add", down, x), f"{name}.output.LayerNorm", c.hidden, 1e-12, c.decomposed)


def gelu(net: Net, x: str, decomposed: bool) -> str:
    """erf GELU: the Gelu operator from opset 20 on, else Div, Erf, Add, Mul, Mul."""
    g = net.g
    if g.opset >= 20 and not decomposed:
        return g.op("Gelu", x)
    erf = g.op("Erf", g.op("Div", x, net.scalar(math.sqrt(2.0))))
    return g.op("Mul", g.op("Mul", x, g.op("Add", erf, net.scalar(1.0))), net.scalar(0.5))
