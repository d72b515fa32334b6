"""Executables run in this process through the C interface."""

import numpy as np
import pytest

from commc import arrays, reference, runtime, tools
from commc.generators import llama

CONFIG = llama.Config(hidden=64, heads=4, kv_heads=2, layers=2, inter=96, vocab=50, batch=1, sequence=6)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runtime")
    calls = llama.make_inputs(CONFIG)
    path = llama.build(CONFIG, folder)
    saved = folder / "inputs.npz"
    arrays.save(saved, calls[0])
    tools.compile_model(path, folder / "m.commx", 2, [saved])
    tools.run_executable(folder / "m.commx", [saved], "--save-outputs", folder / "out.npz")
    return folder / "m.commx", calls[0], arrays.load(folder / "out.npz")


@pytest.mark.parametrize("ranks_as", ["processes", "threads"])
def test_gives_what_commrun_gives(model, ranks_as):
    path, inputs, expected = model
    with runtime.Session(runtime.Executable(path), ranks_as=ranks_as) as session:
        bound = session.bind(inputs)
        for _ in range(2):
            found = bound()
            for name, want in expected.items():
                np.testing.assert_array_equal(found[name], want)
        stats = session.stats()
    assert stats["kernels"] > 0 and stats["interpreted"] == 0
    assert stats["ranks"] == 2 and stats["collectives_executed"] == stats["collectives_planned"] > 0 and stats["last_ms"] > 0


def test_describes_its_ports(model):
    path, inputs, expected = model
    executable = runtime.Executable(path)
    assert {port.name: port.shape for port in executable.inputs[0]} == {name: array.shape for name, array in inputs.items()}
    assert {port.name: port.shape for port in executable.outputs[0]} == {name: array.shape for name, array in expected.items()}
    assert executable.prediction("step_us.main") > 0 and np.isnan(executable.prediction("nothing"))
    with pytest.raises(ValueError, match="no entry has inputs of these shapes"):
        executable.entry_for({})


def test_says_what_is_wrong(model, tmp_path):
    path, inputs, _ = model
    broken = tmp_path / "broken.commx"
    broken.write_bytes(path.read_bytes()[:100])
    with pytest.raises(runtime.RuntimeFailed, match="broken.commx"):
        runtime.Executable(broken)
    with runtime.Session(runtime.Executable(path), ranks_as="threads") as session, pytest.raises(ValueError, match="inputs are missing"):
        session.bind({}, entry=0)


def test_interprets_kernels_on_request(model):
    path, inputs, expected = model
    with runtime.Session(runtime.Executable(path), native="never") as session:
        found = session.run(inputs)
        assert session.stats()["interpreted"] == session.stats()["kernels"] > 0
    assert arrays.compare(found, expected).relative <= 1e-5


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_carries_the_cache(tmp_path, ranks):
    """Prefill and decode steps without the caller touching the cache give what ONNX Runtime gives."""
    config = llama.Config(hidden=32, heads=4, kv_heads=2, layers=2, inter=48, vocab=50, batch=1, cache=True)
    used, expected = reference.run_chained(llama.build(config, tmp_path), llama.make_inputs(config, sequence=4, steps=2))
    files = []
    for step, call in enumerate(used):
        files.append(tmp_path / f"inputs_{step}.npz")
        arrays.save(files[-1], call)
    tools.compile_model(tmp_path / "model.onnx", tmp_path / "m.commx", ranks, files)
    executable = runtime.Executable(tmp_path / "m.commx")
    with runtime.Session(executable, ranks_as="threads") as session:
        with pytest.raises(ValueError, match="inputs are missing: past_key_values"):
            session.run({name: used[0][name] for name in ("input_ids", "attention_mask")}, 0)
        assert runtime.library().comm_session_keep_state(session.handle, 9) == 2  # a C caller may pass any number: invalid argument
        session.keep_state("exact")
        for _ in range(2):
            for call, want in zip(used, expected):
                found = session.run({name: call[name] for name in ("input_ids", "attention_mask")})
                assert list(found) == ["logits"]
                np.testing.assert_allclose(found["logits"], want["logits"], atol=1e-4)
            cache = session.state("past_key_values.1.key")
            np.testing.assert_allclose(cache, expected[-1]["present.1.key"], atol=1e-4)
            session.reset_state()
            with pytest.raises(runtime.RuntimeFailed, match="carries no state"):
                session.state("past_key_values.1.key")
        session.set_state("past_key_values.0.key", cache)
        np.testing.assert_array_equal(session.state("past_key_values.0.key"), cache)
        with pytest.raises(runtime.RuntimeFailed, match="no entry has a state"):
            session.set_state("input_ids", used[0]["input_ids"])


