"""Products and collectives in ring order: the same results on 2 to 4 ranks, proved, and a remark for each."""

import re

import numpy as np
import pytest
from harness import RELATIVE, assert_within
from onnx import TensorProto

from commc import generate, reference, tools
from commc.generators import gpt2, integers, llama
from commc.graph import Graph

RING = ["--plan=pipeline", "--matmul-order=ring"]
# A row split in front and behind, columns between: gathered for the first product, scattered behind the second.
ROWS = ["--layout=x=tp,*", "--layout=relu=*,tp", "--layout=y=tp,*"]


def explained(lab, model, ranks, inputs, *flags):
    shapes = [f"--shapes-from=@{path}" for path in inputs]
    return tools.run("commc", model, f"--devices=cpu:{ranks}", *shapes, "--explain", *flags, "-o", lab.folder / "explained.commx").stdout


def ring_lines(text):
    return re.findall(r"^pipeline .* run in ring order.*$", text, re.MULTILINE)


def proved(text):
    return re.findall(r"^proof +'[^']*': equal to the unsplit model: proved", text, re.MULTILINE)


@pytest.fixture(scope="module")
def rows(lab):
    """y = relu(x a) b on `rows` rows of small integers, with what ONNX Runtime makes of it."""
    cache = {}

    def make(count):
        if count not in cache:
            rng = np.random.default_rng(count)
            g = Graph("rows", 20)
            x = g.input("x", TensorProto.FLOAT, [count, 12])
            first, second = (rng.integers(-2, 3, shape).astype(np.float32) for shape in ((12, 24), (24, 8)))
            hidden = g.op("Relu", g.op("MatMul", x, g.weight("a", first)))
            g.output(g.op("MatMul", hidden, g.weight("b", second), result="y"), "y", TensorProto.FLOAT, [count, 8])
            folder = lab.folder / f"rows-{count}"
            folder.mkdir()
            g.save(folder / "model.onnx")
            given = {"x": rng.integers(-2, 3, (count, 12)).astype(np.float32)}
            cache[count] = folder / "model.onnx", generate.write_calls(folder, "inputs", [given]), reference.run(folder / "model.onnx", given)
        return cache[count]

    return make


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("count", [12, 13, 14])
def test_bit_equal_with_both_collectives(lab, rows, count, ranks):
    """12 rows divide on every count of ranks, 13 on none."""
    model, inputs, expected = rows(count)
    text = explained(lab, model, ranks, inputs, *RING, *ROWS)
    assert len(ring_lines(text)) == 2, text
    assert proved(text), text
    actual = lab.outputs(model, ranks, inputs, *RING, *ROWS)[0]
    assert np.array_equal(actual["y"], expected["y"])


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("name", sorted(integers.MODELS))
def test_integer_models_bit_equal(lab, name, ranks):
    model, given = integers.build(name, lab.folder / f"ring-{name}")
    inputs = generate.write_calls(model.parent, "inputs", [given])
    expected = reference.run(model, given)
    for flags in (RING, [*RING, "--sequence-parallel"], ["--plan=pipeline", "--matmul-chunks=2", "--split-tile=1", "--sequence-parallel"]):
        actual = lab.outputs(model, ranks, inputs, *flags)[0]
        assert all(np.array_equal(actual[output], want) for output, want in expected.items())


@pytest.mark.parametrize("ranks", [2, 3, 4])
@pytest.mark.parametrize("module", [llama, gpt2], ids=["llama", "gpt2"])
def test_equals_onnxruntime(lab, module, ranks):
    """Decoders whose residual is split by tokens; GPT-2's biases stand between its products and scatters, which stay."""
    config = module.Config(layers=2)
    model = module.build(config, lab.folder / f"ring-{module.__name__}")
    used, expected = reference.run_chained(model, module.make_inputs(config, batch=1, sequence=14))
    inputs = generate.write_calls(model.parent, "inputs", used)
    flags = [*RING, "--sequence-parallel"]
    text = explained(lab, model, ranks, inputs, *flags)
    lines = ring_lines(text)
    assert any("all_gather and" in line for line in lines), text
    assert any("reduce_scatter and" in line for line in lines) == (module is llama), text
    assert_within(lab.outputs(model, ranks, inputs, *flags), expected, relative=RELATIVE)
    for other in (["--overlap=off"], ["--no-pipeline-matmuls"]):
        assert_within(lab.outputs(model, ranks, inputs, *flags, *other), expected, relative=RELATIVE)


def test_direct_and_auto(lab, rows):
    model, inputs, expected = rows(12)
    for order in ("direct", "auto"):
        text = explained(lab, model, 3, inputs, "--plan=pipeline", f"--matmul-order={order}", *ROWS)
        assert not ring_lines(text), "on few rows in shared memory nothing is gained"
    done = tools.run("commc", model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "--plan=pipeline", "--matmul-order=ring", "-o",
                     lab.folder / "none.commx", check=False)
    assert done.returncode == 0
    assert "--matmul-order=ring had no effect" in done.stderr


def test_auto_takes_the_order_that_is_predicted_to_be_faster(lab):
    config = llama.Config(layers=1, hidden=256, heads=8, kv_heads=8, inter=1024, bare=True, batch=1, sequence=512)
    model = llama.build(config, lab.folder / "ring-auto")
    used, expected = reference.run_chained(model, llama.make_inputs(config, batch=1, sequence=512))
    inputs = generate.write_calls(model.parent, "inputs", used)
    flags = ["--plan=pipeline", "--sequence-parallel", "--link=1Gbit,50us"]
    text = explained(lab, model, 2, inputs, *flags)
    choices = re.findall(r"^pipeline .* run in (ring order|\d+ chunks).*\(predicted ([\d.]+) us(?:, in (?:ring order|chunks) ([\d.]+) us)?, in one piece ([\d.]+) us\)",
                         text, re.MULTILINE)
    assert choices, text
    for how, taken, other, whole in choices:
        assert float(taken) < float(whole)
        # The ring has to be faster by more than the noise.
        assert not other or float(taken) <= float(other) * (1 if how == "ring order" else 1.04)
    assert_within(lab.outputs(model, 2, inputs, *flags), expected, relative=RELATIVE)
