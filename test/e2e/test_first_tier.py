"""Exported models of the first tier, on 1 to 4 ranks, against what PyTorch computed. None may be skipped."""

import re

import onnx
import pytest
from harness import EXPECTATIONS, MODELS, RANKS, assert_within, first_tier

from commc import arrays, tools

EQUAL = ["mlp", "bert_dynamic", "bert_torchscript_op14", "gpt2_dynamic", "llama_static", "llama_cache", "genai_llama_fp32", "qwen2_cache_op23"]
REFUSED = ["lstm_refused"]


def test_all_are_here():
    assert sorted(path.name for path in MODELS.iterdir() if path.is_dir()) == sorted(EXPECTATIONS) == sorted(EQUAL + REFUSED)
    for name, row in EXPECTATIONS.items():
        assert (row["expect"] == "refused") == (name in REFUSED)


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", EQUAL)
def test_equals_oracle(name, ranks, lab):
    model, inputs, outputs = first_tier(name)
    actual = lab.outputs(model, ranks, inputs)
    assert_within(actual, [arrays.load(path) for path in outputs], absolute=EXPECTATIONS[name]["tolerance_abs"])


@pytest.mark.parametrize("name", [name for name in EQUAL if EXPECTATIONS[name]["calls"] > 1])
def test_each_call_alone_equals_oracle(name, lab):
    """The given inputs carry the whole cache, so a decode call also stands by itself."""
    model, inputs, outputs = first_tier(name)
    executable = lab.compile(model, 2, inputs)
    for given, expected in zip(inputs, outputs):
        assert_within(lab.run(executable, [given]), [arrays.load(expected)], absolute=EXPECTATIONS[name]["tolerance_abs"])


@pytest.mark.parametrize("name", [name for name in EQUAL if name != "mlp"])
def test_attention_is_split_by_heads(name, lab):
    model, inputs, _ = first_tier(name)
    shapes = [f"--shapes-from=@{path}" for path in inputs]
    done = tools.run("commc", model, "--devices=cpu:2", *shapes, "--explain", "-o", lab.folder / "explained.commx")
    text = done.stdout + done.stderr
    recognised = int(re.search(r"(\d+) attentions", text)[1])
    split = re.findall(r"^layout .*: over tp by (?:kv )?heads", text, re.MULTILINE)
    assert len(split) == recognised == 2 * len(inputs), text  # two layers, one entry per call


@pytest.mark.parametrize("command", [["check"], []])
@pytest.mark.parametrize("name", REFUSED)
def test_refused_naming_the_operator(name, command, lab):
    model, _, _ = first_tier(name)
    output = lab.folder / "refused.commx"
    flags = ["--devices=cpu:1", "-o", output] if not command else []
    done = tools.run("commc", *command, model, *flags, check=False)
    assert done.returncode == tools.EXIT["unsupported"], done.stderr
    text = done.stdout + done.stderr
    assert "LSTM" in text and "error[E" in text
    nodes = [node.name for node in onnx.load(model).graph.node if node.op_type == "LSTM"]
    assert any(name in text for name in nodes), text
    assert not output.exists()


@pytest.mark.parametrize("name", EQUAL)
def test_interpreted_kernels_equal_oracle(name, lab):
    """What an executable does on a machine that does not trust its native code."""
    model, inputs, outputs = first_tier(name)
    actual = lab.run(lab.compile(model, 2, inputs), inputs, "--native=never")
    assert_within(actual, [arrays.load(path) for path in outputs], absolute=EXPECTATIONS[name]["tolerance_abs"])
