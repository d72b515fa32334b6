"""python -m commc.generate: files written and messages."""

import numpy as np
import pytest

from commc import arrays, generate


def test_writes_calls_and_expected(tmp_path):
    options = ["llama", "--layers", "1", "--cache", "--steps", "1", "--expect", "--input-batch", "1", "-o", str(tmp_path)]
    assert generate.main(options) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "inputs_0.npz", "inputs_1.npz", "outputs_0.npz", "outputs_1.npz"}
    second, first = arrays.load(tmp_path / "inputs_1.npz"), arrays.load(tmp_path / "outputs_0.npz")
    assert np.array_equal(second["past_key_values.0.key"], first["present.0.key"])


def test_one_call_has_plain_names(tmp_path):
    assert generate.main(["bert", "--external", "-o", str(tmp_path)]) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx", "model.onnx.data", "inputs.npz"}


def test_integers(tmp_path):
    assert generate.main(["integers", "heads", "--expect", "-o", str(tmp_path)]) == 0
    assert set(arrays.load(tmp_path / "outputs.npz")) == {"joined", "y"}


def test_impossible_sizes_give_a_sentence(tmp_path, capsys):
    assert generate.main(["llama", "--kv-heads", "3", "-o", str(tmp_path)]) == 2
    assert "multiple" in capsys.readouterr().err
    assert generate.main(["bert", "--steps", "1", "-o", str(tmp_path)]) == 2


def test_unknown_option_is_a_usage_error(tmp_path):
    with pytest.raises(SystemExit) as ended:
        generate.main(["llama", "--no-such", "-o", str(tmp_path)])
    assert ended.value.code == 2
