"""Memory of a rank while it runs is what the compiler said: weights once, packed, and no copy of the file."""

import os
from pathlib import Path

import pytest

from commc import arrays, runtime, tools
from commc.generators import llama

CONFIG = llama.Config(hidden=512, heads=8, kv_heads=8, layers=4, inter=2048, vocab=64, batch=1, sequence=32)
BASE_BYTES = 16 << 20  # of a process that has loaded the runtime: code, stacks, scratch of kernels, queues


def anonymous_bytes(pid: int) -> int:
    """Memory of a process that is backed by no file."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon:")) * 1024


def rank_processes() -> list[int]:
    """The processes that this one has started and that run a rank."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text()
            except OSError:
                continue
            if "(commc-rank)" in fields and int(fields.rsplit(")", 1)[1].split()[1]) == os.getpid():
                found.append(int(entry.name))
    return found


@pytest.mark.parametrize("ranks", [2, 4])
def test_rank_holds_its_part_once(ranks, tmp_path):
    calls = llama.make_inputs(CONFIG)
    saved, target = tmp_path / "inputs.npz", tmp_path / "m.commx"
    arrays.save(saved, calls[0])
    tools.compile_model(llama.build(CONFIG, tmp_path), target, ranks, [saved], "--weights=embed")
    with runtime.Session(runtime.Executable(target)) as session:
        session.run(calls[0])
        stats = session.stats()
        used = [anonymous_bytes(pid) for pid in rank_processes()]
    planned = stats["weight_bytes"] + stats["arena_bytes"]
    assert len(used) == ranks and stats["weight_bytes"] > (50 << 20) // ranks
    assert max(used) <= 1.05 * planned + BASE_BYTES, (used, planned)
