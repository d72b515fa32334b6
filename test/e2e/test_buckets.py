"""Entries of several sizes: every size between them runs filled up in the next larger one, and the fill reaches nothing that is seen."""

import math
from pathlib import Path

import numpy as np
import pytest
from command_line import commc, commrun, one_error
from harness import RELATIVE
from onnx import TensorProto

from commc import arrays, reference, runtime, tools
from commc.generators import bert, gpt2
from commc.generators.net import Net

BUCKETS, BATCH, HIDDEN = (1, 4, 11), 2, 16  # at 1 many models are other graphs


def encoder(folder, pool: str):
    """Attention without a mask over tokens that are given as vectors, then what `pool` says over the tokens."""
    net = Net("encoder", folder, 18, 3)
    g = net.g
    x = g.input("x", TensorProto.FLOAT, [net.batch, net.sequence, HIDDEN])
    q, k, v = (net.linear(x, part, HIDDEN, HIDDEN, bias=True) for part in "qkv")
    scores = g.op("Div", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1])), net.scalar(math.sqrt(HIDDEN)))
    y = net.layer_norm(g.op("Add", x, g.op("MatMul", g.op("Softmax", scores, axis=-1), v)), "norm", HIDDEN, 1e-5)
    shape = [net.batch, HIDDEN]
    if pool in ("ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd"):
        y = g.reduce(pool, g.op("Exp", y), 1, keepdims=0)
    elif pool == "weighted":  # a softmax over the tokens, and their sum by a product
        weights = g.op("Softmax", g.op("Transpose", net.linear(y, "gate", HIDDEN, 1), perm=[0, 2, 1]), axis=-1)
        y = g.op("Squeeze", g.op("MatMul", weights, g.op("Exp", y)), g.const([1]))
    elif pool == "gram":  # token features against token features: a sum over tokens with fill on both sides
        y, shape = g.op("MatMul", g.op("Transpose", y, perm=[0, 2, 1]), y), [net.batch, HIDDEN, HIDDEN]
    elif pool in ("first", "last"):
        y = g.op("Gather", y, g.const(0 if pool == "first" else -1), axis=1)
    g.output(y, "y", TensorProto.FLOAT, shape if pool != "tokens" else [net.batch, net.sequence, HIDDEN])
    g.save(net.path)
    return net.path


def vectors(sequence: int) -> dict:
    return {"x": np.random.default_rng(sequence).standard_normal((BATCH, sequence, HIDDEN), dtype=np.float32)}


MODELS = {
    "bert": (lambda folder: bert.build(bert.Config(vocab=64), folder), lambda n: bert.make_inputs(bert.Config(vocab=64), BATCH, n, n)[0]),
    "gpt2": (lambda folder: gpt2.build(gpt2.Config(vocab=64), folder), lambda n: gpt2.make_inputs(gpt2.Config(vocab=64), BATCH, n, 0, n)[0]),
    **{pool: (lambda folder, pool=pool: encoder(folder, pool), vectors)
       for pool in ("tokens", "ReduceMean", "ReduceMax", "ReduceMin", "ReduceSum", "ReduceProd", "weighted", "gram", "first")},
}


def compiled(lab, model, ranks: int, *flags: str):
    return lab.compile(model, ranks, [], "--dim", f"batch={BATCH}", "--dim", "sequence=" + ",".join(map(str, BUCKETS)), *flags)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_every_size_between(name, ranks, lab, tmp_path):
    build, inputs = MODELS[name]
    model = build(tmp_path)
    ort = reference.session(model)
    executable = runtime.Executable(compiled(lab, model, ranks))
    with runtime.Session(executable, trust_native=True) as session:
        for sequence in [*range(1, BUCKETS[-1] + 1), 2, BUCKETS[0]]:  # a larger call before must leave nothing behind
            given = inputs(sequence)
            entry = executable.entry_for(given)
            assert executable.inputs[entry][0].shape[1] == next(size for size in BUCKETS if size >= sequence)
            got, want = session.run(given), reference.call(ort, given)
            assert {key: array.shape for key, array in got.items()} == {key: array.shape for key, array in want.items()}
            difference = arrays.compare(got, want)
            assert difference.relative <= RELATIVE, f"sequence {sequence}: {difference}"


