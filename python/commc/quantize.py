"""Rewrites products with constant matrices to com.microsoft::MatMulNBits: weights of 4 or 8 bits, rounded to nearest.

    python -m commc.quantize model.onnx out.onnx --bits 4|8 --block 32 [--accuracy-level 4] [--symmetric]

Matches MatMul(x, w) and Gemm(x, w, bias) with w an initializer of rank 2 in f32 or f16. Every block of `--block` rows of a column gets a
scale and, without `--symmetric`, a zero point. Weights with other readers stay as well; all else is untouched. Large tensors go to
`out.onnx.data` where the model had external data. `--accuracy-level 4` allows the products to round their input to 8 bits.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
from onnx import helper, numpy_helper

MICROSOFT = "com.microsoft"
FLOATS = (onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16)


class Packed(NamedTuple):
    """A matrix [k, n] as MatMulNBits has it."""

    weights: np.ndarray  # uint8 [n, blocks, block * bits / 8]
    scales: np.ndarray  # [n, blocks], of the matrix' type
    zero_points: np.ndarray | None  # uint8 [n, ceil(blocks * bits / 8)]


class Report(NamedTuple):
    products: int  # rewritten
    others: int  # MatMul and Gemm that stay
    bytes_before: int  # of the rewritten matrices
    bytes_after: int


def pack(numbers: np.ndarray, bits: int) -> np.ndarray:
    """uint8 numbers [.., m] of `bits` bits as bytes [.., ceil(m * bits / 8)], the lowest bits first."""
    if bits == 8:
        return numbers
    even = np.pad(numbers, [(0, 0)] * (numbers.ndim - 1) + [(0, numbers.shape[-1] % 2)])
    return even[..., 0::2] | even[..., 1::2] << 4


def quantize(matrix: np.ndarray, bits: int, block: int, symmetric: bool) -> Packed:
    """Rounds a matrix [k, n] in blocks of rows. Raises ValueError when it holds no finite number somewhere."""
    if not np.isfinite(matrix).all():
        raise ValueError("a weight is not finite")
    k, n = matrix.shape
    blocks = -(-k // block)
    rows = np.zeros((n, blocks * block), np.float32)
    rows[:, :k] = matrix.T
    rows = rows.reshape(n, blocks, block)
    top, middle = 2**bits - 1, 2 ** (bits - 1)
    if symmetric:
        # The number of largest magnitude becomes -middle: the range has one more number below zero than above.
        at = np.abs(rows).argmax(-1)[..., None]
        scales, zeros = np.take_along_axis(rows, at, -1)[..., 0] / -middle, np.full((n, blocks), middle, np.float32)
    else:
        low, high = np.minimum(rows.min(-1), 0), np.maximum(rows.max(-1), 0)
        scales = (high - low) / top
        zeros = np.rint(-low / np.where(scales == 0, 1, scales)).clip(0, top)
    scales = np.where(scales == 0, 1, scales).astype(matrix.dtype)
    scales[scales == 0] = 1  # below the smallest number of the type
    numbers = np.rint(rows / scales[..., None].astype(np.float32) + zeros[..., None]).clip(0, top).astype(np.uint8)
    return Packed(pack(numbers, bits), scales, None if symmetric else pack(zeros.astype(np.uint8), bits))


def dequantize(packed: Packed, bits: int, k: int) -> np.ndarray:
    """The matrix [k, n] that the packed one stands for, f32."""

    def unpack(data: np.ndarray, count: int) -> np.ndarray:
        return data if bits == 8 else np.stack([data & 15, data >> 4], -1).reshape(*data.shape[:-1], -1)[..., :count]

    numbers = unpack(packed.weights, packed.weights.shape[-1] * 8 // bits).astype(np.float32)
    zeros = 2 ** (bits - 1) if packed.zero_points is None else unpack(packed.zero_points, packed.scales.shape[1]).astype(np.float32)[..., None]
    rows = (numbers - zeros) * packed.scales.astype(np.float32)[..., None]
    return rows.reshape(rows.shape[0], -1)[:, :k].T


def _attributes(node: onnx.NodeProto) -> dict:
    return {a.name: helper.get_attribute_value(a) for a in node.attribute}


def _matrix(node: onnx.NodeProto, weights: dict[str, onnx.TensorProto]) -> np.ndarray | None:
    """[k, n] of a product that can be rewritten, else None."""
    tensor = weights.get(node.input[1]) if len(node.input) > 1 else None
    if node.domain not in ("", "ai.onnx") or node.op_type not in ("MatMul", "Gemm") or tensor is None:
        return None
    if len(tensor.dims) != 2 or tensor.data_type not in FLOATS or 0 in tensor.dims:
        return None
    attributes = _attributes(node)
    if node.op_type == "Gemm" and (attributes.get("transA", 0) or attributes.get("alpha", 1.0) != 1.0 or attributes.get("beta", 1.0) != 1.0):
        return None
    matrix = numpy_helper.to_array(tensor)
    return matrix.T if attributes.get("transB", 0) else matrix


def quantize_model(model: onnx.ModelProto, bits: int = 4, block: int = 32, accuracy_level: int = 0, symmetric: bool = False) -> Report:
    """Rewrites the products of a model in place. Raises ValueError on options that MatMulNBits does not have."""
    if bits not in (4, 8):
        raise ValueError(f"{bits} bits: expected 4 or 8")
    if block < 16 or block > 256 or block & (block - 1):
        raise ValueError(f"blocks of {block}: expected a power of two from 16 to 256")
    graph = model.graph
    given = {value.name for value in graph.input}
    weights = {tensor.name: tensor for tensor in graph.initializer if tensor.name not in given}
    made: dict[str, tuple[list[str], int]] = {}  # of a weight and its orientation: names and bytes of its parts
    nodes, done, others, before, after = [], 0, 0, 0, 0
    for node in graph.node:
        matrix = _matrix(node, weights)
        if matrix is None:
            others += node.op_type in ("MatMul", "Gemm")
            nodes.append(node)
            continue
        key = node.input[1] + ("_transposed" if _attributes(node).get("transB", 0) else "")
        if key not in made:
            packed = quantize(matrix, bits, block, symmetric)
            parts = [(f"{key}_q{bits}", packed.weights), (f"{key}_scales", packed.scales)]
            parts += [] if symmetric else [(f"{key}_zero_points", packed.zero_points)]
            graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in parts)
            made[key] = [name for name, _ in parts], sum(array.nbytes for _, array in parts)
            before, after = before + matrix.nbytes, after + made[key][1]
        k, n = matrix.shape
        bias = node.input[2] if node.op_type == "Gemm" and len(node.input) > 2 else ""
        vector = bool(bias) and bias in weights and list(weights[bias].dims) == [n]
        result = node.output[0] if not bias or vector else f"{node.output[0]}_product"
        inputs = [node.input[0], *made[key][0]]
        inputs += [""] * (5 - len(inputs)) + [bias] if vector else []
        level = {"accuracy_level": accuracy_level} if accuracy_level else {}
        nodes.append(helper.make_node("MatMulNBits", inputs, [result], node.name, domain=MICROSOFT, K=k, N=n, bits=bits, block_size=block, **level))
        if bias and not vector:
            nodes.append(helper.make_node("Add", [result, bias], [node.output[0]], f"{node.name}_bias"))
        done += 1
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unread(graph)
    if done and not any(opset.domain == MICROSOFT for opset in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return Report(done, others, before, after)


def _drop_unread(graph: onnx.GraphProto) -> None:
    """Removes initializers that nothing reads, bodies of control flow included."""

    def names(part: onnx.GraphProto) -> set[str]:
        found = {value.name for value in part.output}
        for node in part.node:
            found.update(node.input)
            for attribute in node.attribute:
                for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
                    found |= names(body)
        return found

    read = names(graph)
    kept = [tensor for tensor in graph.initializer if tensor.name in read]
    del graph.initializer[:]
    graph.initializer.extend(kept)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m commc.quantize", description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bits", type=int, default=4, choices=(4, 8))
    parser.add_argument("--block", type=int, default=32, help="rows of a column that share a scale: 16 to 256, a power of two")
    parser.add_argument("--accuracy-level", type=int, default=0, choices=(0, 1, 4), help="4: products may round their input to 8 bits")
    parser.add_argument("--symmetric", action="store_true", help="no zero points")
    options = parser.parse_args(arguments)
    try:
        outside = any(onnx.external_data_helper.uses_external_data(t) for t in onnx.load(options.model, load_external_data=False).graph.initializer)
        model = onnx.load(options.model)
        report = quantize_model(model, options.bits, options.block, options.accuracy_level, options.symmetric)
        if report.products == 0:
            raise ValueError("no product with a constant matrix in f32 or f16; there is nothing to quantise")
        options.out.parent.mkdir(parents=True, exist_ok=True)
        data = options.out.name + ".data"
        (options.out.parent / data).unlink(missing_ok=True)  # onnx appends to what is there
        onnx.save(model, options.out, save_as_external_data=outside, location=data, size_threshold=1024)
    except Exception as error:  # the parsers of onnx and protobuf have classes of their own
        text = str(error).splitlines()
        print(f"commc.quantize: '{options.model}': {text[0] if text else type(error).__name__}", file=sys.stderr)
        return 1
    print(f"{options.out}: {report.products} products of {options.bits} bits, {report.bytes_before / 1e6:.1f} MB -> {report.bytes_after / 1e6:.1f} MB; "
          f"{report.others} products stay as they are")
    return 0


if __name__ == "__main__":
    sys.exit(main())
