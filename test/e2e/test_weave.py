"""First-tier models with the residual split by rows, and with the tokens in two parts, on 2 to 4 ranks: what PyTorch computed."""

import re

import pytest
from harness import EXPECTATIONS, assert_within, first_tier

from commc import arrays, tools

MODELS = ["bert_dynamic", "bert_torchscript_op14", "gpt2_dynamic", "llama_static", "llama_cache", "genai_llama_fp32", "qwen2_cache_op23"]
PLANS = {
    "fuse": ["--plan=fuse"],
    "split": ["--plan=split", "--split-tile=1", "--split-min-rows=2"],
    "split-early": ["--plan=split", "--split-at=1"],
    "chunks": ["--plan=fuse", "--matmul-chunks=2", "--split-tile=1"],
}


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("plan", PLANS)
@pytest.mark.parametrize("name", MODELS)
def test_equals_oracle(name, plan, ranks, lab):
    model, inputs, outputs = first_tier(name)
    actual = lab.outputs(model, ranks, inputs, *PLANS[plan])
    assert_within(actual, [arrays.load(path) for path in outputs], absolute=EXPECTATIONS[name]["tolerance_abs"])


def explained(name, lab, *flags):
    model, inputs, _ = first_tier(name)
    done = tools.run("commc", model, "--devices=cpu:2", *[f"--shapes-from=@{path}" for path in inputs], "--explain", *flags, "-o", lab.folder / "explained.commx")
    return done.stdout + done.stderr


@pytest.mark.parametrize("name", MODELS)
def test_every_layer_is_fused(name, lab):
    text = explained(name, lab, "--plan=fuse")
    _, inputs, _ = first_tier(name)
    assert re.findall(r"^fusion .*are one op", text, re.MULTILINE), text


@pytest.mark.parametrize("name", ["gpt2_dynamic", "llama_static", "llama_cache", "genai_llama_fp32", "qwen2_cache_op23"])
def test_causal_models_run_in_two_parts(name, lab):
    text = explained(name, lab, *PLANS["split"])
    assert re.search(r"^split .*runs in two parts", text, re.MULTILINE), text
