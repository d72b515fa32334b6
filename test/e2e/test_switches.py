"""Every optimisation switched off in turn: the result stays, and each switch changes some plan."""

import re

import pytest
from harness import RELATIVE, assert_within

from commc import generate, reference, tools
from commc.generators import bert, gpt2, llama

MODELS = {
    "bert": (bert, bert.Config(layers=1), {"batch": 1, "sequence": 8}),
    "gpt2": (gpt2, gpt2.Config(layers=1), {"batch": 1, "sequence": 8}),
    "llama-cache": (llama, llama.Config(layers=1, cache=True), {"batch": 1, "sequence": 6, "steps": 1}),
}


def switches() -> list[str]:
    """Flags of the form --no-<pass> that `commc --help` lists, and --overlap=off."""
    return sorted(set(re.findall(r"--no-[a-z][a-z0-9-]*", tools.run("commc", "--help").stdout))) + ["--overlap=off"]


@pytest.fixture(scope="module")
def made(lab):
    cache = {}
    for name, (module, config, size) in MODELS.items():
        model = module.build(config, lab.folder / f"switch-{name}")
        used, expected = reference.run_chained(model, module.make_inputs(config, **size))
        cache[name] = (model, generate.write_calls(model.parent, "inputs", used), expected)
    return cache


def test_each_off_in_turn(lab, made):
    flags = switches()
    assert len(flags) >= 3, "the optimisations of the pipeline have switches"
    without_effect = set(flags)
    for name, (model, inputs, expected) in made.items():
        plain = plan(lab.compile(model, 2, inputs))
        assert len(plain) > 10
        for flag in flags:
            executable = lab.compile(model, 2, inputs, flag)
            try:
                assert_within(lab.run(executable, inputs), expected, relative=RELATIVE)
            except AssertionError as failure:
                raise AssertionError(f"{name} with {flag}: {failure}") from None
            if plan(executable) != plain:
                without_effect.discard(flag)
    assert not without_effect, "switches that change nothing in any model"


def test_all_off_together(lab, made):
    for model, inputs, expected in made.values():
        assert_within(lab.outputs(model, 4, inputs, *switches()), expected, relative=RELATIVE)


def plan(executable) -> list[str]:
    """Everything the executable would run: its numbered commands and what they need. (Its options travel in the file, so bytes always differ.)"""
    lines = tools.run("commc", "inspect", executable, "--commands").stdout.splitlines()
    return [line for line in lines if re.match(r"\s+(\d+|arena)\s", line)]
