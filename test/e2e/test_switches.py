"""Every optimisation switched off in turn: the result stays, and each switch changes some plan."""

import re

import numpy as np
import pytest
from harness import RELATIVE, assert_within

from commc import generate, reference, tools
from commc.generators import bert, gpt2, llama
from commc.generators.net import Net

# Name: generator, its configuration, sizes of the inputs, and flags under which more of the optimisations apply.
MODELS = {
    "bert": (bert, bert.Config(layers=1), {"batch": 1, "sequence": 8}, []),
    "gpt2": (gpt2, gpt2.Config(layers=1), {"batch": 1, "sequence": 8}, []),
    "llama-cache": (llama, llama.Config(layers=1, cache=True), {"batch": 1, "sequence": 6, "steps": 1}, []),
    "llama-slow-link": (llama, llama.Config(layers=1, hidden=256, inter=768), {"batch": 1, "sequence": 128},
                        ["--link=1Gbit,50us", "--plan=plain"]),
    "llama-pipeline": (llama, llama.Config(layers=1, hidden=256, inter=768), {"batch": 1, "sequence": 256},
                       ["--plan=pipeline", "--split-tile=32"]),
    "llama-split": (llama, llama.Config(layers=1), {"batch": 1, "sequence": 32},
                    ["--plan=split", "--split-min-rows=8", "--split-tile=4", "--matmul-chunks=2"]),
}


def build_heads(folder):
    """Two independent pairs of products: what reduces their results can be one."""
    net = Net("heads", folder, 20, 0, batch=8)
    net.g.input("x", net.onnx_dtype, [8, 256])
    for i in range(2):
        inner = net.g.op("Tanh", net.linear("x", f"head{i}.up", 256, 512))
        net.g.output(net.linear(inner, f"head{i}.down", 512, 256), f"y{i}", net.onnx_dtype, [8, 256])
    net.g.save(net.path)
    return net.path


def switches() -> list[str]:
    """Flags of the form --no-<pass> that `commc --help` lists, and --overlap=off. Padding belongs to entries of several sizes: test_buckets.py."""
    listed = set(re.findall(r"--no-[a-z][a-z0-9-]*", tools.run("commc", "--help").stdout)) - {"--no-mask-padding"}
    return sorted(listed) + ["--overlap=off"]


@pytest.fixture(scope="module")
def made(lab):
    cache = {}
    calls = {name: (module.build(config, lab.folder / f"switch-{name}"), module.make_inputs(config, **size), flags)
             for name, (module, config, size, flags) in MODELS.items()}
    x = np.random.default_rng(3).standard_normal((8, 256), dtype=np.float32)
    calls["heads"] = (build_heads(lab.folder / "switch-heads"), [{"x": x}], ["--link=1Gbit,50us"])
    for name, (model, inputs, flags) in calls.items():
        used, expected = reference.run_chained(model, inputs)
        cache[name] = (model, generate.write_calls(model.parent, "inputs", used), expected, flags)
    return cache


def test_each_off_in_turn(lab, made):
    flags = switches()
    assert len(flags) >= 3, "the optimisations of the pipeline have switches"
    without_effect = set(flags)
    for name, (model, inputs, expected, base) in made.items():
        plain = plan(lab.compile(model, 2, inputs, *base))
        assert len(plain) > 10
        for flag in flags:
            executable = lab.compile(model, 2, inputs, *base, flag)
            try:
                assert_within(lab.run(executable, inputs), expected, relative=RELATIVE)
            except AssertionError as failure:
                raise AssertionError(f"{name} with {flag}: {failure}") from None
            if plan(executable) != plain:
                without_effect.discard(flag)
    assert not without_effect, "switches that change nothing in any model"


def test_all_off_together(lab, made):
    for model, inputs, expected, base in made.values():
        assert_within(lab.outputs(model, 4, inputs, *base, *switches()), expected, relative=RELATIVE)


def plan(executable) -> list[str]:
    """Everything the executable would run: its numbered commands and what they need. (Its options travel in the file, so bytes always differ.)"""
    lines = tools.run("commc", "inspect", executable, "--commands").stdout.splitlines()
    return [line for line in lines if re.match(r"\s+(\d+|arena)\s", line)]
