"""Gives an exported language model an input position_ids.

    python -m commc.positions model.onnx -o with_positions.onnx

torch's exporter leaves the places of new tokens to the size of the past: Range, behind Shape. In an executable the past has a fixed room, so
`commrun --generate` needs to say the places itself. Replaced are whole numbers that follow from shapes alone and that go into Cos and Sin
(rotary embeddings) or choose rows of a weight (learned positions, stored tables); what compares places, the causal mask, stays. External
data is left where it is: write the result into the same folder. Holds for a batch of one.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import onnx
from onnx import TensorProto, helper

# Between the numbers and Cos or Sin.
ELEMENTWISE = {"Mul", "MatMul", "Concat", "Transpose", "Unsqueeze", "Squeeze", "Expand", "Reshape", "Identity", "Einsum", "Where"}
FLOATS = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE}


def add_position_ids(model: onnx.ModelProto) -> list[str]:
    """Changes the model; the values that were replaced. Raises ValueError when it has the input already or counts no places from shapes."""
    graph = model.graph
    ports = {port.name: port for port in graph.input}
    if "position_ids" in ports:
        raise ValueError("the model has an input position_ids")
    if "input_ids" not in ports:
        raise ValueError("the model has no input input_ids")
    producers = {output: node for node in graph.node for output in node.output}
    weights = {weight.name for weight in graph.initializer}
    varying = _varying(graph, weights)

    found: dict[str, list[tuple[onnx.NodeProto, int]]] = {}  # value: readers to change

    def replace(node: onnx.NodeProto, index: int) -> None:
        value = node.input[index]
        if value in producers and varying.get(value) == "shape":
            readers = found.setdefault(value, [])
            if not any(reader is node and at == index for reader, at in readers):
                readers.append((node, index))

    for node in graph.node:
        if node.op_type in ("Cos", "Sin"):
            for cast in _casts(node, producers):
                replace(cast, 0)
        if node.op_type == "Gather" and node.input[0] in weights and _float_weight(graph, node.input[0]):
            replace(node, 1)
    if not found:
        raise ValueError("no places of tokens are counted from shapes: nothing to replace")

    kind = ports["input_ids"].type.tensor_type
    graph.input.append(helper.make_tensor_value_info("position_ids", TensorProto.INT64, [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]))
    for number, (value, readers) in enumerate(found.items()):
        shape, places = f"position_ids_shape_{number}", f"position_ids_{number}"
        new = [helper.make_node("Shape", [value], [shape], name=shape), helper.make_node("Reshape", ["position_ids", shape], [places], name=places)]
        at = 1 + next(i for i, node in enumerate(graph.node) if value in node.output)
        nodes = list(graph.node)
        del graph.node[:]
        graph.node.extend(nodes[:at] + new + nodes[at:])
        changed = {(id_of, index) for id_of, index in ((_key(node), index) for node, index in readers)}
        for node in graph.node:
            for index in range(len(node.input)):
                if (_key(node), index) in changed:
                    node.input[index] = places
    return list(found)


def _key(node: onnx.NodeProto) -> tuple[str, ...]:
    return tuple(node.output)


def _float_weight(graph: onnx.GraphProto, name: str) -> bool:
    return any(weight.name == name and weight.data_type in FLOATS and len(weight.dims) == 2 for weight in graph.initializer)


def _varying(graph: onnx.GraphProto, weights: set[str]) -> dict[str, str]:
    """What each value follows from: nothing ("constant"), shapes of inputs ("shape") or their elements ("data")."""
    rank = ["constant", "shape", "data"]
    kinds = {port.name: "data" for port in graph.input if port.name not in weights}
    for node in graph.node:
        inputs = [kinds.get(name, "constant") for name in node.input if name]
        kind = max(inputs, key=rank.index, default="constant")
        if node.op_type in ("Shape", "Size") and kind == "data":
            kind = "shape"
        for output in node.output:
            kinds[output] = kind
    return kinds


def _casts(node: onnx.NodeProto, producers: dict[str, onnx.NodeProto]) -> list[onnx.NodeProto]:
    """The casts to floats that a node's operand comes from."""
    casts, waiting, seen = [], [node], set()
    while waiting:
        for name in waiting.pop().input:
            source = producers.get(name)
            if source is None or name in seen:
                continue
            seen.add(name)
            if source.op_type == "Cast" and any(a.name == "to" and a.i in FLOATS for a in source.attribute):
                casts.append(source)
            if source.op_type in ELEMENTWISE or source.op_type == "Cast":
                waiting.append(source)
    return casts


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m commc.positions", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    options = parser.parse_args(argv)
    try:
        model = onnx.load(options.model, load_external_data=False)
        replaced = add_position_ids(model)
        onnx.save(model, options.output)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{options.output}: position_ids in place of {', '.join(replaced)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
