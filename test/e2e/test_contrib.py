"""Operators of com.microsoft, on 1 and 2 ranks: against ONNX Runtime, and MoE, whose CPU kernel there is of several minds, against float64."""

import numpy as np
import onnx
import pytest
from harness import RELATIVE
from onnx import TensorProto, helper, numpy_helper

from commc import arrays, generate, reference

random = np.random.default_rng(11)


def normal(*shape):
    return random.standard_normal(shape).astype(np.float32)


def ids(high, *shape):
    return random.integers(0, high, shape).astype(np.int32)


def i32(values):
    return np.array(values, np.int32)


class Node:
    """One node. `inputs` come at run time, `weights` are in the model; "" among the names leaves an input out."""

    def __init__(self, op, operands, outputs=("y",), domain="com.microsoft", **attributes):
        self.op, self.outputs, self.domain, self.attributes = op, outputs, domain, attributes
        self.names = [name for name, _, _ in operands]
        self.inputs = {name: value for name, value, weight in operands if name and not weight}
        self.weights = {name: value for name, value, weight in operands if name and weight}

    def save(self, folder):
        folder.mkdir(parents=True, exist_ok=True)
        node = helper.make_node(self.op, self.names, [name or "" for name in self.outputs], domain=self.domain, **self.attributes)
        graph = helper.make_graph(
            [node], "contrib",
            [helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(v.dtype), v.shape) for name, v in self.inputs.items()],
            [helper.make_tensor_value_info(name, TensorProto.INT32 if name.startswith("i_") else TensorProto.FLOAT, None) for name in self.outputs if name],
            [numpy_helper.from_array(v, name) for name, v in self.weights.items()])
        path = folder / "model.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)], ir_version=10), path)
        return path


def given(name, value):
    return name, value, False


def weight(name, value):
    return name, value, True


