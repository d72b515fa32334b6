"""Grids of two axes, token-split residual streams and layouts set by the user give the oracle's numbers."""

import pytest
from harness import EXPECTATIONS, assert_within, first_tier

from commc import arrays, tools


def check(lab, name, *flags, ranks=4):
    model, inputs, outputs = first_tier(name)

    actual = lab.outputs(model, ranks, inputs, *flags)
    assert_within(actual, [arrays.load(path) for path in outputs], absolute=EXPECTATIONS[name]["tolerance_abs"])


@pytest.mark.parametrize("name", ["bert_dynamic", "gpt2_dynamic", "llama_static", "llama_cache", "genai_llama_fp32"])
@pytest.mark.parametrize("flags", [("--tp=2", "--dp=2"), ("--tp=2", "--sp=2"), ("--sequence-parallel",)], ids=" ".join)
def test_grid(name, flags, lab):
    check(lab, name, *flags)


def test_layout_of_the_user_changes_the_plan(lab):
    model, inputs, _ = first_tier("llama_static")
    flags = ("--layout", "node_linear=*,*,*")  # the first query projection on every rank instead of by heads

    def plan(*more):
        done = tools.run("commc", model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "--explain", "-o", lab.folder / "layout.commx", *more)
        return next(line for line in (done.stdout + done.stderr).splitlines() if line.startswith("layout  node_linear:"))

    assert plan() != plan(*flags) and "user" in plan(*flags)
    check(lab, "llama_static", *flags, ranks=2)
