"""Scheduling end to end: the memory limit on deep models, verdicts, modes, plans and their gate. Results never change."""

import json
import re

import pytest
from harness import RELATIVE, assert_within

from commc import generate, reference, tools
from commc.generators import bert, llama
from commc.tools import EXIT

SLOW = "--link=1Gbit,50us"
REASONS = ["hidden", "dependence", "memory limit", "limit on collectives under way", "gate: the chosen plan is faster", "too small",
           "memory-bound neighbour", "shared core", "order", "off by request", "nothing to move"]


@pytest.fixture(scope="module")
def block(lab):
    """Two llama layers on 64 tokens with what they must give."""
    config = llama.Config(layers=2)
    model = llama.build(config, lab.folder / "overlap-llama")
    used, expected = reference.run_chained(model, llama.make_inputs(config, batch=1, sequence=64))
    return model, generate.write_calls(model.parent, "inputs", used), expected


@pytest.fixture(scope="module")
def batch(lab):
    config = bert.Config(layers=2)
    model = bert.build(config, lab.folder / "overlap-bert")
    used, expected = reference.run_chained(model, bert.make_inputs(config, batch=2, sequence=32))
    return model, generate.write_calls(model.parent, "inputs", used), expected


def facts(model, output, ranks, inputs, *flags) -> dict:
    """What commc --json says, explanations and predictions included."""
    return json.loads(tools.compile_model(model, output, ranks, inputs, "--json", *flags).stdout)


MODES = [[], [SLOW], ["--overlap=safe", SLOW], ["--overlap=max"], ["--overlap=max", SLOW], ["--overlap=off"], ["--no-schedule-overlap"],
         ["--no-chunk-collectives", SLOW], ["--topology=h100_sxm"], ["--plan=split", "--split-min-rows=16", "--split-tile=8", SLOW], ["--plan=fuse"], ["--plan=pipeline", SLOW]]


@pytest.mark.parametrize("flags", MODES, ids=lambda flags: " ".join(flags) or "default")
def test_modes_keep_the_result(lab, block, batch, flags):
    for model, inputs, expected in (block, batch):
        for ranks in (2, 3):
            assert_within(lab.outputs(model, ranks, inputs, *flags), expected, relative=RELATIVE)


@pytest.mark.parametrize("flags", MODES, ids=lambda flags: " ".join(flags) or "default")
def test_every_collective_has_one_verdict(tmp_path, block, flags):
    model, inputs, _ = block
    said = facts(model, tmp_path / "m.commx", 2, inputs, *flags)
    lines = [line for line in said["explain"] if line.startswith("overlap")]
    verdicts = [line for line in lines if re.search(r"#\d+ of ", line)]
    summary = [line for line in lines if "verdicts:" in line]
    assert len(summary) == 1
    assert len(verdicts) == said["predictions"]["collectives"] == said["predictions"]["judged.main"]
    assert sorted(int(re.search(r"#(\d+) of ", line)[1]) for line in verdicts) == list(range(len(verdicts)))
    counts = re.findall(r"(\d+) ([^,]+)", summary[0].split("verdicts:")[1])
    assert sum(int(count) for count, _ in counts) == len(verdicts)
    assert all(reason in REASONS for _, reason in counts)
    for line in verdicts:
        named = [reason for reason in REASONS if f": {reason} behind" in line or f"exposed: {reason}" in line]
        assert len(named) == 1 or ": hidden, " in line, line
    if "--overlap=off" in flags:
        assert all("off by request" in line for line in verdicts)


def test_predictions_add_up(tmp_path, block):
    model, inputs, _ = block
    said = facts(model, tmp_path / "m.commx", 2, inputs, SLOW)["predictions"]
    assert said["compute_us.main"] > 0 and said["exposed_us.main"] > 0
    assert said["step_us.main"] >= said["compute_us.main"] + said["exposed_us.main"] - 1e-6
    off = facts(model, tmp_path / "o.commx", 2, inputs, SLOW, "--overlap=off")["predictions"]
    assert off["hidden_us.main"] == 0
    assert said["step_us.main"] <= off["step_us.main"] * 1.001


