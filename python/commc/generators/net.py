"""Weights from a seed and the layers that several transformer families share, as exporters decompose them.

Shapes in comments: B batch, S sequence, T past + sequence, H heads, K KV heads, D head size, E hidden size.
"""

from __future__ import annotations

import math
import zlib
from pathlib import Path

import ml_dtypes
import numpy as np
from onnx import helper

from commc.graph import Graph

DTYPES = {"f32": np.float32, "f16": np.float16, "bf16": ml_dtypes.bfloat16}


class Net:
    """A graph with a float type, a weight seed, and the dimension vectors every shape computation is made of.

    batch, sequence: an int for a static dimension, None for a dynamic one called `batch` or `sequence`.
    """

    def __init__(self, name: str, folder: Path, opset: int, seed: int, dtype: str = "f32", external: bool = False, sparse: bool = False,
                 batch: int | None = None, sequence: int | None = None):
        if not 17 <= opset <= 22:
            raise ValueError(f"opset {opset}: the generators write opset 17 to 22")
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / "model.onnx"
        self.g = Graph(name, opset, folder / "model.onnx.data" if external or sparse else None, sparse)
        self.seed, self.dtype = seed, DTYPES[dtype]
        self.onnx_dtype = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        self.batch = "batch" if batch is None else batch
        self.sequence = "sequence" if sequence is None else sequence

    def weight(self, name: str, shape: tuple[int, ...], scale: float, mean: float = 0.0) -> str:
        """A normal(mean, scale) weight; its values depend on the seed and its name only."""
        if self.g.sparse:
            return self.g.weight(name, shape=shape, dtype=self.onnx_dtype)
        rng = np.random.default_rng([self.seed, zlib.crc32(name.encode())])
        values = rng.standard_normal(shape, dtype=np.float32) * np.float32(scale) + np.float32(mean)
        return self.g.weight(name, values.astype(self.dtype))

    def scalar(self, value: float) -> str:
        return self.g.const(value, self.dtype)

    def dim(self, value: str, axis: int, static: int | str) -> str:
        """A vector of one int64: the size of `value` along `axis`, computed unless it is static."""
        if isinstance(static, int):
            return self.g.const([static])
        return self.g.op("Shape", value, start=axis, end=axis + 1)

    def reshape(self, value: str, *dims: str | int) -> str:
        """Reshape to dims given as ints or as vectors of one int64."""
        if all(isinstance(d, int) for d in dims):
            return self.g.op("Reshape", value, self.g.const(list(dims)))
        parts = [self.g.const([d]) if isinstance(d, int) else d for d in dims]
        return self.g.op("Reshape", value, self.g.op("Concat", *parts, axis=0))

    def linear(self, x: str, name: str, fan_in: int, fan_out: int, bias: bool = False, gain: float = 1.0) -> str:
        """MatMul with a [fan_in, fan_out] weight, then Add of a bias."""
        weight = self.weight(f"{name}.weight", (fan_in, fan_out), gain / math.sqrt(fan_in))
        y = self.g.op("MatMul", x, weight, name=f"/{name}/MatMul")
        if not bias:
            return y
        return self.g.op("Add", y, self.weight(f"{name}.bias", (fan_out,), 0.1), name=f"/{name}/Add")

    def layer_norm(self, x: str, name: str, hidden: int, epsilon: float, decomposed: bool = False) -> str:
        """LayerNormalization over the last axis, or ReduceMean, Sub, Pow, ReduceMean, Add, Sqrt, Div, Mul, Add."""
        scale = self.weight(f"{name}.weight", (hidden,), 0.1, mean=1.0)
        bias = self.weight(f"{name}.bias", (hidden,), 0.1)
        g = self.g
        if not decomposed:
            return g.op("LayerNormalization", x, scale, bias, name=f"/{name}/LayerNormalization", axis=-1, epsilon=epsilon)
        centred = g.op("Sub", x, g.reduce("ReduceMean", x, -1), name=f"/{name}/Sub")
        variance = g.reduce("ReduceMean", g.op("Pow", centred, self.scalar(2.0)), -1)
        deviation = g.op("Sqrt", g.op("Add", variance, self.scalar(epsilon)))
        return g.op("Add", g.op("Mul", g.op("Div", centred, deviation), scale), bias, name=f"/{name}/Add")

    def rms_norm(self, x: str, name: str, hidden: int, epsilon: float) -> str:
        """Pow, ReduceMean, Add, Sqrt, Reciprocal, Mul, Mul; in f32 between Casts when the graph's type is narrower."""
        g, narrow = self.g, self.dtype is not np.float32
        wide = g.op("Cast", x, to=1) if narrow else x
        mean = g.reduce("ReduceMean", g.op("Pow", wide, g.const(2.0, np.float32)), -1)
        root = g.op("Sqrt", g.op("Add", mean, g.const(epsilon, np.float32)))
        normed = g.op("Mul", wide, g.op("Reciprocal", root), name=f"/{name}/Mul")
        if narrow:
            normed = g.op("Cast", normed, to=self.onnx_dtype)
        return g.op("Mul", self.weight(f"{name}.weight", (hidden,), 0.1, mean=1.0), normed, name=f"/{name}/scale/Mul")

    def split_heads(self, x: str, batch: str, sequence: str, size: int) -> str:
        """[B, S, H*D] -> [B, H, S, D]."""
        return self.g.op("Transpose", self.reshape(x, batch, sequence, -1, size), perm=[0, 2, 1, 3])

    def merge_heads(self, x: str, batch: str, sequence: str, hidden: int) -> str:
        """[B, H, S, D] -> [B, S, H*D]."""
        return self.reshape(self.g.op("Transpose", x, perm=[0, 2, 1, 3]), batch, sequence, hidden)
