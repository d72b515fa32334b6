"""--precision: products of f32 models in bf16 or with f16 weights, models stored in bf16, and the units that multiply them.

Tolerances are of the largest output: bf16 keeps 8 bits of every operand, f16 11 bits of the weights; both were chosen at about four times the
error seen.
"""

import re

import numpy as np
import onnx
import pytest
from harness import assert_within
from onnx import helper
from test_values_and_types import F, I

from commc import arrays, generate, reference, tools
from commc.generators import bert, llama

WITHIN = {"bf16": 4e-2, "f16": 2e-3}
CASES = {
    "bert": (bert, bert.Config(), {}),
    "llama": (llama, llama.Config(kv_heads=2), {"batch": 2, "sequence": 40}),
    "llama-cache": (llama, llama.Config(cache=True), {"steps": 2}),
}


@pytest.fixture(scope="module")
def made(lab):
    models = {}

    def make(name):
        if name not in models:
            module, config, size = CASES[name]
            model = module.build(config, lab.folder / f"precision-{name}")
            used, expected = reference.run_chained(model, module.make_inputs(config, **size))
            models[name] = (model, generate.write_calls(model.parent, "inputs", used), expected)
        return models[name]

    return make


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize("precision", WITHIN)
@pytest.mark.parametrize("name", CASES)
def test_stays_close_to_f32(name, precision, ranks, lab, made):
    model, inputs, expected = made(name)
    got = lab.outputs(model, ranks, inputs, f"--precision={precision}")
    assert_within(got, expected, relative=WITHIN[precision])
    exact = lab.outputs(model, ranks, inputs, "--precision=f32")
    assert any(not np.array_equal(a[key], b[key]) for a, b in zip(got, exact) for key in b), "nothing was rounded"


@pytest.mark.parametrize("plan", ["auto", "fuse", "split", "pipeline"])
def test_is_said_and_proved(plan, lab, made, tmp_path):
    model, inputs, _ = made("llama")
    done = tools.compile_model(model, tmp_path / "m.commx", 2, inputs, "--precision=bf16", f"--plan={plan}", "--split-tile=1", "--split-min-rows=2", "--explain")
    narrow, products, _ = map(int, re.search(r"^numbers  bf16 for (\d+) of (\d+) products and ([24]) of \3 attentions, sums in f32$", done.stdout, re.M).groups())
    assert 0 < narrow == products  # also those that a plan made of one
    assert re.search(r"^precision  .* f32 products and 2 attentions round their operands to bf16", done.stdout, re.M)
    assert re.search(r"^proof +'[^']*': equal to the unsplit model: proved", done.stdout, re.M)


def test_f32_is_the_default(lab, made, tmp_path):
    model, inputs, _ = made("bert")
    plain = tools.compile_model(model, tmp_path / "a.commx", 1, inputs)
    tools.compile_model(model, tmp_path / "b.commx", 1, inputs, "--precision=bf16")
    assert "numbers" not in plain.stdout
    commands = [tools.run("commc", "inspect", tmp_path / name, "--commands").stdout for name in ("a.commx", "b.commx")]
    assert [bool(re.search(r"matmul \{.*precision=", text)) for text in commands] == [False, True]
    refused = tools.run("commc", model, "--precision=int8", check=False)
    assert refused.returncode == tools.EXIT["usage"] and "--precision" in refused.stderr


def kernels():
    """The names that this machine runs; portable first."""
    flags = next((line for line in open("/proc/cpuinfo") if line.startswith("flags")), "").split()
    wanted = {"portable": [], "avx512": ["avx512bw"], "avx512bf16": ["avx512_bf16"], "amx": ["amx_bf16", "amx_tile"]}
    return [name for name, needs in wanted.items() if set(needs) <= set(flags)]


@pytest.mark.parametrize("source", ["precision", "stored"])
def test_units_agree(source, lab, made, tmp_path, monkeypatch):
    """One executable on every unit: they differ by the order of sums only."""
    if source == "stored":
        config = llama.Config(dtype="bf16", kv_heads=2)
        model = llama.build(config, lab.folder / "precision-stored")
        inputs = generate.write_calls(model.parent, "inputs", llama.make_inputs(config, batch=2, sequence=40))
        executable = lab.compile(model, 2, inputs)
    else:
        model, inputs, _ = made("llama")
        executable = lab.compile(model, 2, inputs, "--precision=bf16")
    found = {}
    for name in kernels():
        monkeypatch.setenv("COMM_MICRO_KERNEL", name)
        found[name] = lab.run(executable, inputs)
        again = lab.run(executable, inputs, "--ranks-as=threads")
        assert_within(again, found[name], absolute=0.0)
        assert_within(found[name], found["portable"], relative=4e-2)
    assert found


def test_a_wrong_name_of_a_unit_is_refused(lab, made, monkeypatch):
    model, inputs, _ = made("bert")
    executable = lab.compile(model, 1, inputs, "--precision=bf16")
    monkeypatch.setenv("COMM_MICRO_KERNEL", "fast")
    done = tools.run_executable(executable, inputs, check=False)
    assert done.returncode == tools.EXIT["usage"] and "COMM_MICRO_KERNEL is 'fast'; expected auto" in done.stderr


def test_choices_stay_f32(lab, tmp_path):
    """A router decides in f32: the experts of every token are those of the f32 model."""
    random = np.random.default_rng(3)
    router, weight = (random.standard_normal(shape, np.float32) / 8 for shape in ((64, 8), (64, 32)))
    arrays.save(tmp_path / "weights.npz", {"x": random.standard_normal((200, 64), np.float32)})
    nodes = [helper.make_node("Constant", [], ["k"], value_ints=[2]), helper.make_node("MatMul", ["x", "r"], ["logits"], name="router"),
             helper.make_node("TopK", ["logits", "k"], ["best", "which"]), helper.make_node("MatMul", ["x", "w"], ["y"], name="expert")]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", F, [200, 64])],
                              [helper.make_tensor_value_info("which", I, [200, 2]), helper.make_tensor_value_info("y", F, [200, 32])],
                              [helper.make_tensor("r", F, [64, 8], router.tobytes(), raw=True), helper.make_tensor("w", F, [64, 32], weight.tobytes(), raw=True)])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), tmp_path / "model.onnx")
    inputs = [tmp_path / "weights.npz"]
    exact, rounded = (lab.outputs(tmp_path / "model.onnx", 1, inputs, f"--precision={p}")[0] for p in ("f32", "bf16"))
    assert np.array_equal(exact["which"], rounded["which"])
    assert not np.array_equal(exact["y"], rounded["y"])
    done = tools.compile_model(tmp_path / "model.onnx", tmp_path / "m.commx", 1, inputs, "--precision=bf16", "--explain")
    assert "router: stays f32: a choice is made from its result" in done.stdout and "numbers  bf16 for 1 of 2 products" in done.stdout
