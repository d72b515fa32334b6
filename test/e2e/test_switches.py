"""Every optimisation switched off in turn: the result stays, and each switch changes some plan."""

import hashlib
import re

import pytest
from harness import RELATIVE, assert_within

from commc import generate, reference, tools
from commc.generators import bert, llama

MODELS = {
    "bert": (bert, bert.Config(layers=1), {"batch": 1, "sequence": 8}),
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
        plain = digest(lab.compile(model, 2, inputs))
        for flag in flags:
            executable = lab.compile(model, 2, inputs, flag)
            try:
                assert_within(lab.run(executable, inputs), expected, relative=RELATIVE)
            except AssertionError as failure:
                raise AssertionError(f"{name} with {flag}: {failure}") from None
            if digest(executable) != plain:
                without_effect.discard(flag)
    assert not without_effect, "switches that change nothing in any model"


def test_all_off_together(lab, made):
    for model, inputs, expected in made.values():
        assert_within(lab.outputs(model, 4, inputs, *switches()), expected, relative=RELATIVE)


def digest(executable) -> str:
    """Hash of what the executable would run. Its own options travel inside the file, so the file's bytes always differ."""
    import json

    listing = json.loads(tools.run("commc", "inspect", executable, "--json").stdout)
    for key in ("options", "hash", "path", "command_line"):
        listing.pop(key, None)
    return hashlib.sha256(json.dumps(listing, sort_keys=True).encode()).hexdigest()
