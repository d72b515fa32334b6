"""Llama-shaped decoders as torch's exporter decomposes them below opset 23: RMSNorm, rotary, grouped-query attention, SwiGLU.

Inputs input_ids int64 [B, S], attention_mask int64 [B, T], with a cache also past_key_values.N.key and .value [B, K, past, D]. Outputs
logits [B, S, vocab] and present.N.key and .value. With position_ids int64 [B, S] the places of the tokens are an input, else they count
from the size of the past. group_query has com.microsoft's GroupQueryAttention in place of the attention's parts, rotary inside, places by
the attention mask, as onnxruntime-genai's model builder writes it. A bare model is the blocks alone: hidden_states [B, S, E] instead of input_ids,
and the output hidden_states_out [B, S, E] instead of logits.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from onnx import TensorProto

from commc.generators import cache as kv
from commc.generators.net import DTYPES, Net


@dataclass(frozen=True)
class Config:
    hidden: int = 64
    heads: int = 8
    kv_heads: int = 4
    layers: int = 2
    inter: int = 128
    vocab: int = 256
    head_dim: int | None = None  # None: hidden / heads
    qkv_bias: bool = False
    theta: float = 10000.0
    cache: bool = False
    position_ids: bool = False
    group_query: bool = False
    positions: int = 512  # rows of the tables that GroupQueryAttention turns by
    bare: bool = False
    dtype: str = "f32"
    opset: int = 20
    seed: int = 0
    batch: int | None = None
    sequence: int | None = None

    @property
    def size(self) -> int:
        return self.head_dim or self.hidden // self.heads


# The sizes of Llama 3 70B; 70.6 billion parameters.
LLAMA_70B = Config(hidden=8192, heads=64, kv_heads=8, layers=80, inter=28672, vocab=128256, theta=500000.0, batch=1)


def build(config: Config, folder: Path, external: bool = False, sparse: bool = False) -> Path:
    """Writes the model and returns its path; `sparse` gives all weights room in a sparse file and no values.

    Raises ValueError for sizes that do not fit together.
    """
    c = config
    if c.heads % c.kv_heads or c.size % 2 or (c.head_dim is None and c.hidden % c.heads):
        raise ValueError("heads must be a multiple of kv_heads, hidden of heads, and the head size must be even")
    if c.group_query and (not c.cache or c.position_ids):
        raise ValueError("group_query needs a cache, and takes the places of tokens from the mask")
    net = Net("llama", folder, c.opset, c.seed, c.dtype, external, sparse, c.batch, c.sequence)
    g = net.g
    if c.bare:
        first = g.input("hidden_states", net.onnx_dtype, [net.batch, net.sequence, c.hidden])
    else:
        first = g.input("input_ids", TensorProto.INT64, [net.batch, net.sequence])
    mask = g.input("attention_mask", TensorProto.INT64, [net.batch, "total_sequence" if c.cache else net.sequence])
    pasts = kv.declare(net, c.layers, c.kv_heads, c.size) if c.cache else []
    batch, sequence = net.dim(first, 0, net.batch), net.dim(first, 1, net.sequence)
    past = g.op("Shape", pasts[0][0], start=2, end=3) if c.cache else g.const([0])
    total = g.op("Add", past, sequence) if c.cache else sequence
    dims = (batch, sequence, total)
    x = first if c.bare else g.op("Gather", net.weight("model.embed_tokens.weight", (c.vocab, c.hidden), 0.5), first,
                                  name="/model/embed_tokens/Gather")
    zero, one = g.const(0), g.const(1)
    scalar_total = g.op("Squeeze", total, g.const([0]))
    queries = g.op("Range", g.op("Squeeze", past, g.const([0])), scalar_total, one, name="/model/positions/Range")
    if c.group_query:
        cos_sin, bias = _stored_tables(net, c), _row_lengths(net, mask)
    else:
        places = g.input("position_ids", TensorProto.INT64, [net.batch, net.sequence]) if c.position_ids else g.op("Unsqueeze", queries, g.const([0]))
        cos_sin = _rotary_tables(net, c, places)
        bias = _mask(net, mask, queries, g.op("Range", zero, scalar_total, one))
    for i in range(c.layers):
        x = _layer(net, c, x, bias, cos_sin, dims, i, pasts)
    if c.bare:
        g.output(x, "hidden_states_out", net.onnx_dtype, [net.batch, net.sequence, c.hidden])
        g.save(net.path)
        return net.path
    logits = net.linear(net.rms_norm(x, "model.norm", c.hidden, 1e-5), "lm_head", c.hidden, c.vocab)
    g.output(logits, "logits", net.onnx_dtype, [net.batch, net.sequence, c.vocab])
    g.save(net.path)
    return net.path


def make_inputs(config: Config, batch: int = 2, sequence: int = 9, steps: int = 0, seed: int = 1) -> list[dict[str, np.ndarray]]:
    """One prefill and `steps` decode calls (see cache.make_calls)."""
    caches = [(config.kv_heads, config.size)] * config.layers if config.cache else None
    dtype = DTYPES[config.dtype]
    calls = kv.make_calls(config.vocab, config.batch or batch, config.sequence or sequence, steps, seed, caches, dtype)
    if config.position_ids:
        kv.add_positions(calls)
    if config.bare:
        rng = np.random.default_rng(seed)
        for call in calls:
            call["hidden_states"] = rng.standard_normal((*call.pop("input_ids").shape, config.hidden), dtype=np.float32).astype(dtype)
    return calls


def _rotary_tables(net: Net, c: Config, positions: str) -> tuple[str, str]:
    """cos and sin [B, 1, S, D] of the positions [B, S], in the graph's type."""
    g = net.g
    inverse = (c.theta ** (-np.arange(0, c.size, 2, dtype=np.float64) / c.size)).astype(np.float32)
    column = g.op("Cast", g.op("Unsqueeze", positions, g.const([2])), to=TensorProto.FLOAT)  # [B, S, 1]
    angles = g.op("Mul", column, g.const(inverse.reshape(1, 1, -1), np.float32))
    both = g.op("Concat", angles, angles, axis=-1)
    tables = []
    for op_type in ("Cos", "Sin"):
        table = g.op(op_type, both, name=f"/model/rotary_emb/{op_type}")
        if c.dtype != "f32":
            table = g.op("Cast", table, to=net.onnx_dtype)
        tables.append(g.op("Unsqueeze", table, g.const([1])))
    return tables[0], tables[1]


