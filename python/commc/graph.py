"""Writes ONNX graphs node by node, with weights inside the file or in one external data file.

Names are unique per graph. Constants of equal content share one initializer. External data is written while the graph is built, tensor
after tensor, each aligned to 4096 bytes; a sparse graph reserves the room and writes nothing.
"""

from __future__ import annotations

import math
import os
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

ALIGNMENT = 4096  # bytes; what the ONNX format recommends for external data
WIDTH = {TensorProto.FLOAT: 4, TensorProto.FLOAT16: 2, TensorProto.BFLOAT16: 2, TensorProto.DOUBLE: 8, TensorProto.INT64: 8, TensorProto.INT32: 4}


class Graph:
    """An ONNX graph under construction.

    opset: version of the default domain. data: path of the external data file, or None to keep weights inside the model file.
    sparse: weights get room in the data file but no bytes (the file reads as zeros and takes no disk space).
    """

    def __init__(self, name: str, opset: int, data: Path | None = None, sparse: bool = False):
        if sparse and data is None:
            raise ValueError("a sparse graph needs an external data file")
        self.name, self.opset, self.sparse = name, opset, sparse
        self.nodes, self.inputs, self.outputs, self.initializers = [], [], [], []
        self.parameters = 0  # elements of all weights
        self._data = Path(data) if data else None
        self._file = open(self._data, "wb") if data else None
        self._end = 0
        self._domains: set[str] = set()
        self._constants: dict = {}
        self._counts: dict[str, int] = {}

    def input(self, name: str, dtype: int, shape) -> str:
        """Declares a graph input; shape items are ints or names of dynamic dimensions. Returns `name`."""
        self.inputs.append(helper.make_tensor_value_info(name, dtype, shape))
        return name

    def output(self, value: str, name: str, dtype: int, shape) -> None:
        """Declares the output `name`, the same tensor as `value`."""
        if value != name:
            self.nodes.append(helper.make_node("Identity", [value], [name], name=self._unique("output")))
        self.outputs.append(helper.make_tensor_value_info(name, dtype, shape))

    def weight(self, name: str, array: np.ndarray | None = None, *, shape=None, dtype: int | None = None) -> str:
        """Adds a weight, kept in the data file if the graph has one. A sparse graph takes `shape` and `dtype` instead of an array."""
        if self._file is None:
            self.initializers.append(numpy_helper.from_array(array, name))
            self.parameters += array.size
            return name
        if array is not None:
            shape, dtype = array.shape, helper.np_dtype_to_tensor_dtype(array.dtype)
        offset = -(-self._end // ALIGNMENT) * ALIGNMENT
        length = math.prod(shape) * WIDTH[dtype]
        if not self.sparse:
            self._file.seek(offset)
            self._file.write(np.ascontiguousarray(array).tobytes())
        self._end = offset + length
        self.parameters += math.prod(shape)
        tensor = TensorProto(name=name, data_type=dtype, dims=shape, data_location=TensorProto.EXTERNAL)
        for key, value in (("location", self._data.name), ("offset", offset), ("length", length)):
            tensor.external_data.add(key=key, value=str(value))
        self.initializers.append(tensor)
        return name

    def const(self, value, dtype=np.int64) -> str:
        """An initializer inside the model file for a small constant; equal constants share one."""
        array = np.asarray(value, dtype=dtype)
        key = (array.dtype.str, str(array.dtype), array.shape, array.tobytes())
        if key not in self._constants:
            self._constants[key] = self._unique("const")
            self.initializers.append(numpy_helper.from_array(array, self._constants[key]))
        return self._constants[key]

    def op(self, op_type: str, *operands: str, name: str | None = None, outputs: int = 1, result: str | None = None, **attributes):
        """Adds a node and returns its output name, or a tuple of them when `outputs` > 1. `result` names a single output.

        The attribute `domain` is that of the operator.
        """
        self._domains.update([attributes["domain"]] if "domain" in attributes else [])
        node_name = self._unique(name or op_type.lower())
        results = [result] if result else [f"{node_name}_out{i}" if outputs > 1 else f"{node_name}_out" for i in range(outputs)]
        self.nodes.append(helper.make_node(op_type, list(operands), results, name=node_name, **attributes))
        return results[0] if outputs == 1 else tuple(results)

    def reduce(self, op_type: str, value: str, axis: int, keepdims: int = 1, name: str | None = None) -> str:
        """ReduceMean, ReduceMax, ReduceSum over one axis in the spelling of the graph's opset."""
        as_input = self.opset >= 18 or (op_type == "ReduceSum" and self.opset >= 13)
        if as_input:
            return self.op(op_type, value, self.const([axis]), name=name, keepdims=keepdims)
        return self.op(op_type, value, name=name, keepdims=keepdims, axes=[axis])

    def save(self, path: Path) -> None:
        """Finishes the data file, checks the model, and writes it."""
        path = Path(path)
        if self._file:
            if self._data.parent.resolve() != path.parent.resolve():
                raise ValueError("external data must lie beside the model file")
            self._file.close()
            os.truncate(self._data, self._end)
        graph = helper.make_graph(self.nodes, self.name, self.inputs, self.outputs, self.initializers)
        opsets = [helper.make_opsetid("", self.opset), *(helper.make_opsetid(domain, 1) for domain in sorted(self._domains))]
        ir_version = 10 if self.opset >= 21 else 8
        model = helper.make_model(graph, opset_imports=opsets, ir_version=ir_version, producer_name="commc")
        path.write_bytes(model.SerializeToString())
        onnx.checker.check_model(str(path))

    def _unique(self, base: str) -> str:
        count = self._counts.get(base, 0)
        self._counts[base] = count + 1
        return base if count == 0 else f"{base}_{count}"
