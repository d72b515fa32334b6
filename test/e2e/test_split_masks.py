"""Token split of decoders whose mask is a finite number, as exporters write it: taken where it is provably causal, refused elsewhere."""

import math
import re

import numpy as np
import pytest
from harness import RELATIVE, assert_within
from onnx import TensorProto

from commc import generate, reference, tools
from commc.generators.net import Net

SPLIT = ["--plan=split", "--split-tile=1", "--split-min-rows=2"]
HIDDEN, HEADS, TOKENS = 32, 4, 10


def constant(net, lowest):
    return net.g.const(np.triu(np.full((1, 1, TOKENS, TOKENS), lowest), 1), np.float32)


def trilu(net, lowest):
    size = net.g.op("Concat", *[net.dim("x", 1, net.sequence)] * 2, axis=0)
    full = net.g.op("Expand", net.scalar(lowest), size)
    return net.g.op("Unsqueeze", net.g.op("Trilu", full, net.g.const(1), upper=1), net.g.const([0, 1]))


def positions(net):
    count = net.g.op("Squeeze", net.dim("x", 1, net.sequence), net.g.const([0]))
    return net.g.op("Range", net.g.const(0), count, net.g.const(1))


def less(net):
    p = positions(net)
    return net.g.op("LessOrEqual", net.g.op("Unsqueeze", p, net.g.const([0, 1, 2])), net.g.op("Unsqueeze", p, net.g.const([0, 1, 3])))


def where(net, lowest):
    return net.g.op("Where", less(net), net.scalar(0.0), net.scalar(lowest))


def inverted(net, lowest):
    """(1 - visible) * lowest."""
    visible = net.g.op("Cast", less(net), to=TensorProto.FLOAT)
    return net.g.op("Mul", net.g.op("Sub", net.scalar(1.0), visible), net.scalar(lowest))


def padded(net, lowest):
    """Causal and not padding: a query may see no key."""
    valid = net.g.op("Unsqueeze", net.g.op("Cast", net.g.input("valid", TensorProto.INT64, [1, net.sequence]), to=TensorProto.BOOL), net.g.const([1, 2]))
    return net.g.op("Where", net.g.op("And", less(net), valid), net.scalar(0.0), net.scalar(lowest))


def weak(net, lowest):
    return constant(net, -20.0)


def build(folder, mask, lowest, tokens=TOKENS):
    net = Net("masked", folder, 18, seed=3, sequence=TOKENS if mask in (constant, weak) else None)
    g = net.g
    batch, x = g.const([1]), g.input("x", TensorProto.FLOAT, [1, net.sequence, HIDDEN])
    length, bias = net.dim(x, 1, net.sequence), mask(net, lowest)
    for i in range(2):
        normed = net.rms_norm(x, f"n{i}", HIDDEN, 1e-5)
        q, k, v = (net.split_heads(net.linear(normed, f"{name}{i}", HIDDEN, HIDDEN), batch, length, HIDDEN // HEADS) for name in "qkv")
        scores = g.op("Mul", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 1, 3, 2])), net.scalar(1 / math.sqrt(HIDDEN // HEADS)))
        weights = g.op("Softmax", g.op("Add", scores, bias), axis=-1)
        x = g.op("Add", x, net.linear(net.merge_heads(g.op("MatMul", weights, v), batch, length, HIDDEN), f"o{i}", HIDDEN, HIDDEN))
        up = g.op("Relu", net.linear(net.rms_norm(x, f"m{i}", HIDDEN, 1e-5), f"up{i}", HIDDEN, 2 * HIDDEN))
        x = g.op("Add", x, net.linear(up, f"down{i}", 2 * HIDDEN, HIDDEN))
    g.output(net.rms_norm(x, "last", HIDDEN, 1e-5), "y", TensorProto.FLOAT, [1, net.sequence, HIDDEN])
    g.save(net.path)
    rng = np.random.default_rng(7)
    given = {"x": rng.standard_normal((1, tokens, HIDDEN)).astype(np.float32)}
    if mask is padded:
        given["valid"] = np.array([[0] * 6 + [1] * 4], np.int64)  # the first rows see nothing
    return net.path, given


TAKEN = [(mask, lowest) for mask in (constant, trilu, where, inverted) for lowest in (-1e4, -65504.0, float(np.finfo(np.float32).min))]
REFUSED = [(padded, -1e4), (weak, -20.0)]
LONG = 260


@pytest.mark.parametrize("mask, lowest", TAKEN + REFUSED, ids=lambda value: getattr(value, "__name__", str(value)))
def test_equals_onnxruntime(lab, mask, lowest):
    model, given = build(lab.folder / f"mask-{mask.__name__}{lowest}", mask, lowest)
    inputs = generate.write_calls(model.parent, "inputs", [given])
    expected = [reference.run(model, given)]
    text = tools.run("commc", model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "--explain", *SPLIT, "-o", lab.folder / "mask.commx").stdout
    if (mask, lowest) in REFUSED:
        reason = "a query may see no other key" if mask is padded else "is not known to hide them"
        assert re.search(rf"^split .*is not split in two.*{reason}", text, re.MULTILINE), text
    else:
        assert re.search(r"^split .*runs in two parts", text, re.MULTILINE), text
        assert re.search(r"^proof .*equal to the unsplit model: proved", text, re.MULTILINE), text
    for ranks in (2, 3):
        assert_within(lab.outputs(model, ranks, inputs, *SPLIT), expected, relative=RELATIVE)


@pytest.mark.parametrize("mask", [where, inverted, padded], ids=lambda mask: mask.__name__)
def test_long_masks_stay_computed(lab, mask):
    """Too large for a constant: what the compared positions hide is still known."""
    model, given = build(lab.folder / f"long-{mask.__name__}", mask, -1e4, LONG)
    if mask is padded:
        given["valid"] = np.ones((1, LONG), np.int64)
    inputs = generate.write_calls(model.parent, "inputs", [given])
    text = tools.run("commc", model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "--explain", *SPLIT, "-o", lab.folder / "long.commx").stdout
    assert ("runs in two parts" in text) == (mask is not padded), text
    assert_within(lab.outputs(model, 2, inputs, *SPLIT), [reference.run(model, given)], relative=RELATIVE)
