"""commc shows for every entry that the split program equals the unsplit model, whatever is switched off."""

import re

import pytest
from harness import EXPECTATIONS, MODELS, RANKS, first_tier
from test_switches import switches

from commc import generate, tools
from commc.generators import bert, gpt2, llama

EQUAL = sorted(name for name in EXPECTATIONS if EXPECTATIONS[name]["expect"] != "refused")
SHAPES = {
    "bert": (bert, bert.Config(layers=1), {"batch": 2, "sequence": 8}),
    "gpt2": (gpt2, gpt2.Config(layers=1), {"batch": 1, "sequence": 8}),
    "llama": (llama, llama.Config(layers=1, kv_heads=2), {"batch": 2, "sequence": 6}),
    "llama-uneven": (llama, llama.Config(hidden=36, heads=6, kv_heads=1, head_dim=10, inter=77, vocab=101, qkv_bias=True, opset=18), {"batch": 2, "sequence": 5}),
}
PLANS = {"fuse": ["--plan=fuse"], "split": ["--plan=split", "--split-tile=1", "--split-min-rows=2"], "pipeline": ["--plan=pipeline", "--split-tile=1"]}
GRIDS = [["--devices=cpu:4", "--dp=2", "--tp=2"], ["--devices=cpu:4", "--sp=2", "--tp=2"], ["--devices=cpu:3"], ["--devices=cpu:6", "--sp=3", "--tp=2"]]


def verdicts(model, inputs, lab, *flags: str) -> list[str]:
    """What the compiler says about each entry."""
    shapes = [f"--shapes-from=@{path}" for path in inputs]
    done = tools.run("commc", model, *shapes, *flags, "--explain", "-o", lab.folder / "proved.commx")
    return re.findall(r"^proof +'[^']*': equal to the unsplit model: (.*)$", done.stdout, re.MULTILINE)


def assert_proved(found: list[str], entries: int):
    assert len(found) == entries
    assert all(re.fullmatch(r"proved \(\d+ operations\)", text) for text in found), found


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", EQUAL)
def test_first_tier(name, ranks, lab):
    model, inputs, _ = first_tier(name)
    assert_proved(verdicts(model, inputs, lab, f"--devices=cpu:{ranks}"), len(inputs))


@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", EQUAL)
def test_plans(name, plan, lab):
    model, inputs, _ = first_tier(name)
    for grid in (["--devices=cpu:2"], ["--devices=cpu:4", "--dp=2", "--tp=2"]):
        assert_proved(verdicts(model, inputs, lab, *grid, *PLANS[plan]), len(inputs))


@pytest.fixture(scope="module")
def made(lab):
    models = {}
    for name, (module, config, size) in SHAPES.items():
        model = module.build(config, lab.folder / f"equal-{name}")
        models[name] = (model, generate.write_calls(model.parent, "inputs", module.make_inputs(config, **size)))
    return models


@pytest.mark.parametrize("grid", GRIDS, ids=" ".join)
@pytest.mark.parametrize("name", sorted(SHAPES))
def test_grids(name, grid, lab, made):
    model, inputs = made[name]
    assert_proved(verdicts(model, inputs, lab, *grid), len(inputs))


@pytest.mark.parametrize("ranks", RANKS)
def test_uneven_heads(ranks, lab, made):
    model, inputs = made["llama-uneven"]
    assert_proved(verdicts(model, inputs, lab, f"--devices=cpu:{ranks}"), len(inputs))


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_each_switch(name, lab, made):
    model, inputs = made[name]
    for flag in switches():
        assert_proved(verdicts(model, inputs, lab, "--devices=cpu:2", flag), len(inputs))
