"""Memory of a rank while it runs is what the compiler said: weights once, packed, and no copy of the file; a second start reads what was packed."""

import dataclasses
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


def compiled(folder, config, ranks, *options) -> tuple[Path, dict]:
    calls = llama.make_inputs(config)
    saved, target = folder / "inputs.npz", folder / "m.commx"
    arrays.save(saved, calls[0])
    tools.compile_model(llama.build(config, folder), target, ranks, [saved], "--weights=embed", *options)
    return target, calls[0]


@pytest.mark.parametrize("ranks", [2, 4])
def test_rank_holds_its_part_once(ranks, home, tmp_path):
    target, inputs = compiled(tmp_path, CONFIG, ranks)
    executable = runtime.Executable(target)
    for start in ("packs", "reads"):
        with runtime.Session(executable) as session:
            session.run(inputs)
            stats = session.stats()
            used = [anonymous_bytes(pid) for pid in rank_processes()]
        planned = stats["weight_bytes"] + stats["arena_bytes"]
        assert len(used) == ranks and stats["weight_bytes"] > (50 << 20) // ranks
        assert max(used) <= 1.05 * planned + BASE_BYTES, (used, planned)
        assert (stats["weight_bytes_read"] > 0) == (start == "reads") and (stats["weight_bytes_kept"] > 0) == (start == "packs"), stats


@pytest.mark.parametrize("ranks", [1, 2])
def test_memory_is_as_predicted(ranks, home, tmp_path):
    """Of weights as they are read (packed, filled up to whole panels), of the arena, and of both together."""
    target, inputs = compiled(tmp_path, CONFIG, ranks)
    executable = runtime.Executable(target)
    predicted = tools.json_output(tools.run("commc", "inspect", target, "--json"))["predictions"]
    with runtime.Session(executable) as session:
        session.run(inputs)
        stats = session.stats()
    assert stats["weight_bytes"] == pytest.approx(predicted["weight_bytes_per_rank"], rel=0.05)
    assert stats["arena_bytes"] == predicted["arena_bytes_per_rank"]
    private = predicted["weight_bytes_per_rank"] - predicted["mapped_bytes_per_rank"]
    ports = predicted["held_bytes_per_rank"] - private - predicted["arena_bytes_per_rank"]
    assert 0 < ports < 1 << 20


def test_ranks_share_what_they_all_have(home, tmp_path):
    """Split by sequences, every rank has all weights: they are packed once and lie in memory once."""
    target, inputs = compiled(tmp_path, dataclasses.replace(CONFIG, batch=2), 2, "--dp=2")
    with runtime.Session(runtime.Executable(target)) as session:
        session.run(inputs)
        stats = session.stats()
        private = [anonymous_bytes(pid) for pid in rank_processes()]
    if not stats["weight_bytes_shared"]:
        pytest.skip("this system makes no huge pages of shared memory")
    assert stats["weight_bytes_shared"] > 50 << 20
    assert stats["weight_bytes_packed"] == stats["weight_bytes_shared"]  # once for both
    assert max(private) < stats["weight_bytes_shared"] // 2 + BASE_BYTES