@pytest.mark.parametrize("ranks, ranks_as", [(1, "threads"), (2, "processes"), (4, "threads"), (4, "processes")])
def test_cache_stays_with_the_ranks(tmp_path, ranks, ranks_as):
    """A window of a cache that slides for longer than its memory: the same logits as when the caller carries it, and no call passes the cache."""
    config = llama.Config(hidden=32, heads=4, kv_heads=2, layers=2, inter=48, vocab=50, batch=1, cache=True)
    step = llama.make_inputs(config, sequence=4, steps=1)[1]  # one token on a cache of four
    arrays.save(tmp_path / "step.npz", step)
    tools.compile_model(llama.build(config, tmp_path), tmp_path / "m.commx", ranks, [tmp_path / "step.npz"])
    executable = runtime.Executable(tmp_path / "m.commx")
    caches = [source for source, _ in executable.states[0]]
    size = sum(step[name].nbytes for name in caches)
    rng = np.random.default_rng(0)
    with runtime.Session(executable, ranks_as=ranks_as) as carrying, runtime.Session(executable, ranks_as=ranks_as) as keeping:
        keeping.keep_state("last")
        for name in caches:
            keeping.set_state(name, step[name])
        given = dict(step)
        for _ in range(30):
            given["input_ids"] = rng.integers(0, 50, (1, 1))
            want = carrying.run(given)
            found = keeping.run({name: given[name] for name in given if name not in caches})
            np.testing.assert_array_equal(found["logits"], want["logits"])
            assert keeping.stats()["bytes_passed"] <= 50 * 4 + sum(given[name].nbytes for name in given if name not in caches)
            assert keeping.stats()["bytes_parted"] == 0 and (ranks == 1 or carrying.stats()["bytes_passed"] >= 2 * size)
            given.update({source: want[target][:, :, 1:] for source, target in executable.states[0]})
        for source, target in executable.states[0]:
            np.testing.assert_array_equal(keeping.state(source), want[target])


@pytest.mark.parametrize("ranks_as", ["processes", "threads"])
def test_buffers_of_the_ranks(model, ranks_as):
    path, inputs, expected = model
    with runtime.Session(runtime.Executable(path), ranks_as=ranks_as) as session:
        bound = session.bind(inputs, in_place=True)
        for _ in range(2):
            found = bound()
            assert session.stats()["bytes_passed"] == 0
            for name, want in expected.items():
                np.testing.assert_array_equal(found[name], want)
        name, token = next((name, array) for name, array in inputs.items() if array.dtype == np.int64)
        bound.inputs[name][...] = (token + 1) % 2  # what the next call reads
        changed = {key: value.copy() for key, value in bound().items()}
        with runtime.Session(runtime.Executable(path), ranks_as="threads") as other:
            for key, want in other.run({**inputs, name: (token + 1) % 2}).items():
                np.testing.assert_array_equal(changed[key], want)
        session.run(inputs)
        with pytest.raises(RuntimeError, match="bind them again"):
            bound()
        for name, want in expected.items():
            np.testing.assert_array_equal(session.bind(inputs, in_place=True)()[name], want)