def _stored_tables(net: Net, c: Config) -> tuple[str, str]:
    """cos and sin [positions, D/2] as weights."""
    angles = np.outer(np.arange(c.positions), c.theta ** (-np.arange(0, c.size, 2, dtype=np.float64) / c.size))
    return net.g.weight("cos_cache", np.cos(angles).astype(net.dtype)), net.g.weight("sin_cache", np.sin(angles).astype(net.dtype))


def _row_lengths(net: Net, attention_mask: str) -> tuple[str, str]:
    """(tokens of each row less one, int32 [B]; size of the mask, int32 scalar)."""
    g = net.g
    last = g.op("Sub", g.op("ReduceSum", attention_mask, g.const([1]), keepdims=0), g.const(1))
    total = g.op("Squeeze", g.op("Shape", attention_mask, start=1, end=2), g.const([0]))
    return g.op("Cast", last, to=TensorProto.INT32), g.op("Cast", total, to=TensorProto.INT32)


def _group_query(net: Net, c: Config, qkv: list[str], past: tuple[str, str], lengths: tuple[str, str], tables: tuple[str, str], i: int) -> str:
    """The attention of one layer, [B, S, H*D]; declares present.N.key and .value."""
    g = net.g
    context, *presents = g.op("GroupQueryAttention", *qkv, *past, *lengths, *tables, outputs=3, name=f"/model.layers.{i}/attn/GroupQueryAttention",
                              domain="com.microsoft", num_heads=c.heads, kv_num_heads=c.kv_heads, do_rotary=1)
    for part, present in zip(("key", "value"), presents):
        g.output(present, f"present.{i}.{part}", net.onnx_dtype, [net.batch, c.kv_heads, "total_sequence", c.size])
    return context


def _mask(net: Net, attention_mask: str, queries: str, keys: str) -> str:
    """Additive [B, 1, S, T]: zero where the key is not in the future and not padding, else the lowest value."""
    g = net.g
    causal = g.op("LessOrEqual", g.op("Unsqueeze", keys, g.const([0, 1, 2])), g.op("Unsqueeze", queries, g.const([0, 1, 3])))
    valid = g.op("Unsqueeze", g.op("Cast", attention_mask, to=TensorProto.BOOL), g.const([1, 2]))
    lowest = float(ml_dtypes.finfo(net.dtype).min)
    return g.op("Where", g.op("And", causal, valid, name="/model/mask/And"), net.scalar(0.0), net.scalar(lowest))


