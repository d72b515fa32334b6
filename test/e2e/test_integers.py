"""Small-integer models: N ranks equal one rank, and ONNX Runtime, bit for bit."""

import numpy as np
import pytest
from harness import RANKS

from commc import generate, reference
from commc.generators import integers


@pytest.mark.parametrize("name", sorted(integers.MODELS))
def test_bit_equal(name, lab):
    model, given = integers.build(name, lab.folder / f"integers-{name}")
    inputs = generate.write_calls(model.parent, "inputs", [given])
    expected = reference.run(model, given)
    for ranks in RANKS:
        actual = lab.outputs(model, ranks, inputs)[0]
        for output, want in expected.items():
            assert np.array_equal(actual[output], want), f"{output} on {ranks} ranks"


def test_some_models_communicate(lab):
    """A plan that leaves everything on every rank would pass the test above without showing anything."""
    import json

    from commc import tools

    talking = 0
    for name in integers.MODELS:
        model, given = integers.build(name, lab.folder / f"integers-{name}")
        inputs = generate.write_calls(model.parent, "inputs", [given])
        done = tools.run_executable(lab.compile(model, 4, inputs), inputs, "--bench", "--json", "--iterations=1")
        talking += json.loads(done.stdout)["bytes_sent_per_rank"] > 0
    assert talking >= 2
