"""commrun under mpirun: the same executables give the same bits as over shared memory, and no failure leaves a process behind."""

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from harness import first_tier, saved_outputs

from commc import arrays, tools

ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1", "OMPI_MCA_rmaps_base_oversubscribe": "1",
               "OMPI_MCA_hwloc_base_binding_policy": "none"}


@pytest.fixture(scope="module", autouse=True)
def mpi(tmp_path_factory):
    ENVIRONMENT["OMPI_MCA_orte_tmpdir_base"] = str(tmp_path_factory.mktemp("mpi"))
    if not shutil.which("mpirun"):
        pytest.skip("there is no mpirun on PATH")
    if not (tools.find("commrun").parents[1] / "lib" / "libcommc_mpi.so").exists():
        pytest.skip("the MPI plugin was not built: no MPI with headers was found")


def start(ranks, *arguments):
    command = ["mpirun", "-n", str(ranks), str(tools.find("commrun")), *map(str, arguments)]
    return subprocess.Popen(command, env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, process_group=0)


def run(ranks, *arguments, timeout_s=120):
    process = start(ranks, *arguments)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return process.returncode, out, err


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


def given(inputs):
    return [word for path in inputs for word in ("--input", f"@{path}")]


RING = ["--sequence-parallel", "--plan=pipeline", "--matmul-order=ring"]


@pytest.mark.parametrize("name, ranks, flags", [("bert_dynamic", 2, []), ("llama_cache", 2, []), ("genai_llama_fp32", 3, []), ("mlp", 4, []),
                                                ("llama_cache", 3, RING)])
def test_same_bits(tmp_path, lab, name, ranks, flags):
    model, inputs, _ = first_tier(name)
    executable = lab.compile(model, ranks, inputs, *flags)
    code, out, err = run(ranks, executable, "--transport=mpi", *given(inputs), "--save-outputs", tmp_path / "out.npz")
    assert code == 0, err
    assert out.count("saved  ") == 1  # the first rank speaks for all
    shared = lab.run(executable, inputs)
    for path, want in zip(saved_outputs(tmp_path / "out.npz", len(inputs)), shared):
        got = arrays.load(path)
        assert got.keys() == want.keys()
        for key in want:
            assert np.array_equal(got[key], want[key]), key


def test_checks_and_counters(tmp_path, lab):
    model, inputs, outputs = first_tier("bert_dynamic")
    executable = lab.compile(model, 2, inputs)
    trace = tmp_path / "t.json"
    code, out, err = run(2, executable, "--transport=mpi", *given(inputs), "--expect", f"@{outputs[0]},1e-4,1e-4", "--verify", "--bench",
                         "--iterations=3", "--warmup=1", "--trace", trace)
    assert code == 0, err
    assert "Ranks 2 as MPI processes" in out and "link MPI" in out and "Communication " in out
    assert '"rank 1"' in trace.read_text()
    changed = {key: value + 1 for key, value in arrays.load(outputs[0]).items()}
    arrays.save(tmp_path / "changed.npz", changed)
    code, _, err = run(2, executable, "--transport=mpi", *given(inputs), "--expect", f"@{tmp_path / 'changed.npz'},1e-4,1e-4")
    assert code == 7 and "error[E701]" in err


def test_wrong_number_of_ranks(lab):
    model, inputs, _ = first_tier("mlp")
    executable = lab.compile(model, 2, inputs)
    code, _, err = run(3, executable, "--transport=mpi")
    assert code == 2 and "mpirun -n 2" in err
    done = tools.run("commrun", executable, "--transport=mpi", "--link", "1Gbit", check=False)
    assert done.returncode == 2 and "share memory" in done.stderr


def test_different_executables(tmp_path, lab):
    """Rank 1 finds another file under the same name: refused before anything is computed."""
    paths = [lab.compile(first_tier(name)[0], 2, first_tier(name)[1]) for name in ("mlp", "bert_dynamic")]
    script = tmp_path / "rank.sh"
    script.write_text(f'#!/bin/sh\n[ "$OMPI_COMM_WORLD_RANK" = 0 ] && f={paths[0]} || f={paths[1]}\nexec {tools.find("commrun")} $f --transport=mpi\n')
    script.chmod(0o755)
    process = subprocess.run(["mpirun", "-n", "2", str(script)], env=os.environ | ENVIRONMENT, capture_output=True, text=True, timeout=60)
    assert process.returncode == 3 and "run different programs" in process.stderr


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_lost_rank(lab, how):
    model, inputs, _ = first_tier("mlp")
    process = start(2, lab.compile(model, 2, inputs), "--transport=mpi", "--bench", "--iterations=100000000", "--timeout=2")
    ranks = []
    for _ in range(200):
        found = subprocess.run(["pgrep", "-P", str(process.pid), "commrun"], capture_output=True, text=True).stdout.split()
        if len(found) == 2:
            ranks = list(map(int, found))
            break
        time.sleep(0.05)
    assert ranks
    time.sleep(1)
    os.kill(ranks[1], how)
    try:
        _, err = process.communicate(timeout=30)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode != 0
    assert ("signal 9" if how == signal.SIGKILL else "waited 2000 ms in ") in err
    for _ in range(100):  # they were told to end; a zombie that its new parent has not collected counts as ended
        if not any(map(alive, ranks)):
            break
        time.sleep(0.05)
    assert not any(map(alive, ranks)), "a rank is left"