@pytest.mark.parametrize("layers", [32, 80])
def test_memory_limit_is_kept_on_deep_models(tmp_path, lab, layers):
    """Overlap never exceeds a limit that a plan without overlap keeps; one that no plan keeps is an error and no file."""
    config = llama.Config(layers=layers, hidden=32, heads=4, kv_heads=2, inter=64, bare=True, batch=1, sequence=64)
    model = llama.build(config, lab.folder / f"deep-{layers}")
    inputs = generate.write_calls(model.parent, "inputs", llama.make_inputs(config, batch=1, sequence=64))
    plain = facts(model, tmp_path / "p.commx", 2, inputs, "--overlap=off")["predictions"]["peak_bytes_per_rank"]
    free = facts(model, tmp_path / "f.commx", 2, inputs, SLOW)["predictions"]["peak_bytes_per_rank"]
    for limit in {int(plain), int((plain + free) / 2), int(free), int(plain * 1.05)}:
        if limit >= plain:
            said = facts(model, tmp_path / "l.commx", 2, inputs, SLOW, f"--memory={limit}")
            assert said["predictions"]["peak_bytes_per_rank"] <= limit
    failed = tools.compile_model(model, tmp_path / "none.commx", 2, inputs, SLOW, f"--memory={int(plain / 2)}", check=False)
    assert failed.returncode == EXIT["does_not_fit"]
    assert re.search(r"error\[E50\d\]: .*limit", failed.stderr)
    assert not (tmp_path / "none.commx").exists()


def test_empty_tuning_file_and_wrong_ones(tmp_path, block):
    model, inputs, _ = block
    (tmp_path / "empty.json").write_text('{"format": "commc-tuning", "version": 1}')
    said = facts(model, tmp_path / "m.commx", 2, inputs, f"--tuning={tmp_path / 'empty.json'}")
    assert any("runs the plan sync" in line for line in said["explain"])
    for flag in (f"--tuning={tmp_path / 'absent.json'}", "--topology=nowhere", "--link=fast"):
        failed = tools.compile_model(model, tmp_path / "n.commx", 2, inputs, flag, check=False)
        assert failed.returncode == EXIT["usage"], failed.stderr
        assert failed.stderr.count("error[") == 1


def test_a_row_of_the_tuning_file_decides(tmp_path, block):
    model, inputs, _ = block
    row = {"topology": "cpu", "tokens": 64, "plan": "split"}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"format": "commc-tuning", "version": 1, "plans": [row, {**row, "tokens": 4096, "plan": "plain"}]}))
    said = facts(model, tmp_path / "m.commx", 2, inputs, f"--tuning={path}")
    assert any("runs the plan split: a row of the tuning file" in line for line in said["explain"])
    path.write_text(json.dumps({"format": "commc-tuning", "version": 1, "plans": [{**row, "topology": "h100_sxm"}]}))
    said = facts(model, tmp_path / "m.commx", 2, inputs, f"--tuning={path}")
    assert not any("a row of the tuning file" in line for line in said["explain"])


def test_options_without_effect_are_said(tmp_path, block):
    model, inputs, _ = block
    done = tools.compile_model(model, tmp_path / "one.commx", 1, inputs, "--overlap=max", SLOW)
    assert "--overlap had no effect: the program has no collective" in done.stderr
    assert "--link had no effect" in done.stderr
    done = tools.compile_model(model, tmp_path / "two.commx", 2, inputs)
    assert "had no effect" not in done.stderr


def test_equal_compilations_are_equal(tmp_path, block):
    model, inputs, _ = block
    texts = []
    for name in ("a.commx", "b.commx"):
        tools.compile_model(model, tmp_path / name, 2, inputs, SLOW)
        texts.append((tmp_path / name).read_bytes())
    assert texts[0] == texts[1]


def test_bench_shows_the_prediction_of_its_entry(block, lab):
    model, inputs, _ = block
    executable = lab.compile(model, 2, inputs, SLOW)
    done = tools.run_executable(executable, inputs, "--bench", "--json", "--iterations=1", "--warmup=0", SLOW)
    predicted = facts(model, lab.folder / "predicted.commx", 2, inputs, SLOW)["predictions"]["step_us.main"]
    assert tools.json_output(done)["predicted_ms"] == pytest.approx(predicted / 1000, rel=1e-3)
