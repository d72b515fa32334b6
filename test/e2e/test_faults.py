"""Ranks that die, hang or hold another plan: everybody ends soon, with a name and an exit code."""

import contextlib
import os
import shutil
import signal
import stat
import subprocess
import time

import pytest
from harness import first_tier

from commc import tools
from commc.tools import EXIT


def ranks_of(process):
    """Process numbers of the ranks that a commrun has started."""
    listing = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)], capture_output=True, text=True, check=False).stdout
    found = {}
    for line in listing.splitlines():
        pid, *words = line.split()
        if words and words[0].endswith("commc-rank"):
            found[int(words[2])] = int(pid)
    return found


@contextlib.contextmanager
def running(executable, inputs, ranks, *flags):
    """A commrun in the middle of its runs, and its ranks. It is gone afterwards, whatever happens."""
    process = subprocess.Popen([str(tools.find("commrun")), str(executable), "--input", f"@{inputs}", "--bench", "--iterations=100000000", *flags],
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(300):
            if len(found := ranks_of(process)) == ranks:
                break
            time.sleep(0.1)
        time.sleep(0.7)
        assert process.poll() is None and len(found) == ranks
        yield process, found
    finally:
        process.kill()  # its ranks end with it
        process.wait()


@pytest.mark.parametrize("victim", [0, 3])
@pytest.mark.parametrize("signal_number, text", [(signal.SIGKILL, "signal 9"), (signal.SIGSTOP, "5000 ms")])
def test_a_lost_rank_ends_the_others(lab, victim, signal_number, text):
    """A rank that is dead, and one that is alive but stuck: the others do not hang, and the message names it."""
    model, inputs, _ = first_tier("llama_static")
    with running(lab.compile(model, 4, inputs), inputs[0], 4, "--timeout=5") as (process, ranks):
        os.kill(ranks[victim], signal_number)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == EXIT["distributed"], errors
    assert f"rank {victim}" in errors and text in errors
    for pid in ranks.values():
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_a_rank_with_another_plan_is_refused(lab, tmp_path, monkeypatch):
    """One rank finds another plan for the same model: it is refused before any data moves."""
    model, inputs, _ = first_tier("llama_static")
    plan, other = tmp_path / "m.commx", lab.compile(model, 2, inputs, "--overlap=off")
    shutil.copy(lab.compile(model, 2, inputs), plan)
    start = tmp_path / "start-rank"
    start.write_text(f'#!/bin/sh\n[ "$2" = 1 ] && cp "{other}" "{plan}.new" && mv "{plan}.new" "{plan}"\n'
                     f'exec "{tools.find("commrun").with_name("commc-rank")}" "$@"\n')
    start.chmod(start.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("COMM_RANK_PROGRAM", str(start))
    done = tools.run("commrun", plan, "--input", f"@{inputs[0]}", "--timeout=20", check=False)
    assert done.returncode == EXIT["bad_model"], done.stderr
    assert "found another executable" in done.stderr and "rank " in done.stderr


def test_executed_collectives_are_counted_against_the_plan(lab):
    model, inputs, _ = first_tier("llama_static")
    executable = lab.compile(model, 2, inputs)
    planned = sum(tools.json_output(tools.run("commc", "inspect", executable, "--json"))["entries"][0]["collectives"].values())
    assert planned > 0
    assert f"collectives {planned}/{planned}" in tools.run("commrun", executable, "--input", f"@{inputs[0]}").stdout
