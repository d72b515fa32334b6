"""com.microsoft.MoE against numpy in double precision, split and whole; only the experts that a token chose are computed."""

import re

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from commc import arrays, tools

TOKENS, EXPERTS, HIDDEN, INNER = 12, 5, 16, 24
CASES = {
    "relu with biases": {"activation": "relu", "k": 1, "bias": True},
    "gelu": {"activation": "gelu", "k": 3},
    "silu with a third layer": {"activation": "silu", "k": 2, "third": True, "normalize": 1},
    "swiglu of pairs": {"activation": "swiglu", "k": 2, "normalize": 1, "bias": True},
    "every expert": {"activation": "identity", "k": EXPERTS},
}


def weights_of(case):
    random = np.random.default_rng(3)
    draw = lambda *shape: (random.standard_normal(shape) / np.sqrt(shape[-1])).astype(np.float32)  # noqa: E731
    wide = INNER * (2 if case["activation"] == "swiglu" else 1)
    made = {"w1": draw(EXPERTS, wide, HIDDEN), "w2": draw(EXPERTS, HIDDEN, INNER)}
    if case.get("bias"):
        made |= {"b1": draw(EXPERTS, wide), "b2": draw(EXPERTS, HIDDEN)}
    if case.get("third"):
        made["w3"] = draw(EXPERTS, INNER, HIDDEN)
    return made


def model_of(folder, case):
    made = weights_of(case)
    names = ["x", "router", "w1", "b1", "w2", "b2", "w3"]
    inputs = [name if name in made or name in ("x", "router") else "" for name in names]
    node = helper.make_node("MoE", inputs, ["y"], domain="com.microsoft", k=case["k"], activation_type=case["activation"],
                            normalize_routing_weights=case.get("normalize", 0), swiglu_fusion=int(case["activation"] == "swiglu"),
                            activation_alpha=1.0, activation_beta=0.0)
    rows = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [TOKENS, HIDDEN]), ("router", [TOKENS, EXPERTS]))]
    graph = helper.make_graph([node], "g", rows, [helper.make_tensor_value_info("y", TensorProto.FLOAT, [TOKENS, HIDDEN])],
                              initializer=[numpy_helper.from_array(value, name) for name, value in made.items()])
    path = folder / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10), path)
    return path


def reference(case, x, router):
    made = {name: value.astype(np.float64) for name, value in weights_of(case).items()}
    erf = np.vectorize(__import__("math").erf)
    sigmoid = lambda a: 1 / (1 + np.exp(-a))  # noqa: E731
    act = {"relu": lambda h: np.maximum(h, 0), "gelu": lambda h: h / 2 * (1 + erf(h / np.sqrt(2))), "silu": lambda h: h * sigmoid(h),
           "identity": lambda h: h, "swiglu": lambda h: h[0::2] * sigmoid(h[0::2]) * h[1::2]}[case["activation"]]
    y = np.zeros((TOKENS, HIDDEN))
    for t in range(TOKENS):
        p = np.exp(router[t].astype(np.float64) - router[t].max())
        p /= p.sum()
        best = np.argsort(-p, kind="stable")[: case["k"]]
        total = p[best].sum() if case.get("normalize") else 1
        for e in best:
            h = act(made["w1"][e] @ x[t] + (made["b1"][e] if "b1" in made else 0))
            h = h * (made["w3"][e] @ x[t]) if "w3" in made else h
            y[t] += p[e] / total * (made["w2"][e] @ h + (made["b2"][e] if "b2" in made else 0))
    return y


def given_of(prefer=None):
    random = np.random.default_rng(7)
    x, router = random.standard_normal((TOKENS, HIDDEN), np.float32), random.standard_normal((TOKENS, EXPERTS), np.float32)
    if prefer is not None:
        router[:, prefer] += 20
    return {"x": x, "router": router}


@pytest.mark.parametrize("ranks", [1, 2, 3, 4])
@pytest.mark.parametrize("name", CASES)
def test_equals_numpy(name, ranks, lab, tmp_path):
    case = CASES[name]
    model = model_of(tmp_path, case)
    for prefer in (None, 4):  # all tokens with one expert first
        given = given_of(prefer)
        arrays.save(tmp_path / "in.npz", given)
        got = lab.outputs(model, ranks, [tmp_path / "in.npz"])[0]["y"]
        assert np.abs(got - reference(case, **given)).max() < 1e-5


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("ranks", [2, 4])
def test_is_proved_equal(name, ranks, tmp_path):
    done = tools.run("commc", model_of(tmp_path, CASES[name]), f"--devices=cpu:{ranks}", "--explain", "-o", tmp_path / "m.commx")
    assert re.search(r"^proof +'[^']*': equal to the unsplit model: proved \(\d+ operations\)$", done.stdout, re.MULTILINE), done.stdout


def test_threads_change_no_bit(lab, tmp_path):
    model = model_of(tmp_path, CASES["swiglu of pairs"])
    arrays.save(tmp_path / "in.npz", given_of())
    executable = lab.compile(model, 1, [tmp_path / "in.npz"])
    one, three = (lab.run(executable, [tmp_path / "in.npz"], f"--threads={n}")[0]["y"] for n in (1, 3))
    assert np.array_equal(one, three)


def test_more_than_there_are_is_refused(tmp_path):
    done = tools.run("commc", model_of(tmp_path, {"activation": "relu", "k": EXPERTS + 1}), "--devices=cpu:1", "-o", tmp_path / "m.commx", check=False)
    assert done.returncode != 0 and f"k = {EXPERTS + 1} of {EXPERTS} experts" in done.stderr
