"""Schedules are proved when they are made and again when they are run; seeded faults are found.

COMM_MUTANTS=500 runs the full campaign: that many faults of each class (default 40), every model with every plan.
"""

import itertools
import json
import os
import re
import struct
import subprocess
from hashlib import sha256

import pytest
from command_line import commc, commrun, one_error
from harness import first_tier

from commc import tools

MODELS = ["mlp", "bert_dynamic", "gpt2_dynamic", "llama_static", "llama_cache", "genai_llama_fp32", "qwen2_cache_op23"]
GRIDS = {"2": ["--devices=cpu:2"], "4": ["--devices=cpu:4"], "2x2": ["--devices=cpu:4", "--tp=2", "--dp=2"]}
PLANS = {"plain": ["--plan=plain", "--overlap=max"], "fuse": ["--plan=fuse"], "split": ["--plan=split", "--split-tile=1", "--split-min-rows=2"],
         "pipeline": ["--plan=pipeline", "--split-tile=1"]}


def compiled(folder, name, grid, plan="plain"):
    """The executable of a model of the first tier, with its weights inside."""
    model, inputs, _ = first_tier(name)
    output = folder / f"{name}-{grid}-{plan}.commx"
    if not output.exists():
        shapes = [f"--shapes-from=@{path}" for path in inputs]
        tools.run("commc", model, *GRIDS[grid], *PLANS[plan], *shapes, "--weights=embed", "-q", "-o", output)
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
    lines = tools.run("commc", "inspect", llama, "--prove").stdout.splitlines()
    assert len(lines) == 2 and lines[0].startswith("'main': proved: 2 ranks: ") and "no deadlock" in lines[0]
    assert re.fullmatch(r"'main': equal to the unsplit model: proved \(\d+ operations\)", lines[1])
    text = tools.run("commc", "inspect", llama).stdout
    assert all(line in text for line in lines)
    assert json.loads(tools.run("commc", "inspect", llama, "--json").stdout)["proof"] == lines


def test_explain_has_the_proof(tmp_path):
    model, inputs, _ = first_tier("mlp")
    done = commc(model, "--devices=cpu:2", f"--shapes-from=@{inputs[0]}", "--explain", "-o", tmp_path / "m.commx")
    assert "proof  'main': proved: 2 ranks: " in done.stdout


@pytest.mark.parametrize("part", ["certificate", "order", "matching", "peak", "equal"])
def test_a_wrong_certificate_is_refused(tmp_path, llama, part):
    def change(manifest):
        certificate = manifest["entries"][0]["certificate"]
        if part == "certificate":
            manifest["entries"][0]["certificate"] = {"version": 0, "order": [], "matching": [], "peak_bytes": 0, "equal": 0}
        elif part == "order":
            certificate["order"][0:2] = [1, certificate["order"][1]]
        elif part == "matching":
            certificate["matching"][4] += 1
        elif part == "peak":
            certificate["peak_bytes"] -= 1
        else:
            certificate["equal"] += 1

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


def test_another_weight_is_refused(tmp_path, llama):
    """Sizes, order and memory are as they were, but two weights of one shape have changed places: only the numbers are wrong."""

    def change(manifest):
        values = manifest["entries"][0]["split"]["values"]
        weights = [v for v in values if v["storage"] == "weight"]
        a, b = next((a, b) for a in weights for b in weights if a["shape"] == b["shape"] and a["index"] != b["index"])
        a["index"], b["index"] = b["index"], a["index"]

    rewrite(llama, tmp_path / "m.commx", change)
    for text in (one_error(commrun(tmp_path / "m.commx", "--random-seed=1", "--trust-native"), "bad_model"),
                 one_error(commc("inspect", tmp_path / "m.commx", "--prove"), "bad_model")):
        assert "entry 'main'" in text and "its outputs are not those of the unsplit program: output '" in text and "command " in text


def test_a_certificate_that_claims_too_much_is_refused(tmp_path, llama):
    """What nobody can show is no reason to refuse, unless the certificate says that it was shown."""

    def change(manifest):
        for command in manifest["entries"][0]["split"]["commands"]:
            command["label"] = ""
        manifest["kernels"] = []  # without their declarations nothing is known of the native functions
        manifest["entries"][0]["certificate"]["equal"] *= claims

    for claims in (1, 0):
        rewrite(llama, tmp_path / "m.commx", change)
        done = commrun(tmp_path / "m.commx", "--random-seed=1", "--trust-native")
        if claims:
            text = one_error(done, "bad_model")
            assert "which is not shown: output 'logits'" in text and "has no rule: a native function without a declaration" in text
        else:
            assert done.returncode == 0, done.stderr
            assert ": not proved: " in tools.run("commc", "inspect", tmp_path / "m.commx", "--prove").stdout


def test_seeded_faults_are_found(lab):
    program = tools.ROOT / "build" / "test" / "bin" / "schedule-mutants"
    if not program.exists():
        pytest.skip("the unit tests are not built")
    mutants = int(os.environ.get("COMM_MUTANTS", "40"))
    cases = list(itertools.product(MODELS if mutants >= 500 else MODELS[:4] + MODELS[5:6], GRIDS))
    plans = list(PLANS)
    files = [compiled(lab.folder, name, grid, plan)
             for i, (name, grid) in enumerate(cases) for plan in (plans if mutants >= 500 else [plans[i % len(plans)]])]
    done = subprocess.run([program, "--per-class", str(mutants), *files], capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
