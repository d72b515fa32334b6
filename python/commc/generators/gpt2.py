"""GPT-2-shaped decoders: pre-norm, packed QKV through Gemm (Conv1D), learned positions, tanh GELU, tied head.

Inputs input_ids int64 [B, S], attention_mask int64 [B, T], with a cache also past_key_values.N.key and .value. Outputs logits [B, S, vocab]
and present.N.key and .value. With position_ids int64 [B, S] the places of the tokens are an input, else they count from the size of the past.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto

from commc.generators import cache as kv
from commc.generators.net import Net

LOWEST = float(np.finfo(np.float32).min)


@dataclass(frozen=True)
class Config:
    hidden: int = 64
    heads: int = 8
    layers: int = 2
    inter: int = 256
    vocab: int = 256
    positions: int = 64
    cache: bool = False
    position_ids: bool = False
    opset: int = 18
    seed: int = 0
    batch: int | None = None
    sequence: int | None = None


def build(config: Config, folder: Path, external: bool = False) -> Path:
    """Writes the model and returns its path. Raises ValueError for sizes that do not fit together."""
    c = config
    if c.hidden % c.heads:
        raise ValueError(f"hidden {c.hidden} is not a multiple of heads {c.heads}")
    net = Net("gpt2", folder, c.opset, c.seed, external=external, batch=c.batch, sequence=c.sequence)
    g, size = net.g, c.hidden // c.heads
    ids = g.input("input_ids", TensorProto.INT64, [net.batch, net.sequence])
    total_name = "total_sequence" if c.cache else net.sequence
    attention_mask = g.input("attention_mask", TensorProto.INT64, [net.batch, total_name])
    pasts = kv.declare(net, c.layers, c.heads, size) if c.cache else []
    batch, sequence = net.dim(ids, 0, net.batch), net.dim(ids, 1, net.sequence)
    past = g.op("Shape", pasts[0][0], start=2, end=3) if c.cache else g.const([0])
    total = g.op("Add", past, sequence) if c.cache else sequence
    wte = net.weight("transformer.wte.weight", (c.vocab, c.hidden), 0.5)
    wpe = net.weight("transformer.wpe.weight", (c.positions, c.hidden), 0.5)
    if c.position_ids:
        places = g.op("Gather", wpe, g.input("position_ids", TensorProto.INT64, [net.batch, net.sequence]), name="/transformer/wpe/Gather")
    else:
        places = g.op("Slice", wpe, past, total, g.const([0]), name="/transformer/wpe/Slice")
    x = g.op("Add", g.op("Gather", wte, ids, name="/transformer/wte/Gather"), places)
    masks = _masks(net, c, attention_mask, past, total)
    for i in range(c.layers):
        x = _block(net, c, x, masks, batch, sequence, i, pasts)
    x = net.layer_norm(x, "transformer.ln_f", c.hidden, 1e-5)
    logits = g.op("MatMul", x, g.op("Transpose", wte, perm=[1, 0]), name="/lm_head/MatMul")
    g.output(logits, "logits", TensorProto.FLOAT, [net.batch, net.sequence, c.vocab])
    g.save(net.path)
    return net.path


def make_inputs(config: Config, batch: int = 2, sequence: int = 9, steps: int = 0, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """One prefill and `steps` decode calls (see cache.make_calls). At most `positions` tokens in all."""
    caches = [(config.heads, config.hidden // config.heads)] * config.layers if config.cache else None
    calls = kv.make_calls(config.vocab, config.batch or batch, config.sequence or sequence, steps, seed, caches)
    if config.position_ids:
        kv.add_positions(calls)
    return calls


def _masks(net: Net, c: Config, attention_mask: str, past: str, total: str) -> tuple[str, str]:
    """(causal bool [1, 1, S, T] cut from the stored triangle, additive padding bias [B, 1, 1, T])."""
    g = net.g
    triangle = g.const(np.tril(np.ones((1, 1, c.positions, c.positions))), np.bool_)
    rows = g.op("Slice", triangle, past, total, g.const([2]))
    causal = g.op("Slice", rows, g.const([0]), total, g.const([3]))
    wide = g.op("Cast", g.op("Unsqueeze", attention_mask, g.const([1, 2])), to=TensorProto.FLOAT)
    return causal, g.op("Mul", g.op("Sub", net.scalar(1.0), wide), net.scalar(LOWEST))


def _conv1d(net: Net, x: str, name: str, fan_in: int, fan_out: int, batch: str, sequence: str) -> str:
    """Reshape to rows, Gemm, Reshape back, as transformers' Conv1D is exported."""
    weight = net.weight(f"{name}.weight", (fan_in, fan_out), 1.0 / math.sqrt(fan_in))
    rows = net.reshape(x, -1, fan_in)
    y = net.g.op("Gemm", rows, weight, net.weight(f"{name}.bias", (fan_out,), 0.1), name=f"/{name}/Gemm")
    return net.reshape(y, batch, sequence, fan_out)


def _block(net: Net, c: Config, x: str, masks: tuple[str, str], batch: str, sequence: str, i: int, pasts: list) -> str:
    g, size, name = net.g, c.hidden // c.heads, f"transformer.h.{i}"
    packed = _conv1d(net, net.layer_norm(x, f"{name}.ln_1", c.hidden, 1e-5), f"{name}.attn.c_attn", c.hidden, 3 * c.hidden, batch, sequence)
    parts = g.op("Split", packed, g.const([c.hidden] * 3), outputs=3, axis=2, name=f"/{name}/attn/Split")
    q, k, v = (net.split_heads(part, batch, sequence, size) for part in parts)
    if c.cache:
        k = kv.append(net, pasts[i][0], k, i, "key", c.heads, size)
        v = kv.append(net, pasts[i][1], v, i, "value", c.heads, size)
    scores = g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2]), name=f"/{name}/attn/scores")
    scores = g.op("Div", scores, net.scalar(math.sqrt(size)))
    scores = g.op("Add", g.op("Where", masks[0], scores, net.scalar(LOWEST)), masks[1])
    context = g.op("MatMul", g.op("Softmax", scores, axis=-1), v, name=f"/{name}/attn/context")
    merged = net.merge_heads(context, batch, sequence, c.hidden)
    x = g.op("Add", _conv1d(net, merged, f"{name}.attn.c_proj", c.hidden, c.hidden, batch, sequence), x)
    up = _conv1d(net, net.layer_norm(x, f"{name}.ln_2", c.hidden, 1e-5), f"{name}.mlp.c_fc", c.hidden, c.inter, batch, sequence)
    return g.op("Add", x, _conv1d(net, _gelu_new(net, up), f"{name}.mlp.c_proj", c.inter, c.hidden, batch, sequence))


def _gelu_new(net: Net, x: str) -> str:
    """0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    g = net.g
    inner = g.op("Add", x, g.op("Mul", g.op("Pow", x, net.scalar(3.0)), net.scalar(0.044715)))
    tanh = g.op("Tanh", g.op("Mul", inner, net.scalar(math.sqrt(2.0 / math.pi))))
    return g.op("Mul", g.op("Mul", x, net.scalar(0.5)), g.op("Add", tanh, net.scalar(1.0)))