NONE = ("", None, False)
B, S, H, NH, P, V = 2, 6, 32, 4, 3, 40  # batch, sequence, hidden, heads, past, vocabulary
D = H // NH
SEQUENCE = (B, S, H)
keep = i32([[1, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]])
angle = np.outer(np.arange(16), 0.7 ** np.arange(D // 2)).astype(np.float32)
cos, sin = weight("cos", np.cos(angle)), weight("sin", np.sin(angle))
norm = [weight("gamma", normal(H)), weight("beta", normal(H))]
qkv = [given("q", normal(*SEQUENCE)), given("k", normal(*SEQUENCE)), given("v", normal(*SEQUENCE))]
packed = [given("x", normal(*SEQUENCE)), weight("w", normal(H, 3 * H) / 6), weight("b", normal(3 * H))]
tables = [weight("words", normal(V, H)), weight("positions", normal(10, H))]

CASES = {
    "fast-gelu": Node("FastGelu", [given("x", normal(*SEQUENCE))]),
    "fast-gelu-bias": Node("FastGelu", [given("x", normal(*SEQUENCE)), weight("b", normal(H))]),
    "bias-gelu": Node("BiasGelu", [given("x", normal(*SEQUENCE)), weight("b", normal(H))]),
    "gelu": Node("Gelu", [given("x", normal(*SEQUENCE))]),
    "quick-gelu": Node("QuickGelu", [given("x", normal(*SEQUENCE))], alpha=1.3),
    "quick-gelu-default": Node("QuickGelu", [given("x", normal(*SEQUENCE))]),
    "fused-matmul": Node("FusedMatMul", [given("a", normal(B, H, S)), given("b", normal(B, 5, H))], transA=1, transB=1, alpha=0.3),
    "fused-matmul-weight": Node("FusedMatMul", [given("a", normal(*SEQUENCE)), weight("b", normal(H, 24))], alpha=2.0),
    "fused-matmul-batch": Node("FusedMatMul", [given("a", normal(S, B, H)), given("b", normal(B, H, 5))], transBatchA=1),
    "fused-matmul-batch-both": Node("FusedMatMul", [given("a", normal(S, B, H)), given("b", normal(H, B, 5))], transBatchA=1, transBatchB=1),
    "skip-layer-norm": Node("SkipLayerNormalization", [given("x", normal(*SEQUENCE)), given("skip", normal(*SEQUENCE)), *norm], epsilon=1e-5),
    "skip-layer-norm-sum": Node("SkipLayerNormalization", [given("x", normal(*SEQUENCE)), given("skip", normal(*SEQUENCE)), *norm, weight("b", normal(H))],
                                ("y", "", "", "sum"), epsilon=1e-5),
    "skip-layer-norm-broadcast": Node("SkipLayerNormalization", [given("x", normal(*SEQUENCE)), given("skip", normal(1, S, H)), norm[0]], epsilon=1e-3),
    "skip-rms-norm": Node("SkipSimplifiedLayerNormalization", [given("x", normal(*SEQUENCE)), given("skip", normal(*SEQUENCE)), norm[0]],
                          ("y", "", "", "sum"), epsilon=1e-6),
    "skip-rms-norm-bias": Node("SkipSimplifiedLayerNormalization", [given("x", normal(7, H)), given("skip", normal(7, H)), norm[0], weight("b", normal(H))],
                               ("y", "", "", "sum"), epsilon=1e-6),
    "rms-norm": Node("SimplifiedLayerNormalization", [given("x", normal(*SEQUENCE)), norm[0]], domain="", epsilon=1e-6),
    "embed-layer-norm": Node("EmbedLayerNormalization", [given("ids", ids(V, B, S)), given("segments", ids(2, B, S)), *tables,
                                                         weight("kinds", normal(2, H)), *norm, given("mask", keep)], ("y", "i_lengths"), epsilon=1e-5),
    "embed-layer-norm-sum": Node("EmbedLayerNormalization", [given("ids", ids(V, B, S)), NONE, *tables, NONE, *norm, NONE, given("at", ids(10, B, S))],
                                 ("y", "", "sum"), epsilon=1e-5),
    "rotary": Node("RotaryEmbedding", [given("x", normal(B, NH, S, D)), given("at", np.arange(B * S).reshape(B, S) % 16), cos, sin]),
    "rotary-packed": Node("RotaryEmbedding", [given("x", normal(*SEQUENCE)), given("at", np.array([3])), cos, sin]),
    "rotary-interleaved": Node("RotaryEmbedding", [given("x", normal(*SEQUENCE)), given("at", np.arange(B * S).reshape(B, S) % 16), cos, sin], interleaved=1),
    "multi-head": Node("MultiHeadAttention", qkv, num_heads=NH),
    "multi-head-bias": Node("MultiHeadAttention", [*qkv, weight("b", normal(3 * H))], num_heads=NH, scale=0.2),
    "multi-head-causal": Node("MultiHeadAttention", qkv, num_heads=NH, unidirectional=1),
    "multi-head-padding": Node("MultiHeadAttention", [*qkv, NONE, given("mask", keep)], num_heads=NH),
    "multi-head-scores": Node("MultiHeadAttention", [*qkv, NONE, NONE, given("scores", normal(1, NH, S, S))], num_heads=NH),
    "multi-head-past": Node("MultiHeadAttention", [*qkv, NONE, NONE, NONE, given("pk", normal(B, NH, P, D)), given("pv", normal(B, NH, P, D))],
                            ("y", "present_k", "present_v"), num_heads=NH),
    "multi-head-cross": Node("MultiHeadAttention", [qkv[0], given("k", normal(B, 9, H)), given("v", normal(B, 9, H))], num_heads=NH),
    "attention": Node("Attention", packed, num_heads=NH),
    "attention-causal": Node("Attention", packed, num_heads=NH, unidirectional=1),
    "attention-padding": Node("Attention", [*packed, given("mask", keep)], num_heads=NH),
    "attention-lengths": Node("Attention", [*packed, given("mask", i32([4, 6]))], num_heads=NH),
    "attention-past": Node("Attention", [*packed, NONE, given("past", normal(2, B, NH, P, D))], ("y", "present"), num_heads=NH, unidirectional=1),
    "attention-sizes": Node("Attention", [given("x", normal(*SEQUENCE)), weight("w", normal(H, 2 * H + 16) / 6), weight("b", normal(2 * H + 16))],
                            num_heads=NH, qkv_hidden_sizes=[H, H, 16]),
}


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_against_onnx_runtime(name, ranks, lab):
    pytest.importorskip("onnxruntime")
    node = CASES[name]
    path = node.save(lab.folder / f"contrib-{name}")
    inputs = generate.write_calls(path.parent, "inputs", [node.inputs])
    expected, actual = reference.run(path, node.inputs), lab.outputs(path, ranks, inputs)[0]
    for output in filter(None, node.outputs):
        if output.startswith("i_"):
            assert np.array_equal(actual[output], expected[output]), output
            continue
        # A masked key weighs exp(-10000) there and nothing here.
        difference = arrays.compare(actual, {output: expected[output]})
        assert difference.relative <= RELATIVE, f"{output}: {difference}"


#===--- experts ------------------------------------------------------------===#
ACTIVATIONS = {"relu": lambda x: np.maximum(x, 0), "silu": lambda x: x / (1 + np.exp(-x)), "identity": lambda x: x}


def mixture(x, router, fc1, b1, fc2, b2, fc3, k, activation, normalise):
    """Softmax over all experts, the k best (ties: the lower number), their outputs weighted; in float64."""
    x, router, fc1, b1, fc2, b2 = (v.astype(np.float64) for v in (x, router, fc1, b1, fc2, b2))
    p = np.exp(router - router.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    y = np.zeros_like(x)
    for token in range(len(x)):
        best = np.argsort(-router[token], kind="stable")[:k]
        shares = p[token, best] / (p[token, best].sum() if normalise else 1)
        for share, e in zip(shares, best):
            inner = ACTIVATIONS[activation](fc1[e] @ x[token] + b1[e])
            if fc3 is not None:
                inner = inner * (fc3[e].astype(np.float64) @ x[token])
            y[token] += share * (fc2[e] @ inner + b2[e])
    return y


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("k, activation, normalise, third", [(1, "relu", 0, False), (2, "silu", 1, True), (3, "identity", 1, False), (2, "silu", 0, False)])
def test_experts_against_float64(k, activation, normalise, third, ranks, lab):
    tokens, hidden, inner, experts = 10, 24, 16, 4
    x, router = normal(tokens, hidden), normal(tokens, experts)
    fc1, b1, fc2, b2 = normal(experts, inner, hidden) / 4, normal(experts, inner), normal(experts, hidden, inner) / 4, normal(experts, hidden)
    fc3 = normal(experts, inner, hidden) / 4 if third else None
    operands = [given("x", x), given("router", router), weight("fc1", fc1), weight("b1", b1), weight("fc2", fc2), weight("b2", b2)]
    if third:
        operands.append(weight("fc3", fc3))
    node = Node("MoE", operands, k=k, activation_type=activation, normalize_routing_weights=normalise)
    path = node.save(lab.folder / f"contrib-moe-{k}-{activation}-{normalise}-{third}-{ranks}")
    inputs = generate.write_calls(path.parent, "inputs", [node.inputs])
    actual = lab.outputs(path, ranks, inputs)[0]
    difference = arrays.compare(actual, {"y": mixture(x, router, fc1, b1, fc2, b2, fc3, k, activation, normalise).astype(np.float32)})
    assert difference.relative <= RELATIVE, f"{difference}"
