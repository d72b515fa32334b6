"""Form `global` means what the model means: imported graphs, as read and after raising, interpreted in double precision against the oracle."""

import json
import subprocess

import numpy as np
import pytest

from commc import arrays, tools

MODELS = tools.ROOT / "test" / "data" / "models"
EXPECTATIONS = json.loads((MODELS / "expectations.json").read_text())
RUN = tools.ROOT / "build" / "test" / "bin" / "import-run"


def interpret(model, inputs, folder, *flags):
    """Outputs by name of one call."""
    command = [RUN, model, "--out", folder, *flags]
    for number, (name, array) in enumerate(inputs.items()):
        file = folder / f"in_{number}.bin"
        array.astype(np.float64 if array.dtype.kind == "f" else np.int64).tofile(file)
        command += ["--shape", f"{name}={'x'.join(map(str, array.shape))}", "--data", f"{name}={file}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    outputs = {}
    for number, line in enumerate(done.stdout.splitlines()):
        name, kind, *shape = line.split()
        dtype = np.float64 if kind == "float" else np.int64
        outputs[name] = np.fromfile(folder / f"out_{number}.bin", dtype).reshape([int(size) for size in shape])
    return outputs


@pytest.mark.parametrize("raised", [False, True], ids=["as-read", "raised"])
@pytest.mark.parametrize("name", [name for name, entry in EXPECTATIONS.items() if entry["expect"] == "equal"])
def test_against_the_oracle(name, raised, tmp_path):
    if not RUN.exists():
        pytest.fail(f"{RUN.name} is not built: build everything first", pytrace=False)
    calls = EXPECTATIONS[name]["calls"]
    for call in range(calls):
        suffix = "" if calls == 1 else f"_{call}"
        given, expected = (arrays.load(MODELS / name / f"{which}{suffix}.npz") for which in ("inputs", "outputs"))
        actual = interpret(MODELS / name / "model.onnx", given, tmp_path, *(["--raise"] if raised else []))
        for output, want in expected.items():
            difference = arrays.compare(actual, {output: want})
            assert difference.absolute <= EXPECTATIONS[name]["tolerance_abs"], f"call {call}, {output}: {difference}"
