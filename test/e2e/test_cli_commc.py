"""commc on the command line: exit codes, messages and files."""

import json
import os

import pytest
from command_line import commc, one_error
from harness import first_tier

from commc import tools
from commc.tools import EXIT


@pytest.mark.parametrize("tool", ["commc", "commrun"])
def test_usage(tool):
    assert tools.run(tool, check=False).returncode == EXIT["usage"]
    assert tools.run(tool, "--help").stdout
    assert tools.run(tool, "--version").stdout.strip()


def test_unknown_flag_suggests_the_nearest(lab):
    model, _, _ = first_tier("mlp")
    text = one_error(commc(model, "--device=cpu:2"), "usage")
    assert "--devices" in text


def test_missing_and_malformed_models(tmp_path):
    one_error(commc(tmp_path / "absent.onnx", "--devices=cpu:1"), "bad_model")
    (tmp_path / "noise.onnx").write_bytes(os.urandom(4096))
    one_error(commc(tmp_path / "noise.onnx", "--devices=cpu:1"), "bad_model")
    model, _, _ = first_tier("mlp")
    (tmp_path / "cut.onnx").write_bytes(model.read_bytes()[:5000])
    one_error(commc(tmp_path / "cut.onnx", "--devices=cpu:1"), "bad_model")


def test_missing_external_data(tmp_path):
    model, _, _ = first_tier("llama_cache")
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    text = one_error(commc("check", tmp_path / "model.onnx"), "bad_model")
    assert "model.onnx.data" in text


def test_unbound_dimensions_are_listed_with_their_flags():
    model, _, _ = first_tier("bert_dynamic")
    done = commc(model, "--devices=cpu:2")
    assert done.returncode not in (0, EXIT["internal"])
    assert "--dim batch=" in done.stderr and "--dim sequence=" in done.stderr


def test_dimensions_by_name(lab, bert):
    model, inputs, outputs = first_tier("bert_dynamic")
    executable = lab.folder / "by-name.commx"
    tools.run("commc", model, "--devices=cpu:2", "--dim", "batch=3", "--dim", "sequence=12", "-o", executable)
    tools.run("commrun", executable, "--input", f"@{inputs[0]}", "--expect", f"@{outputs[0]},1e-4,1e-4")


def test_does_not_fit(tmp_path):
    model, inputs, _ = first_tier("bert_dynamic")
    text = one_error(commc(model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "--memory=16KiB", "-o", tmp_path / "m.commx"), "does_not_fit")
    assert "weights" in text
    assert not (tmp_path / "m.commx").exists()


def test_check_says_yes():
    for name in ("mlp", "bert_dynamic", "genai_llama_fp32"):
        done = commc("check", first_tier(name)[0])
        assert done.returncode == 0, done.stderr


def test_one_more_file_per_phase(tmp_path):
    model, inputs, _ = first_tier("mlp")
    for phase in ("import", "partition", "optimize", "schedule", "lower"):
        done = commc(model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", f"--stop-after={phase}")
        assert done.returncode == 0, done.stderr
        assert "func.func" in done.stdout
    done = commc(model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", f"--dump-ir={tmp_path / 'ir'}", "-o", tmp_path / "m.commx")
    assert done.returncode == 0 and len(list((tmp_path / "ir").iterdir())) >= 5


def test_compiling_twice_gives_the_same_bytes(tmp_path):
    model, inputs, _ = first_tier("llama_static")
    output, contents = tmp_path / "m.commx", []
    for _ in range(2):
        tools.compile_model(model, output, 2, inputs)
        contents.append(output.read_bytes())
        output.unlink()
    assert contents[0] == contents[1]


def test_weights_by_reference(tmp_path):
    model, inputs, outputs = first_tier("llama_cache")
    sizes = {}
    for mode in ("embed", "reference"):
        folder = tmp_path / mode
        folder.mkdir()
        for file in ("model.onnx", "model.onnx.data"):
            (folder / file).write_bytes((model.parent / file).read_bytes())
        tools.compile_model(folder / "model.onnx", folder / "m.commx", 2, inputs[:1], f"--weights={mode}")
        sizes[mode] = (folder / "m.commx").stat().st_size
        tools.run("commrun", folder / "m.commx", "--input", f"@{inputs[0]}", "--expect", f"@{outputs[0]},2e-4,2e-4")
    assert sizes["reference"] < sizes["embed"] / 2
    (tmp_path / "reference" / "model.onnx.data").unlink()
    text = one_error(tools.run("commrun", tmp_path / "reference" / "m.commx", "--input", f"@{inputs[0]}", check=False), "bad_model")
    assert "model.onnx.data" in text


def test_inspect(bert, lab):
    executable, _, _ = bert
    text = tools.run("commc", "inspect", executable).stdout
    for word in ("input_ids", "attention_mask", "last_hidden_state", "all_reduce"):
        assert word in text
    json.loads(tools.run("commc", "inspect", executable, "--json").stdout)
    model, inputs, _ = first_tier("llama_cache")
    text = tools.run("commc", "inspect", lab.compile(model, 2, inputs)).stdout
    assert "past_key_values.1.key" in text and "present.1.key" in text
