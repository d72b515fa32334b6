"""GroupQueryAttention with a cache: rows whose past is shorter than the buffer, chunks of new tokens, windows. Oracle: ONNX Runtime."""

import numpy as np
import onnx
import pytest
from harness import RELATIVE
from onnx import TensorProto, helper

from commc import arrays, generate, reference

HEADS, KV_HEADS, SIZE, PAST, POSITIONS = 4, 2, 16, 5, 32


def model(folder, batch, tokens, shared=False, **attributes):
    """One node; lengths come at run time, the total is known from the shapes. Shared: present has the room of past."""
    folder.mkdir(parents=True, exist_ok=True)
    total = PAST + (0 if shared else tokens)
    ports = {
        "query": [batch, tokens, HEADS * SIZE],
        "key": [batch, tokens, KV_HEADS * SIZE],
        "value": [batch, tokens, KV_HEADS * SIZE],
        "past_key": [batch, KV_HEADS, PAST, SIZE],
        "past_value": [batch, KV_HEADS, PAST, SIZE],
    }
    angle = np.outer(np.arange(POSITIONS), 0.7 ** np.arange(SIZE // 2)).astype(np.float32)
    node = helper.make_node(
        "GroupQueryAttention",
        [*ports, "seqlens_k", "total", "cos", "sin"],
        ["output", "present_key", "present_value"],
        domain="com.microsoft",
        num_heads=HEADS,
        kv_num_heads=KV_HEADS,
        do_rotary=1,
        **attributes,
    )
    present = [batch, KV_HEADS, total, SIZE]
    graph = helper.make_graph(
        [node],
        "group_query",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in ports.items()]
        + [helper.make_tensor_value_info("seqlens_k", TensorProto.INT32, [batch])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ports["query"])]
        + [helper.make_tensor_value_info(name, TensorProto.FLOAT, present) for name in ("present_key", "present_value")],
        [
            onnx.numpy_helper.from_array(np.array(total, np.int32), "total"),
            onnx.numpy_helper.from_array(np.cos(angle), "cos"),
            onnx.numpy_helper.from_array(np.sin(angle), "sin"),
        ],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    random = np.random.default_rng(3)
    return path, {name: random.standard_normal(shape, np.float32) for name, shape in ports.items()}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(
    "name, tokens, pasts, attributes",
    [
        ("full", 1, [PAST], {}),
        ("padded", 1, [3], {}),
        ("padded-chunk", 3, [2], {}),
        ("full-chunk", 3, [PAST], {}),
        ("empty-past", 1, [0], {}),
        ("padded-window", 1, [4], {"local_window_size": 2}),
        ("padded-chunk-window", 3, [4], {"local_window_size": 2}),
        ("rows", 1, [3, PAST], {}),
        ("rows-window", 1, [4, 2], {"local_window_size": 2}),
        ("shared", 1, [3], {"shared": True}),
        ("shared-last", 1, [PAST - 1], {"shared": True}),
        ("shared-chunk", 3, [2], {"shared": True}),
        ("shared-rows-window", 1, [3, 2], {"shared": True, "local_window_size": 2}),
    ],
)
def test_against_onnx_runtime(name, tokens, pasts, attributes, ranks, lab):
    path, given = model(lab.folder / f"group-query-{name}", len(pasts), tokens, **attributes)
    given["seqlens_k"] = np.array(pasts, np.int32) + tokens - 1
    inputs = generate.write_calls(path.parent, "inputs", [given])
    expected, actual = reference.run(path, given), lab.outputs(path, ranks, inputs)[0]
    difference = arrays.compare(actual, {"output": expected["output"]})
    assert difference.relative <= RELATIVE, f"output: {difference}"
    for cache in ("present_key", "present_value"):
        for row, past in enumerate(pasts):  # behind its own tokens a row is unspecified
            np.testing.assert_allclose(actual[cache][row, :, : past + tokens], expected[cache][row, :, : past + tokens], rtol=1e-5, atol=1e-5)