def test_batch_and_sequence_together(lab, tmp_path):
    """Two symbols, each between its sizes: the rows of the fill in the batch are strangers to all others."""
    model = encoder(tmp_path, "ReduceMean")
    ort = reference.session(model)
    executable = runtime.Executable(lab.compile(model, 1, [], "--dim", "batch=1,3", "--dim", "sequence=1,2,6"))
    with runtime.Session(executable, trust_native=True) as session:
        for batch in (1, 2, 3):
            for sequence in range(1, 7):
                given = {"x": np.random.default_rng(sequence).standard_normal((batch, sequence, HIDDEN), dtype=np.float32)}
                difference = arrays.compare(session.run(given), reference.call(ort, given))
                assert difference.relative <= RELATIVE, f"{batch} x {sequence}: {difference}"


def test_last_token_stays_exact(lab, tmp_path):
    """The last of a smaller sequence lies elsewhere: the compiler says so, and smaller calls are refused."""
    model, executable = encoder(tmp_path, "last"), tmp_path / "m.commx"
    done = commc(model, "--dim", f"batch={BATCH}", "--dim", "sequence=4,11", "-o", executable)
    assert done.stderr.count("warning: entry 'sequence=4' takes no other size of 'sequence' than its own: ") == 1
    arrays.save(tmp_path / "in.npz", vectors(5))
    assert "fit no entry" in one_error(commrun(executable, "--input", f"@{tmp_path / 'in.npz'}"), "usage")
    with runtime.Session(runtime.Executable(executable), trust_native=True) as session:
        assert arrays.compare(session.run(vectors(11)), reference.run(model, vectors(11))).relative <= RELATIVE


def test_switched_off(lab, tmp_path):
    """Without the pass entries take their own sizes only."""
    executable = runtime.Executable(compiled(lab, encoder(tmp_path, "tokens"), 1, "--no-mask-padding"))
    with pytest.raises(ValueError, match="no entry"):
        executable.entry_for(vectors(5))
    assert executable.entry_for(vectors(4)) == 1


def test_command_line(lab, tmp_path):
    """commrun chooses the entry, cuts the outputs, and the split program equals the unsplit one there too."""
    model = encoder(tmp_path, "tokens")
    executable, given, saved = compiled(lab, model, 2), vectors(7), tmp_path / "out.npz"
    arrays.save(tmp_path / "in.npz", given)
    arrays.save(tmp_path / "want.npz", reference.run(model, given))
    done = tools.run("commrun", executable, "--input", f"@{tmp_path / 'in.npz'}", "--verify", "--expect", f"@{tmp_path / 'want.npz'}", "--save-outputs", saved)
    assert "entry sequence=11" in done.stdout
    assert arrays.load(saved)["y"].shape == (BATCH, 7, HIDDEN)


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("name", MODELS)
def test_nothing_is_made_of_the_fill(name, ranks, lab, tmp_path, monkeypatch):
    """Compiled for any fill: NaN behind every smaller input gives the same bits as zeros, and those are right."""
    build, inputs = MODELS[name]
    model = build(tmp_path)
    ort = reference.session(model)
    executable = runtime.Executable(compiled(lab, model, ranks, "--fill=any"))
    with runtime.Session(executable, trust_native=True) as session:
        for sequence in range(2, BUCKETS[-1]):
            given = inputs(sequence)
            monkeypatch.delenv("COMM_FILL", raising=False)
            zeros = session.run(given)
            monkeypatch.setenv("COMM_FILL", "nan")
            poisoned = session.run(given)
            for key, array in zeros.items():
                assert np.array_equal(array, poisoned[key]), f"sequence {sequence}: '{key}' depends on what stands behind the inputs"
            difference = arrays.compare(poisoned, reference.call(ort, given))
            assert difference.relative <= RELATIVE, f"sequence {sequence}: {difference}"


