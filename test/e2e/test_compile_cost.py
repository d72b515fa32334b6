"""What a compilation costs, by counts: nothing is compiled twice for equal layers, and the same model gives the same bytes wherever it is compiled."""

import json
import os
import struct
import subprocess

import pytest
from harness import first_tier

from commc import tools
from commc.generators import llama

LAYERS = (6, 8, 10)  # of fewer, another layout is best


def manifest(executable) -> dict:
    data = executable.read_bytes()
    (size,) = struct.unpack_from("<Q", data, 24)
    return json.loads(data[64 : 64 + size]) | {"bytes": size}


@pytest.fixture(scope="module", params=[1, 2])
def executables(request, tmp_path_factory):
    """One per number of layers."""
    found = []
    for layers in LAYERS:
        folder = tmp_path_factory.mktemp(f"layers-{layers}-{request.param}")
        model = llama.build(llama.Config(layers=layers, batch=1, sequence=16), folder, external=True)
        tools.compile_model(model, folder / "m.commx", request.param, [], "--weights=reference")
        found.append(manifest(folder / "m.commx"))
    return found


def test_equal_layers_share_their_kernels(executables):
    kernels = [len(found["kernels"]) for found in executables]
    assert kernels[0] == kernels[1] == kernels[2] > 0
    code = [found["objects"] for found in executables]
    assert code[0] == code[1] == code[2]


def test_a_layer_costs_what_the_one_before_did(executables):
    for program in ("split", "reference"):
        commands = [len(found["entries"][0][program]["commands"]) for found in executables]
        assert commands[2] - commands[1] == commands[1] - commands[0] > 0
    size = [found["bytes"] for found in executables]
    assert size[2] - size[1] < 1.1 * (size[1] - size[0])


def test_bytes_depend_on_the_model_alone(tmp_path):
    """Not on the folder, the working directory, the environment and its order, or what was compiled before."""
    model, inputs, _ = first_tier("bert_dynamic")
    commc, contents = tools.find("commc"), []
    plain = {name: os.environ[name] for name in ("HOME", "PATH", "XDG_CACHE_HOME", "LD_LIBRARY_PATH") if name in os.environ}
    environments = [plain, {"LANG": "C", "TZ": "Asia/Tokyo", "OMP_NUM_THREADS": "1", **dict(reversed(plain.items()))}, {**plain, "A": "b" * 4000}]
    for number, environment in enumerate(environments):
        folder = tmp_path / ("x" * (1 + 20 * number))
        folder.mkdir()
        for file in [model, *model.parent.glob("*.data")]:
            (folder / file.name).write_bytes(file.read_bytes())
        where = [folder / model.name, model.name, f"../{folder.name}/{model.name}"][number]
        subprocess.run([commc, where, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "-q", "-o", folder / "m.commx"], cwd=folder, env=environment, check=True)
        contents.append((folder / "m.commx").read_bytes())
    assert contents[0] == contents[1] == contents[2]
