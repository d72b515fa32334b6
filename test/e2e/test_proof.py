"""Schedules are proved when they are made and again when they are run; seeded faults are found.

COMM_MUTANTS=500 runs the full campaign: that many faults of each class (default 40).
"""

import json
import os
import struct
import subprocess
from hashlib import sha256

import pytest
from command_line import commc, commrun, one_error
from harness import first_tier

from commc import tools

MODELS = ["mlp", "bert_dynamic", "gpt2_dynamic", "llama_static", "llama_cache", "genai_llama_fp32", "qwen2_cache_op23"]
GRIDS = {"2": ["--devices=cpu:2"], "4": ["--devices=cpu:4"], "2x2": ["--devices=cpu:4", "--tp=2", "--dp=2"]}


def compiled(folder, name, grid):
    """The executable of a model of the first tier, with its weights inside."""
    model, inputs, _ = first_tier(name)
    output = folder / f"{name}-{grid}.commx"
    if not output.exists():
        shapes = [f"--shapes-from=@{path}" for path in inputs]
        tools.run("commc", model, *GRIDS[grid], *shapes, "--weights=embed", "-q", "-o", output)
    return output


def rewrite(executable, output, change):
    """A copy of an executable with its manifest changed and its hash made to fit."""
    data = executable.read_bytes()
    (size,) = struct.unpack_from("<Q", data, 24)
    manifest = json.loads(data[64 : 64 + size])
    change(manifest)
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":")).encode()
    padded = -(-(64 + len(text)) // 4096) * 4096
    rest = data[-(-(64 + size) // 4096) * 4096 :]
    head = data[:16] + struct.pack("<QQ", padded + len(rest), len(text))
    body = text + bytes(padded - 64 - len(text)) + rest
    output.write_bytes(head + sha256(head + body).digest() + body)


def collectives(program):
    return [i for i, c in enumerate(program["commands"]) if "plan_id" in c["attrs"]]


@pytest.fixture(scope="module")
def llama(lab):
    return compiled(lab.folder, "llama_static", "2")


def test_every_entry_is_proved(llama):
    text = tools.run("commc", "inspect", llama, "--prove").stdout
    assert text.startswith("'main': proved: 2 ranks: ") and "no deadlock" in text and len(text.splitlines()) == 1
    assert text.strip() in tools.run("commc", "inspect", llama).stdout
    assert json.loads(tools.run("commc", "inspect", llama, "--json").stdout)["proof"] == [text.strip()]


def test_explain_has_the_proof(tmp_path):
    model, inputs, _ = first_tier("mlp")
    done = commc(model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "--explain", "-o", tmp_path / "m.commx")
    assert "proof  'main': proved: 2 ranks: " in done.stdout


@pytest.mark.parametrize("part", ["certificate", "order", "matching", "peak"])
def test_a_wrong_certificate_is_refused(tmp_path, llama, part):
    def change(manifest):
        certificate = manifest["entries"][0]["certificate"]
        if part == "certificate":
            manifest["entries"][0]["certificate"] = {"version": 0, "order": [], "matching": [], "peak_bytes": 0}
        elif part == "order":
            certificate["order"][0:2] = [1, certificate["order"][1]]
        elif part == "matching":
            certificate["matching"][4] += 1
        else:
            certificate["peak_bytes"] -= 1

    rewrite(llama, tmp_path / "m.commx", change)
    text = one_error(commrun(tmp_path / "m.commx", "--random-seed=1", "--trust-native"), "bad_model")
    assert "entry 'main' is not proved" in text
    text = one_error(commc("inspect", tmp_path / "m.commx", "--prove"), "bad_model")
    assert "entry 'main'" in text


def test_a_rewritten_executable_that_is_unchanged_runs(tmp_path, llama):
    rewrite(llama, tmp_path / "m.commx", lambda manifest: None)
    assert (tmp_path / "m.commx").read_bytes() == llama.read_bytes()


def test_a_dropped_collective_is_refused(tmp_path, llama):
    """A collective that silently becomes a no-op gives wrong results: it never gets as far as running."""

    def change(manifest):
        program = manifest["entries"][0]["split"]
        i = collectives(program)[0]
        token = program["commands"][i]["attrs"].get("token")
        program["commands"] = [c for n, c in enumerate(program["commands"]) if n != i and not (c["op"] == "wait" and c["attrs"]["token"] == token)]

    rewrite(llama, tmp_path / "m.commx", change)
    text = one_error(commrun(tmp_path / "m.commx", "--random-seed=1", "--trust-native"), "bad_model")
    assert "is not proved: its matching table" in text
    text = one_error(commc("inspect", tmp_path / "m.commx", "--prove"), "bad_model")  # whatever the certificate says
    assert "reads bytes" in text and "command " in text


def test_a_wait_that_is_too_late_is_refused(tmp_path, llama):
    def change(manifest):
        commands = manifest["entries"][0]["split"]["commands"]
        wait = next(i for i, c in enumerate(commands) if c["op"] == "wait")
        commands.append(commands.pop(wait))

    rewrite(llama, tmp_path / "m.commx", change)
    one_error(commrun(tmp_path / "m.commx", "--random-seed=1", "--trust-native"), "bad_model")
    text = one_error(commc("inspect", tmp_path / "m.commx", "--prove"), "bad_model")
    assert "command " in text


def test_seeded_faults_are_found(lab):
    program = tools.ROOT / "build" / "test" / "bin" / "schedule-mutants"
    if not program.exists():
        pytest.skip("the unit tests are not built")
    mutants = int(os.environ.get("COMM_MUTANTS", "40"))
    names = MODELS if mutants >= 500 else MODELS[:4] + MODELS[5:6]
    files = [compiled(lab.folder, name, grid) for name in names for grid in GRIDS]
    done = subprocess.run([program, "--per-class", str(mutants), *files], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