def test_fill_shows_where_it_is_used(lab, tmp_path, monkeypatch):
    """Without --fill=any zeros behind the inputs are relied upon where they cost nothing; that NaN shows, so the test above can fail."""
    executable = runtime.Executable(compiled(lab, encoder(tmp_path, "gram"), 1))
    monkeypatch.setenv("COMM_FILL", "nan")
    with runtime.Session(executable, trust_native=True) as session:
        assert np.isnan(session.run(vectors(7))["y"]).any()


def cached(folder, past) -> Path:
    """Attention of new tokens over a cache and themselves; the cache grows by them."""
    net = Net("cached", folder, 18, 3)
    g = net.g
    x = g.input("x", TensorProto.FLOAT, [net.batch, net.sequence, HIDDEN])
    q, k, v = (net.linear(x, part, HIDDEN, HIDDEN, bias=True) for part in "qkv")
    keys, values = (g.input(f"past.{part}", TensorProto.FLOAT, [net.batch, past, HIDDEN]) for part in ("key", "value"))
    k, v = g.op("Concat", keys, k, axis=1), g.op("Concat", values, v, axis=1)
    scores = g.op("Div", g.op("MatMul", q, g.op("Transpose", k, perm=[0, 2, 1])), net.scalar(math.sqrt(HIDDEN)))
    g.output(g.op("MatMul", g.op("Softmax", scores, axis=-1), v), "y", TensorProto.FLOAT, [net.batch, net.sequence, HIDDEN])
    for part, value in (("key", k), ("value", v)):
        g.output(value, f"present.{part}", TensorProto.FLOAT, [net.batch, f"{past} + sequence", HIDDEN])
    g.save(net.path)
    return net.path


def tokens_on_cache(past: int, sequence: int) -> dict:
    rng = np.random.default_rng(100 * past + sequence)
    shapes = {"x": sequence, "past.key": past, "past.value": past}
    return {key: rng.standard_normal((BATCH, size, HIDDEN), dtype=np.float32) for key, size in shapes.items()}


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_shorter_past_stays_exact(ranks, lab, tmp_path):
    """New keys would stand behind the fill of the past: the compiler says so once, pasts of the entries' own sizes work, others are refused."""
    model, executable = cached(tmp_path, "past"), tmp_path / "m.commx"
    done = commc(model, f"--devices=cpu:{ranks}", "--dim", f"batch={BATCH}", "--dim", "sequence=1", "--dim", "past=" + ",".join(map(str, BUCKETS)), "-o", executable)
    warnings = [line for line in done.stderr.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1 and "takes no other size of 'past' than its own: " in warnings[0] and "puts something behind a dimension with fill" in warnings[0]
    ort = reference.session(model)
    loaded = runtime.Executable(executable)
    with runtime.Session(loaded, trust_native=True) as session:
        for past in range(BUCKETS[-1] + 2):
            given = tokens_on_cache(past, 1)
            if past not in BUCKETS:
                with pytest.raises(ValueError, match="no entry has inputs of these shapes"):
                    loaded.entry_for(given)
                continue
            assert arrays.compare(session.run(given), reference.call(ort, given)).relative <= RELATIVE


@pytest.mark.parametrize("ranks", [1, 2])
def test_fewer_new_tokens_on_a_cache(ranks, lab, tmp_path):
    """The past keeps its size and fewer new tokens come: their fill is the end of what they are appended to, and is cut there."""
    model = cached(tmp_path, 6)
    ort = reference.session(model)
    executable = runtime.Executable(lab.compile(model, ranks, [], "--dim", f"batch={BATCH}", "--dim", "sequence=" + ",".join(map(str, BUCKETS))))
    with runtime.Session(executable, trust_native=True) as session:
        for sequence in range(1, BUCKETS[-1] + 1):
            given = tokens_on_cache(6, sequence)
            got, want = session.run(given), reference.call(ort, given)
            assert {key: array.shape for key, array in got.items()} == {key: array.shape for key, array in want.items()}
            assert arrays.compare(got, want).relative <= RELATIVE, f"sequence {sequence}"
