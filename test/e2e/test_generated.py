"""Generated BERT, GPT-2 and Llama shapes on 1 to 4 ranks against ONNX Runtime, with caches from prefill through decode steps."""

import pytest
from harness import RANKS, RELATIVE, assert_within

from commc import generate, reference
from commc.generators import bert, gpt2, llama

# name: module, config, arguments of make_inputs
CASES = {
    "bert": (bert, bert.Config(), {}),
    "bert-decomposed": (bert, bert.Config(opset=17, decomposed=True, heads=4), {"batch": 3, "sequence": 7}),
    "gpt2": (gpt2, gpt2.Config(), {}),
    "gpt2-cache": (gpt2, gpt2.Config(cache=True), {"batch": 1, "steps": 2}),
    "llama": (llama, llama.Config(), {}),
    "llama-static": (llama, llama.Config(batch=1, sequence=16, kv_heads=2), {}),
    "llama-cache": (llama, llama.Config(cache=True), {"steps": 2}),
    # one KV head for six heads of size 10: splits unevenly on every rank count but one
    "llama-uneven": (llama, llama.Config(hidden=36, heads=6, kv_heads=1, head_dim=10, inter=77, vocab=101, cache=True, qkv_bias=True,
                                         opset=18), {"batch": 1, "sequence": 5, "steps": 1}),
    "llama-mha-external": (llama, llama.Config(kv_heads=8, layers=1), {"batch": 1, "sequence": 33}),
}


@pytest.fixture(scope="module")
def made(lab):
    """Model, input files and expected outputs by case name, made once."""
    cache = {}

    def make(name):
        if name not in cache:
            module, config, size = CASES[name]
            model = module.build(config, lab.folder / name, external=name.endswith("external"))
            used, expected = reference.run_chained(model, module.make_inputs(config, **size))
            # Cache inputs of later calls are zeros here, so only chaining can give the expected numbers.
            for past in reference.cache_pairs(used[0], expected[0]):
                for call in used[1:]:
                    call[past] = 0 * call[past]
            cache[name] = (model, generate.write_calls(model.parent, "inputs", used), expected)
        return cache[name]

    return make


@pytest.mark.parametrize("ranks", RANKS)
@pytest.mark.parametrize("name", CASES)
def test_equals_onnxruntime(name, ranks, lab, made):
    model, inputs, expected = made(name)
    assert_within(lab.outputs(model, ranks, inputs), expected, relative=RELATIVE)


@pytest.mark.parametrize("name", ["bert", "gpt2-cache", "llama-cache"])
def test_two_runs_and_threads_agree_bitwise(name, lab, made):
    """The order of sums does not depend on timing, nor on ranks being processes or threads."""
    model, inputs, _ = made(name)
    executable = lab.compile(model, 2, inputs)
    first = lab.run(executable, inputs)
    for other in (lab.run(executable, inputs), lab.run(executable, inputs, "--ranks-as=threads")):
        assert_within(other, first, absolute=0.0)
