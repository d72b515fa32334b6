"""Writes small ONNX models, one per kind of operator and form of graph, for the importer's fuzz target to begin with: seeds.py FOLDER."""

import sys
from pathlib import Path

try:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper
except ImportError as missing:
    sys.exit(print(f"no seeds: {missing}"))

F, I, B = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def value(name, kind, shape):
    return helper.make_tensor_value_info(name, kind, shape)


def constant(name, array):
    return numpy_helper.from_array(np.asarray(array), name)


def save(folder, name, nodes, inputs, outputs, weights=(), opset=21):
    graph = helper.make_graph(nodes, "g", [value(*row) for row in inputs], [value(*row) for row in outputs], [constant(*row) for row in weights])
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    (folder / f"{name}.onnx").write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())


def ints(*numbers):
    return np.array(numbers, np.int64)


# Operator, further inputs, attributes; the first input is f32 [2, 3, 4, 4].
FOUR = [
    ("Softmax", {}, {"axis": 1}), ("Transpose", {}, {"perm": [0, 2, 3, 1]}), ("Reshape", {"to": ints(2, -1, 8)}, {}), ("Slice", {"b": ints(1), "e": ints(-1), "a": ints(2)}, {}),
    ("Pad", {"p": ints(0, 0, 1, 1, 0, 0, 1, 0)}, {"mode": "reflect"}), ("ReduceSum", {"axes": ints(1, 3)}, {"keepdims": 0}), ("Expand", {"to": ints(2, 2, 3, 4, 4)}, {}),
    ("Conv", {"w": np.ones((2, 3, 3, 3), np.float32)}, {"pads": [1, 1, 1, 1], "strides": [2, 1]}), ("MaxPool", {}, {"kernel_shape": [2, 2], "ceil_mode": 1}),
    ("Resize", {"": None, "s": np.array([1, 1, 2, 1.5], np.float32)}, {"mode": "linear"}), ("TopK", {"k": ints(2)}, {"axis": 2}), ("Tile", {"n": ints(1, 2, 1, 1)}, {}),
    ("Gather", {"i": ints(1, 0, -1)}, {"axis": 1}), ("ScatterND", {"i": ints(1, 0).reshape(1, 2), "u": np.ones((1, 4, 4), np.float32)}, {}),
    ("LayerNormalization", {"g": np.ones(4, np.float32), "b": np.zeros(4, np.float32)}, {}), ("CumSum", {"axis": np.array(2, np.int64)}, {"reverse": 1}),
    ("QuantizeLinear", {"s": np.array(0.1, np.float32), "z": np.array(3, np.uint8)}, {}), ("Einsum", {}, {"equation": "abcd->adb"}),
    ("Cast", {}, {"to": TensorProto.INT32}), ("Clip", {"lo": np.array(-1, np.float32)}, {}), ("Gelu", {}, {"approximate": "tanh"}), ("DepthToSpace", {}, {"blocksize": 1}),
    ("Split", {"n": ints(1, 2)}, {"axis": 1}), ("ArgMax", {}, {"axis": 3}), ("FastGelu", {}, {"domain": "com.microsoft"}),
]


def write(folder):
    folder.mkdir(parents=True, exist_ok=True)
    for op, more, attributes in FOUR:
        outputs = ["y", "z"] if op in ("TopK", "Split") else ["y"]
        kind = {"QuantizeLinear": TensorProto.UINT8, "Cast": TensorProto.INT32, "ArgMax": I}.get(op, F)
        save(folder, op, [helper.make_node(op, ["x", *more], outputs, **attributes)], [("x", F, [2, 3, 4, 4])],
             [(name, I if op == "TopK" and name == "z" else kind, None) for name in outputs], [(name, array) for name, array in more.items() if name])
    save(folder, "symbols", [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Slice", ["s", "zero", "two"], ["h"]),
                             helper.make_node("Concat", ["h", "rest"], ["to"], axis=0), helper.make_node("Reshape", ["x", "to"], ["r"]),
                             helper.make_node("MatMul", ["r", "w"], ["y"])],
         [("x", F, ["batch", "sequence", 8])], [("y", F, None)],
         [("zero", ints(0)), ("two", ints(2)), ("rest", ints(2, 4)), ("w", np.ones((4, 3), np.float32))])
    save(folder, "attention", [helper.make_node("Attention", ["q", "k", "v", "m"], ["y"], is_causal=1)],
         [(name, F, ["b", 2, "s", 4]) for name in "qkv"] + [("m", B, ["s", "s"])], [("y", F, None)], opset=23)
    save(folder, "group-query", [helper.make_node("GroupQueryAttention", ["q", "k", "v", "", "", "l", "t"], ["y"], domain="com.microsoft", num_heads=4, kv_num_heads=2)],
         [("q", F, [1, 3, 32]), ("k", F, [1, 3, 16]), ("v", F, [1, 3, 16])], [("y", F, None)], [("l", np.array([2], np.int32)), ("t", np.array(3, np.int32))])
    body = helper.make_graph([helper.make_node("Add", ["v", "x"], ["next"]), helper.make_node("Identity", ["on"], ["still"])], "body",
                             [value("i", I, []), value("on", B, []), value("v", F, [4])], [value("still", B, []), value("next", F, [4])])
    branches = [helper.make_graph([helper.make_node(op, ["last"], [op])], op, [], [value(op, F, [4])]) for op in ("Neg", "Abs")]
    save(folder, "control", [helper.make_node("Loop", ["n", "", "x"], ["last"], body=body), helper.make_node("If", ["c"], ["y"], then_branch=branches[0], else_branch=branches[1])],
         [("x", F, [4])], [("y", F, [4])], [("n", np.array(3, np.int64)), ("c", np.array(True))])
    function = helper.make_function("local", "Twice", ["a"], ["b"], [helper.make_node("Add", ["a", "a"], ["b"])], [helper.make_opsetid("", 21)])
    graph = helper.make_graph([helper.make_node("Twice", ["x"], ["y"], domain="local")], "g", [value("x", F, [2])], [value("y", F, [2])])
    model = helper.make_model(graph, functions=[function], opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("local", 1)], ir_version=10)
    (folder / "function.onnx").write_bytes(model.SerializeToString())


write(Path(sys.argv[1]))
