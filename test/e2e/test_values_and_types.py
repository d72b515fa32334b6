"""Inputs that decide shapes, control flow, unsigned integers and doubles, against numpy."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from commc import arrays, tools

F, D, I, U8, B = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64, TensorProto.UINT8, TensorProto.BOOL


def model_of(folder, nodes, inputs, outputs, opset=21):
    """Writes a model; inputs and outputs are (name, type, shape)."""
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*row) for row in inputs],
                              [helper.make_tensor_value_info(*row) for row in outputs])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def run(lab, folder, model, given, ranks=1):
    arrays.save(folder / "in.npz", given)
    tools.compile_model(model, folder / "model.commx", ranks, [folder / "in.npz"])
    return lab.run(folder / "model.commx", [folder / "in.npz"])[0]


def test_an_input_that_decides_a_shape_is_fixed(lab, tmp_path):
    model = model_of(tmp_path, [helper.make_node("Reshape", ["x", "to"], ["y"])], [("x", F, [2, 3]), ("to", I, [2])], [("y", F, None)])
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    arrays.save(tmp_path / "in.npz", {"x": x, "to": np.array([3, 2])})
    done = tools.compile_model(model, tmp_path / "model.commx", 1, [tmp_path / "in.npz"])
    assert "warning[E215]" in done.stderr and "'to'" in done.stderr
    assert np.array_equal(lab.run(tmp_path / "model.commx", [tmp_path / "in.npz"])[0]["y"], x.reshape(3, 2))
    arrays.save(tmp_path / "other.npz", {"x": x, "to": np.array([6, 1])})
    refused = tools.run_executable(tmp_path / "model.commx", [tmp_path / "other.npz"], check=False)
    assert refused.returncode != 0 and "'to'" in refused.stderr and "--shapes-from" in refused.stderr
    without = tools.run("commc", model, "--devices=cpu:1", "-o", tmp_path / "none.commx", check=False)
    assert without.returncode == tools.EXIT["unsupported"] and "not known at compile time" in without.stderr


@pytest.mark.parametrize("ranks", [1, 2])
def test_loop_and_branch_are_unrolled(ranks, lab, tmp_path):
    value = helper.make_tensor_value_info
    body = helper.make_graph([helper.make_node("Add", ["v", "x"], ["next"]), helper.make_node("Identity", ["on"], ["still"]),
                              helper.make_node("ReduceSum", ["next"], ["row"], keepdims=0)],
                             "body", [value("i", I, []), value("on", B, []), value("v", F, [4])],
                             [value("still", B, []), value("next", F, [4]), value("row", F, [])])
    branches = [helper.make_graph([helper.make_node(op, ["last"], [f"r{op}"])], op, [], [value(f"r{op}", F, [4])]) for op in ("Neg", "Abs")]
    nodes = [helper.make_node("Loop", ["n", "", "x"], ["last", "rows"], body=body),
             helper.make_node("If", ["flag"], ["y"], then_branch=branches[0], else_branch=branches[1])]
    model = model_of(tmp_path, nodes, [("x", F, [4]), ("n", I, []), ("flag", B, [])], [("y", F, [4]), ("rows", F, [3])])
    x = np.array([1, -2, 3, 4], np.float32)
    got = run(lab, tmp_path, model, {"x": x, "n": np.array(3), "flag": np.array(True)}, ranks)
    assert np.allclose(got["y"], -4 * x) and np.allclose(got["rows"], x.sum() * np.array([2, 3, 4]))


@pytest.mark.parametrize("ranks", [1, 2])
def test_unsigned_bytes(ranks, lab, tmp_path):
    nodes = [helper.make_node("Div", ["a", "b"], ["q"]), helper.make_node("Less", ["a", "b"], ["l"]), helper.make_node("Max", ["a", "b"], ["m"]),
             helper.make_node("Cast", ["a"], ["f"], to=F), helper.make_node("ReduceMax", ["a"], ["r"], keepdims=0),
             helper.make_node("ArgMax", ["a"], ["p"], axis=0, keepdims=0)]
    model = model_of(tmp_path, nodes, [("a", U8, [4]), ("b", U8, [4])],
                     [("q", U8, [4]), ("l", B, [4]), ("m", U8, [4]), ("f", F, [4]), ("r", U8, []), ("p", I, [])])
    a, b = np.array([200, 3, 255, 128], np.uint8), np.array([7, 130, 2, 129], np.uint8)
    got = run(lab, tmp_path, model, {"a": a, "b": b}, ranks)
    expected = {"q": a // b, "l": a < b, "m": np.maximum(a, b), "f": a.astype(np.float32), "r": a.max(), "p": np.array(2)}
    for name, want in expected.items():
        assert got[name].dtype == want.dtype and np.array_equal(got[name], want), name


def test_double_exp_and_log_are_exact_to_a_few_units(lab, tmp_path):
    nodes = [helper.make_node("Exp", ["x"], ["e"]), helper.make_node("Log", ["p"], ["l"]), helper.make_node("Softmax", ["x"], ["s"])]
    x = np.concatenate([np.linspace(-745, 709.7, 4001), [0, 1e-300, -1e-300, np.inf, -np.inf, np.nan, 710, -760]])
    p = np.concatenate([np.geomspace(5e-324, 1.7e308, 4001), [1, 0, -1, np.inf, np.nan, 2, 0.5, 1 + 2**-52]])
    model = model_of(tmp_path, nodes, [("x", D, [x.size]), ("p", D, [p.size])], [("e", D, [x.size]), ("l", D, [p.size]), ("s", D, [x.size])])
    got = run(lab, tmp_path, model, {"x": x, "p": p})
    with np.errstate(all="ignore"):
        want = {"e": np.exp(x), "l": np.log(p)}
    for name, exact in want.items():
        assert np.array_equal(np.isnan(got[name]), np.isnan(exact)) and np.array_equal(np.isinf(got[name]), np.isinf(exact))
        finite = np.isfinite(exact)
        assert np.allclose(got[name][finite], exact[finite], rtol=4e-15, atol=5e-324), name


def test_remainders_are_exact(lab, tmp_path):
    model = model_of(tmp_path, [helper.make_node("Mod", ["a", "b"], ["y"], fmod=1)], [("a", F, [2000]), ("b", F, [2000])], [("y", F, [2000])])
    random = np.random.default_rng(7)
    bits = random.integers(0, 2**32, (2, 2000), dtype=np.uint64).astype(np.uint32)
    a, b = bits.view(np.float32)
    a[:6], b[:6] = [5.5, -5.5, 1, 3e38, 1e-45, np.inf], [2, 2, np.inf, 1e-45, 3e38, 2]
    got = run(lab, tmp_path, model, {"a": a, "b": b})["y"]
    with np.errstate(all="ignore"):
        want = np.fmod(a, b)
    usual = (np.abs(a) >= 2.0**-126) & (np.abs(b) >= 2.0**-126) | ~np.isfinite(a) | ~np.isfinite(b)
    assert np.array_equal(got[usual], want[usual], equal_nan=True)


def test_rounds_to_even_where_quotients_tie(lab, tmp_path):
    scale = helper.make_tensor("s", F, [], [0.02])
    nodes = [helper.make_node("Constant", [], ["s"], value=scale), helper.make_node("QuantizeLinear", ["x", "s"], ["y"])]
    x = (np.arange(512, dtype=np.float32) * np.float32(0.01)).astype(np.float32)
    model = model_of(tmp_path, nodes, [("x", F, [512])], [("y", U8, [512])])
    assert np.array_equal(run(lab, tmp_path, model, {"x": x})["y"], np.clip(np.rint(x / np.float32(0.02)), 0, 255).astype(np.uint8))


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_convolution_is_split(ranks, lab, tmp_path):
    random = np.random.default_rng(3)
    w = random.standard_normal((8, 3, 3, 3)).astype(np.float32)
    nodes = [helper.make_node("Constant", [], ["w"], value=helper.make_tensor("w", F, w.shape, w.ravel())),
             helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1], strides=[2, 1]),
             helper.make_node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], strides=[2, 2])]
    x = random.standard_normal((2, 3, 8, 6)).astype(np.float32)
    model = model_of(tmp_path, nodes, [("x", F, list(x.shape))], [("y", F, None)])
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
    c = np.stack([[np.einsum("mckl,nckl->nm", w, padded[:, :, 2 * i:2 * i + 3, j:j + 3]) for j in range(6)] for i in range(4)])
    want = c.reshape(2, 2, 3, 2, 2, 8).max((1, 3)).transpose(2, 3, 0, 1)
    assert np.allclose(run(lab, tmp_path, model, {"x": x}, ranks)["y"], want, atol=1e-5)
