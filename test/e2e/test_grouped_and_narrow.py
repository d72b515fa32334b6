"""Rows sorted by expert, 4-bit integers and dense experts, against numpy."""

import numpy as np
import pytest
from onnx import helper
from test_values_and_types import F, I, model_of, run

from commc import arrays, tools

U4, I4 = 21, 22  # onnx.TensorProto.UINT4, INT4


def grouped(folder, broken=False):
    """Three groups of rows with their own weights; the bounds are inputs of the graph."""
    nodes, parts, begin = [helper.make_node("Constant", [], ["zero"], value_int=0), helper.make_node("Constant", [], ["one"], value_int=1)], [], "zero"
    for i in range(3):
        start = "zero" if broken else begin
        nodes += [helper.make_node("Range", [start, f"end{i}", "one"], [f"r{i}"]), helper.make_node("Gather", ["x", f"r{i}"], [f"g{i}"], axis=0),
                  helper.make_node("MatMul", [f"g{i}", f"w{i}"], [f"p{i}"])]
        parts.append(f"p{i}")
        begin = f"end{i}"
    nodes += [helper.make_node("Concat", parts, ["c"], axis=0), helper.make_node("Neg", ["c"], ["y"])]
    inputs = [("x", F, [6, 4]), *((f"w{i}", F, [4, 5]) for i in range(3)), *((f"end{i}", I, []) for i in range(3))]
    return model_of(folder, nodes, inputs, [("y", F, [6, 5])])


@pytest.mark.parametrize("ranks", [1, 2])
def test_grouped_products_take_any_bounds(ranks, lab, tmp_path):
    random = np.random.default_rng(5)
    given = {"x": random.standard_normal((6, 4), np.float32), **{f"w{i}": random.standard_normal((4, 5), np.float32) for i in range(3)}}
    ends = [np.array(n) for n in (2, 2, 6)]
    model = grouped(tmp_path)
    got = run(lab, tmp_path, model, given | {f"end{i}": end for i, end in enumerate(ends)}, ranks)["y"]
    assert np.allclose(got, -np.concatenate([given["x"][:2] @ given["w0"], given["x"][2:] @ given["w2"]]), atol=1e-5)
    # Nothing was fixed: the same executable takes other bounds.
    arrays.save(tmp_path / "other.npz", given | {f"end{i}": np.array(n) for i, n in enumerate((1, 5, 6))})
    got = lab.run(tmp_path / "model.commx", [tmp_path / "other.npz"])[0]["y"]
    assert np.allclose(got, -np.concatenate([given["x"][:1] @ given["w0"], given["x"][1:5] @ given["w1"], given["x"][5:] @ given["w2"]]), atol=1e-5)


def test_ranges_that_do_not_follow_each_other_are_no_group(tmp_path):
    model = grouped(tmp_path, broken=True)
    done = tools.run("commc", model, "--devices=cpu:1", "-o", tmp_path / "none.commx", check=False)
    assert done.returncode == tools.EXIT["unsupported"] and "limit is not known at compile time" in done.stderr


@pytest.mark.parametrize("kind, low, high", [(I4, -8, 8), (U4, 0, 16)])
def test_packed_weights_are_read(kind, low, high, lab, tmp_path):
    random = np.random.default_rng(1)
    q = random.integers(low, high, (6, 5))
    scale = (random.random((2, 5)) + 0.5).astype(np.float32)  # blocks of 3 along dimension 0
    flat = (q.ravel() & 15).astype(np.uint8)
    raw = (flat[0::2] | flat[1::2] << 4).tobytes()
    nodes = [helper.make_node("Constant", [], ["q"], value=helper.make_tensor("q", kind, [6, 5], raw, raw=True)),
             helper.make_node("Constant", [], ["s"], value=helper.make_tensor("s", F, [2, 5], scale.ravel())),
             helper.make_node("DequantizeLinear", ["q", "s"], ["w"], axis=0, block_size=3), helper.make_node("MatMul", ["x", "w"], ["y"])]
    model = model_of(tmp_path, nodes, [("x", F, [2, 6])], [("y", F, [2, 5])])
    x = random.standard_normal((2, 6), np.float32)
    assert np.allclose(run(lab, tmp_path, model, {"x": x})["y"], x @ (q * np.repeat(scale, 3, 0)), atol=1e-4)
