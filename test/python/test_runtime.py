"""Executables run in this process through the C interface."""

import numpy as np
import pytest

from commc import arrays, runtime, tools
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