def _rotate(net: Net, c: Config, x: str, cos_sin: tuple[str, str]) -> str:
    """x * cos + Concat(-x[D/2:], x[:D/2]) * sin on [B, H, S, D]."""
    g, half, end = net.g, c.size // 2, np.iinfo(np.int64).max
    low = g.op("Slice", x, g.const([0]), g.const([half]), g.const([3]), g.const([1]))
    high = g.op("Slice", x, g.const([half]), g.const([end]), g.const([3]), g.const([1]))
    turned = g.op("Concat", g.op("Neg", high), low, axis=-1)
    return g.op("Add", g.op("Mul", x, cos_sin[0]), g.op("Mul", turned, cos_sin[1]))


def _repeat_kv(net: Net, c: Config, x: str, dims: tuple[str, str, str]) -> str:
    """[B, K, T, D] -> [B, H, T, D] by Unsqueeze, Expand, Reshape; nothing when there are as many KV heads as heads."""
    if c.kv_heads == c.heads:
        return x
    g, groups = net.g, c.heads // c.kv_heads
    target = g.op("Concat", dims[0], g.const([c.kv_heads]), g.const([groups]), dims[2], g.const([c.size]), axis=0)
    wide = g.op("Expand", g.op("Unsqueeze", x, g.const([2])), target)
    return net.reshape(wide, dims[0], c.heads, dims[2], c.size)


def _attention(net: Net, c: Config, qkv: list[str], bias: str, cos_sin: tuple[str, str], dims: tuple[str, str, str], i: int, pasts: list) -> str:
    """The attention of one layer in its parts, [B, S, H*D]; with a cache it declares present.N.key and .value."""
    g, name = net.g, f"model.layers.{i}"
    q, k, v = (net.split_heads(x, dims[0], dims[1], c.size) for x in qkv)
    q, k = _rotate(net, c, q, cos_sin), _rotate(net, c, k, cos_sin)
    if c.cache:
        k = kv.append(net, pasts[i][0], k, i, "key", c.kv_heads, c.size)
        v = kv.append(net, pasts[i][1], v, i, "value", c.kv_heads, c.size)
    k, v = _repeat_kv(net, c, k, dims), _repeat_kv(net, c, v, dims)
    scale = net.scalar(c.size ** -0.25)  # on both sides, as torch's scaled_dot_product_attention is exported
    keys = g.op("Mul", g.op("Transpose", k, perm=[0, 1, 3, 2]), scale)
    scores = g.op("Add", g.op("MatMul", g.op("Mul", q, scale), keys, name=f"/{name}/self_attn/scores"), bias)
    context = g.op("MatMul", g.op("Softmax", scores, axis=-1), v, name=f"/{name}/self_attn/context")
    return net.merge_heads(context, dims[0], dims[1], c.heads * c.size)


def _layer(net: Net, c: Config, x: str, bias: str, cos_sin: tuple[str, str], dims: tuple[str, str, str], i: int, pasts: list) -> str:
    g, name = net.g, f"model.layers.{i}"
    normed = net.rms_norm(x, f"{name}.input_layernorm", c.hidden, 1e-5)
    qkv = [net.linear(normed, f"{name}.self_attn.{part}_proj", c.hidden, heads * c.size, bias=c.qkv_bias)
           for part, heads in (("q", c.heads), ("k", c.kv_heads), ("v", c.kv_heads))]
    if c.group_query:
        merged = _group_query(net, c, qkv, pasts[i], bias, cos_sin, i)
    else:
        merged = _attention(net, c, qkv, bias, cos_sin, dims, i, pasts)
    x = g.op("Add", x, net.linear(merged, f"{name}.self_attn.o_proj", c.heads * c.size, c.hidden))
    normed = net.rms_norm(x, f"{name}.post_attention_layernorm", c.hidden, 1e-5)
    gate = net.linear(normed, f"{name}.mlp.gate_proj", c.hidden, c.inter)
    silu = g.op("Mul", gate, g.op("Sigmoid", gate), name=f"/{name}/mlp/act")
    up = net.linear(normed, f"{name}.mlp.up_proj", c.hidden, c.inter)
    return g.op("Add", x, net.linear(g.op("Mul", silu, up), f"{name}.mlp.down_proj", c.inter, c.hidden))
