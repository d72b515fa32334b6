"""The generators: the same bytes every time, models that ONNX Runtime runs, and a cache that equals the whole sequence."""

import hashlib

import numpy as np
import onnx
import pytest

from commc import reference
from commc.generators import bert, gpt2, integers, llama

CONFIGS = {
    "bert": (bert, bert.Config()),
    "bert-decomposed": (bert, bert.Config(opset=17, decomposed=True, heads=4)),
    "bert-static": (bert, bert.Config(batch=1, sequence=7)),
    "gpt2": (gpt2, gpt2.Config(opset=17)),
    "llama": (llama, llama.Config()),
    "llama-mha": (llama, llama.Config(kv_heads=8, opset=18, qkv_bias=True)),
    "llama-head-dim": (llama, llama.Config(hidden=48, heads=4, kv_heads=1, head_dim=20, opset=22)),
    "llama-bare": (llama, llama.Config(bare=True, cache=True)),
    "llama-f16": (llama, llama.Config(dtype="f16")),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_runs_and_is_finite(name, tmp_path):
    module, config = CONFIGS[name]
    model = module.build(config, tmp_path)
    results = reference.run(model, module.make_inputs(config)[0])
    for value in results.values():
        assert np.isfinite(value).all()
        assert value.std() > 0.1, "weights are scaled so that the result is not flat"


@pytest.mark.parametrize("name", ["bert", "gpt2", "llama"])
def test_every_block_changes_the_result(name, tmp_path):
    module, config = CONFIGS[name]
    inputs = module.make_inputs(config)[0]
    two = reference.run(module.build(config, tmp_path / "two"), inputs)
    one = reference.run(module.build(type(config)(layers=1), tmp_path / "one"), inputs)
    first = next(iter(two))
    assert np.abs(two[first] - one[first]).max() > 0.1


@pytest.mark.parametrize("module", [gpt2, llama])
def test_cache_equals_whole_sequence(module, tmp_path):
    cached = module.Config(cache=True)
    calls = module.make_inputs(cached, batch=1, sequence=5, steps=3)
    _, results = reference.run_chained(module.build(cached, tmp_path / "cached"), calls)
    whole = {"input_ids": np.concatenate([call["input_ids"] for call in calls], 1), "attention_mask": calls[-1]["attention_mask"]}
    logits = reference.run(module.build(module.Config(), tmp_path / "whole"), whole)["logits"]
    chained = np.concatenate([result["logits"] for result in results], 1)
    assert np.abs(chained - logits).max() <= 1e-4 * np.abs(logits).max()


@pytest.mark.parametrize("external", [False, True])
def test_same_bytes_every_time(external, tmp_path):
    digests = set()
    for turn in ("a", "b"):
        path = llama.build(llama.Config(), tmp_path / turn, external=external)
        digests.add(tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(path.parent.iterdir())))
    assert len(digests) == 1
    other = llama.build(llama.Config(seed=1), tmp_path / "c", external=external)
    assert tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(other.parent.iterdir())) not in digests


def test_external_data_is_aligned_and_equal(tmp_path):
    inside, outside = llama.build(llama.Config(), tmp_path / "in"), llama.build(llama.Config(), tmp_path / "out", external=True)
    offsets = [int(entry.value) for tensor in onnx.load(outside, load_external_data=False).graph.initializer
               for entry in tensor.external_data if entry.key == "offset"]
    assert offsets and all(offset % 4096 == 0 for offset in offsets)
    inputs = llama.make_inputs(llama.Config())[0]
    assert np.array_equal(reference.run(inside, inputs)["logits"], reference.run(outside, inputs)["logits"])


@pytest.mark.parametrize("name", sorted(integers.MODELS))
def test_integers_are_exact(name, tmp_path):
    model, inputs = integers.build(name, tmp_path)
    for value in reference.run(model, inputs).values():
        assert np.array_equal(value, np.round(value)) and 0 < np.abs(value).max() < 2**24


def test_70b_takes_no_disk_space(tmp_path):
    model = llama.build(llama.LLAMA_70B, tmp_path, sparse=True)
    data = (tmp_path / "model.onnx.data").stat()
    assert 4 * 70e9 < data.st_size < 4 * 71e9
    assert data.st_blocks * 512 < 1 << 20
    graph = onnx.load(model, load_external_data=False).graph
    assert sum(node.op_type == "Softmax" for node in graph.node) == 80


@pytest.mark.parametrize("make", [
    lambda folder: llama.build(llama.Config(kv_heads=3), folder),
    lambda folder: bert.build(bert.Config(hidden=65), folder),
    lambda folder: gpt2.build(gpt2.Config(opset=16), folder),
    lambda folder: gpt2.make_inputs(gpt2.Config(), steps=1),
])
def test_impossible_sizes_are_refused(make, tmp_path):
    with pytest.raises(ValueError):
        make(tmp_path)
