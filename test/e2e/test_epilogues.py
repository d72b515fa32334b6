"""What follows a product (bias, activation, gate) goes over its columns as they become final: same numbers on any number of threads."""

import json

import numpy as np
import pytest
from harness import RELATIVE, assert_within

from commc import generate, reference
from commc.generators import bert, llama

MODELS = {  # generator, configuration, sizes, loops that follow a product
    "bert": (bert, bert.Config(layers=1), {"batch": 1, "sequence": 8}, 4),  # three biases, bias and GELU
    "llama": (llama, llama.Config(layers=1), {"batch": 1, "sequence": 6}, 1),  # SiLU of the gate times up
}


def chained(trace) -> dict[str, set[int]]:
    """Commands that ran in a chain with others, by the kind of command."""
    found = {"product": set(), "loop": set()}
    for event in json.loads(trace.read_text())["traceEvents"]:
        if "chain" in event.get("args", {}):
            found["product" if "matmul" in event["name"] else "loop"].add(event["args"]["command"])
    return found


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("precision", ["f32", "bf16"])
def test_follow_their_product(lab, name, precision):
    module, config, sizes, loops = MODELS[name]
    model = module.build(config, lab.folder / f"epilogue-{name}")
    inputs, expected = reference.run_chained(model, module.make_inputs(config, **sizes))
    files = generate.write_calls(model.parent, "inputs", inputs)
    executable = lab.compile(model, 1, files, f"--precision={precision}")
    outputs = {}
    for threads in (1, 2, 3):
        trace = lab.folder / f"{name}-{precision}-{threads}.json"
        outputs[threads] = lab.run(executable, files, f"--threads={threads}", "--trace", str(trace))
        assert_within(outputs[threads], expected, relative=RELATIVE if precision == "f32" else 3e-2)
        found = chained(trace)
        if threads < 3:  # some of these products have columns for two
            assert len(found["loop"]) >= loops and len(found["product"]) >= loops, found
    for threads in (2, 3):
        for got, one in zip(outputs[threads], outputs[1]):
            for key, value in one.items():
                np.testing.assert_array_equal(got[key], value, err_msg=f"{key} on {threads} threads")
    # Interpreted loops have no columns: they run behind their products, and agree.
    trace = lab.folder / f"{name}-{precision}-interpreted.json"
    assert_within(lab.run(executable, files, "--native=never", "--trace", str(trace)), expected, relative=RELATIVE if precision == "f32" else 3e-2)
    assert not chained(trace)["loop"]
