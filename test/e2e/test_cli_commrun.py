"""commrun on the command line: exit codes, messages and files."""

import json
import os
import signal
import stat
import subprocess
import time

import numpy as np
import pytest
from command_line import commc, commrun, one_error
from harness import first_tier

from commc import arrays, tools
from commc.generators import llama
from commc.tools import EXIT


def test_expect(tmp_path, bert):
    executable, inputs, outputs = bert
    assert commrun(executable, "--input", f"@{inputs}", "--expect", f"@{outputs},1e-4,1e-4").returncode == 0
    changed = arrays.load(outputs)
    changed["pooler_output"][1, 5] += 0.25
    arrays.save(tmp_path / "changed.npz", changed)
    done = commrun(executable, "--input", f"@{inputs}", "--expect", f"@{tmp_path / 'changed.npz'},1e-4,1e-4")
    text = one_error(done, "mismatch") + done.stdout
    assert "pooler_output" in text and "[1, 5]" in text.replace("[1,5]", "[1, 5]")


def test_verify(bert):
    executable, inputs, _ = bert
    assert commrun(executable, "--input", f"@{inputs}", "--verify").returncode == 0
    assert commrun(executable, "--verify", "--random-seed=3").returncode == 0


def test_random_inputs_have_a_seed(tmp_path, lab):
    model, inputs, _ = first_tier("mlp")
    executable = lab.compile(model, 2, inputs)
    values = []
    for name, seed in (("a", 5), ("b", 5), ("c", 6)):
        assert commrun(executable, f"--random-seed={seed}", "--save-outputs", tmp_path / f"{name}.npz").returncode == 0
        values.append(arrays.load(tmp_path / f"{name}.npz")["y"])
    assert np.array_equal(values[0], values[1]) and not np.array_equal(values[0], values[2])


def test_wrong_inputs(tmp_path, bert):
    executable, inputs, _ = bert
    given = arrays.load(inputs)
    arrays.save(tmp_path / "fewer.npz", {"input_ids": given["input_ids"]})
    assert "attention_mask" in one_error(commrun(executable, "--input", f"@{tmp_path / 'fewer.npz'}"), "usage")
    arrays.save(tmp_path / "shape.npz", {name: value[:, :5] for name, value in given.items()})
    one_error(commrun(executable, "--input", f"@{tmp_path / 'shape.npz'}"), "usage")


def test_token_outside_the_vocabulary(tmp_path, bert):
    executable, inputs, _ = bert
    given = arrays.load(inputs)
    given["input_ids"][0, 0] = 1 << 40
    arrays.save(tmp_path / "wild.npz", given)
    done = commrun(executable, "--input", f"@{tmp_path / 'wild.npz'}")
    assert done.returncode not in (0, -11, -6) and "error" in done.stderr


def test_bench(bert):
    executable, inputs, _ = bert
    done = commrun(executable, "--input", f"@{inputs}", "--bench", "--json", "--iterations=5")
    assert done.returncode == 0, done.stderr
    stats = json.loads(done.stdout)
    assert 0 < stats["latency_best_ms"] <= stats["latency_median_ms"]
    assert stats["bytes_sent_per_rank"] > 0 and 0 <= stats["wait_share"] <= 1
    assert stats["collectives_executed"] == stats["collectives_planned"] > 0
    assert "Performance summary" in commrun(executable, "--input", f"@{inputs}", "--bench", "--iterations=5").stdout


def test_trace(tmp_path, bert):
    executable, inputs, _ = bert
    assert commrun(executable, "--input", f"@{inputs}", "--trace", tmp_path / "t.json").returncode == 0
    events = json.loads((tmp_path / "t.json").read_text())["traceEvents"]
    assert {event["pid"] for event in events if event["ph"] == "X"} == {0, 1}
    assert all(event["dur"] >= 0 for event in events if event["ph"] == "X")


def test_native_code_needs_trust(tmp_path, bert, monkeypatch, home):
    executable, inputs, _ = bert
    lists = [path for path in home.rglob("*") if path.is_file()]
    assert lists and all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in lists)
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    monkeypatch.setenv("HOME", str(stranger))
    text = one_error(commrun(executable, "--input", f"@{inputs}", "--native=require"), "bad_model")
    assert "--trust-native" in text
    interpreted = commrun(executable, "--input", f"@{inputs}", "--save-outputs", tmp_path / "interpreted.npz")
    assert interpreted.returncode == 0 and "kernels are interpreted" in interpreted.stderr
    native = commrun(executable, "--input", f"@{inputs}", "--trust-native", "--save-outputs", tmp_path / "native.npz")
    assert native.returncode == 0 and not native.stderr
    assert arrays.compare(arrays.load(tmp_path / "interpreted.npz"), arrays.load(tmp_path / "native.npz")).relative <= 1e-5


def test_damaged_executables(tmp_path, bert):
    executable, inputs, _ = bert
    whole = executable.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0x40
    for name, data in (("empty", b""), ("cut", whole[:len(whole) // 2]), ("flipped", bytes(flipped)), ("noise", os.urandom(9000))):
        path = tmp_path / f"{name}.commx"
        path.write_bytes(data)
        one_error(commrun(path, "--input", f"@{inputs}"), "bad_model")
        one_error(commc("inspect", path), "bad_model")


def test_interrupt_leaves_no_process(bert):
    executable, inputs, _ = bert
    process = subprocess.Popen([str(tools.find("commrun")), str(executable), "--input", f"@{inputs}", "--bench", "--iterations=100000000"],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True)
    time.sleep(1.5)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert process.wait(15) == EXIT["interrupted"]
    with pytest.raises(ProcessLookupError):
        for _ in range(50):
            os.killpg(process.pid, 0)
            time.sleep(0.1)


def test_bench_keeps_the_state(tmp_path):
    """Timed runs that carry the cache do not pass it; their runs go on from the call's."""
    config = llama.Config(hidden=32, heads=4, kv_heads=2, layers=2, inter=48, vocab=50, batch=1, cache=True)
    step = llama.make_inputs(config, sequence=4, steps=1)[1]
    arrays.save(tmp_path / "step.npz", step)
    tools.compile_model(llama.build(config, tmp_path), tmp_path / "m.commx", 2, [tmp_path / "step.npz"])
    passed = {}
    for mode in ("off", "first", "last"):
        done = commrun(tmp_path / "m.commx", "--input", f"@{tmp_path / 'step.npz'}", "--bench", "--iterations=3", "--warmup=0", "--json", f"--keep-state={mode}")
        assert done.returncode == 0, done.stderr
        passed[mode] = json.loads(done.stdout)["bytes_passed"]
    cache = sum(array.nbytes for name, array in step.items() if name.startswith("past"))
    assert passed["first"] == passed["last"] < passed["off"] - 2 * cache
    assert "Passed to ranks" in commrun(tmp_path / "m.commx", "--input", f"@{tmp_path / 'step.npz'}", "--bench", "--iterations=1", "--warmup=0").stdout
    for flags, word in (["--keep-state=last"], "--bench"), (["--bench", "--keep-state=exact"], "keep the first or the last"):
        done = commrun(tmp_path / "m.commx", "--input", f"@{tmp_path / 'step.npz'}", "--warmup=100", *flags)
        assert done.returncode == 2 and word in done.stderr


def test_bench_of_a_model_without_state(bert):
    executable, inputs, _ = bert
    done = commrun(executable, "--input", f"@{inputs}", "--bench", "--keep-state=last")
    assert done.returncode == 2 and "has no state" in done.stderr
