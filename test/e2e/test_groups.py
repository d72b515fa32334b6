"""Groups of ranks: each axis of a grid by itself, ranks that come in any order or not at all, hundreds of operations in equal parts."""

import re
import stat

import numpy as np
import pytest
from command_line import commc, one_error
from harness import first_tier
from test_proof import rewrite

from commc import generate, reference, tools
from commc.generators import integers
from commc.graph import Graph
from commc.tools import EXIT

GRIDS = [("tp", "dp"), ("tp", "sp"), ("dp", "sp")]


@pytest.fixture(scope="module")
def made(lab):
    """Models of small integers: every sum is exact, so a sum over other ranks is another number."""
    models = {}
    for name in integers.MODELS:
        model, given = integers.build(name, lab.folder / f"groups-{name}")
        models[name] = (model, generate.write_calls(model.parent, "inputs", [given]), reference.run(model, given))
    return models


def groups(executable) -> set[str]:
    """The axes that the collectives of an executable run over."""
    return set(re.findall(r"axes=\[([a-z, ]+)\][^}]*plan_id=", tools.run("commc", "inspect", executable, "--commands").stdout))


@pytest.mark.parametrize("axes", GRIDS, ids="x".join)
def test_each_axis_of_a_grid(axes, lab, made):
    """On two by two ranks a collective over one axis that ran over all four, or over the other axis, gives other numbers."""
    flags, seen = [f"--{axis}=2" for axis in axes], set()
    for name, (model, inputs, expected) in made.items():
        executable = lab.compile(model, 4, inputs, *flags)
        seen |= groups(executable)
        actual = lab.run(executable, inputs)[0]
        for output, want in expected.items():
            assert np.array_equal(actual[output], want), f"{output} of {name}"
    assert set(axes) <= seen, f"collectives over {seen} only"


@pytest.mark.parametrize("axes", GRIDS[:2], ids="x".join)  # sums over ranks are over tp
def test_a_group_that_spans_the_grid_is_refused(axes, lab, made, tmp_path):
    """All ranks agree on the wrong group, and all sizes fit: only the numbers would be wrong."""
    refused = 0
    for name, (model, inputs, _) in made.items():
        executable = lab.compile(model, 4, inputs, *[f"--{axis}=2" for axis in axes])

        def change(manifest):
            entry = manifest["entries"][0]
            commands = entry["split"]["commands"]
            sums = [c for c in commands if c["op"] == "all_reduce" or c["attrs"].get("collective") == ["s", "all_reduce"]]
            if sums:
                sums[0]["attrs"]["axes"] = ["ss", list(axes)]
            change.found = bool(sums)

        rewrite(executable, tmp_path / "m.commx", change)
        if change.found and groups(tmp_path / "m.commx") != groups(executable):
            text = one_error(commc("inspect", tmp_path / "m.commx", "--prove"), "bad_model")
            assert "its outputs are not those of the unsplit program" in text and "command " in text
            refused += 1
    assert refused


def start_program(folder, text):
    """A program that does something before it becomes the rank: $2 is its number."""
    start = folder / "start-rank"
    start.write_text(f'#!/bin/sh\n{text}\nexec "{tools.find("commrun").with_name("commc-rank")}" "$@"\n')
    start.chmod(start.stat().st_mode | stat.S_IXUSR)
    return str(start)


def test_ranks_are_set_up_together(lab, tmp_path, monkeypatch):
    """Each rank waits until all of them have been started: one after the other would wait for ever."""
    model, inputs, _ = first_tier("llama_static")
    executable = lab.compile(model, 4, inputs)
    wait = " ".join(f'[ -e "{tmp_path}/{rank}" ] &&' for rank in range(4))
    monkeypatch.setenv("COMM_RANK_PROGRAM", start_program(tmp_path, f': > "{tmp_path}/$2"\nuntil {wait} true; do sleep 0.02; done'))
    assert tools.run("commrun", executable, "--input", f"@{inputs[0]}", "--timeout=60").returncode == 0


@pytest.mark.parametrize("first", [0, 3])
def test_ranks_may_come_in_any_order(lab, tmp_path, monkeypatch, first):
    model, inputs, _ = first_tier("llama_static")
    executable = lab.compile(model, 4, inputs)
    late = f'[ "$2" = {first} ] && : > "{tmp_path}/first"\nuntil [ -e "{tmp_path}/first" ]; do sleep 0.02; done\n[ "$2" = {first} ] || sleep 0.$2'
    monkeypatch.setenv("COMM_RANK_PROGRAM", start_program(tmp_path, late))
    assert tools.run("commrun", executable, "--input", f"@{inputs[0]}", "--timeout=60").returncode == 0


@pytest.mark.parametrize("missing", [0, 2])
def test_a_rank_that_does_not_come_is_named(lab, tmp_path, monkeypatch, missing):
    model, inputs, _ = first_tier("llama_static")
    executable = lab.compile(model, 4, inputs)
    monkeypatch.setenv("COMM_RANK_PROGRAM", start_program(tmp_path, f'[ "$2" = {missing} ] && exec sleep 600'))
    done = tools.run("commrun", executable, "--input", f"@{inputs[0]}", "--timeout=3", check=False)
    assert done.returncode == EXIT["distributed"], done.stderr
    assert f"rank {missing}" in done.stderr


def build_chain(folder, layers):
    """Pairs of products whose sum over ranks is needed before the next pair; clipped, so that the integers stay small."""
    rng = np.random.default_rng(5)
    g = Graph("chain", 20)
    value = g.input("x", 1, [6, 12])
    low, high = g.const(-3.0, np.float32), g.const(3.0, np.float32)
    for i in range(layers):
        up, down = (g.weight(f"{name}{i}", rng.integers(-1, 2, shape).astype(np.float32)) for name, shape in (("up", (12, 24)), ("down", (24, 12))))
        value = g.op("Clip", g.op("MatMul", g.op("Relu", g.op("MatMul", value, up)), down), low, high)
    g.output(value, "y", 1, [6, 12])
    folder.mkdir()
    g.save(folder / "model.onnx")
    return folder / "model.onnx", {"x": rng.integers(-2, 3, (6, 12)).astype(np.float32)}


@pytest.mark.parametrize("ranks", [2, 3, 4])
def test_hundreds_of_operations(ranks, lab, tmp_path):
    """More than 256 operations between ranks, each in as many parts on every rank: the counts agree and so do the numbers."""
    model, given = build_chain(tmp_path / "chain", 280)
    inputs = generate.write_calls(model.parent, "inputs", [given])
    executable = lab.compile(model, ranks, inputs)
    planned = sum(tools.json_output(tools.run("commc", "inspect", executable, "--json"))["entries"][0]["collectives"].values())
    assert planned > 256
    saved = tmp_path / "out.npz"
    done = tools.run("commrun", executable, "--input", f"@{inputs[0]}", "--timeout=60", "--save-outputs", saved)
    assert f"collectives {planned}/{planned}" in done.stdout
    assert np.array_equal(np.load(saved)["y"], reference.run(model, given)["y"])
