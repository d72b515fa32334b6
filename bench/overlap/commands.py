"""Time of each kind of command, predicted by the simulator beside what ranks on this machine need: where a predicted step is wrong.

    PYTHONPATH=python python bench/overlap/commands.py [--tuning FILE] [--link 1Gbit,50us] [--runs 5] [--each] [a.commx]

Without an executable, four Llama-shaped blocks of 512 tokens are compiled for 2 ranks. Traces of several runs are taken; a command's time is the
best of them on rank 0, so that what disturbs the machine does not count. `gaps` is what passes between commands: the step of a run less everything
in it, the least of all runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import machine  # noqa: E402

from commc import tools  # noqa: E402
from commc.generators import llama  # noqa: E402


def spans(path: Path) -> tuple[dict, float]:
    """(command, category) -> (name, us) of rank 0, and the time from the first begin to the last end."""
    events = [e for e in json.loads(path.read_text())["traceEvents"] if e["ph"] == "X" and e["pid"] == 0]
    found = {(e["args"]["command"], e["cat"]): (e["name"], e["dur"]) for e in events}
    return found, max(e["ts"] + e["dur"] for e in events) - min(e["ts"] for e in events)


def compile_block(folder: Path, sequence: int) -> Path:
    config = llama.Config(hidden=1024, heads=16, kv_heads=4, layers=4, inter=2816, bare=True, batch=1, sequence=sequence)
    path = folder / f"llama{sequence}.commx"
    tools.compile_model(llama.build(config, folder / "model", external=True), path, 2, [], "--overlap=off", "-q")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("executable", nargs="?", type=Path)
    parser.add_argument("--tuning", type=Path)
    parser.add_argument("--link", default="")
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--each", action="store_true", help="a line per command as well")
    arguments = parser.parse_args()
    link = [f"--link={arguments.link}"] if arguments.link else []
    tuning = [f"--tuning={arguments.tuning}"] if arguments.tuning else []
    print(machine.describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        path = arguments.executable or compile_block(folder, arguments.sequence)
        tools.run("commc", "simulate", path, f"--trace={folder / 'predicted.json'}", *link, *tuning)
        predicted, predicted_step = spans(folder / "predicted.json")
        measured: dict = {}
        step = gaps = float("inf")
        for _ in range(arguments.runs):
            tools.run("commrun", path, "--bench", "--warmup=2", "--iterations=4", f"--trace={folder / 'measured.json'}", *link)
            once, length = spans(folder / "measured.json")
            step = min(step, length)
            gaps = min(gaps, length - sum(us for key, (_, us) in once.items() if key[1] != "communication"))
            for key, (what, us) in once.items():
                measured[key] = (what, min(us, measured[key][1]) if key in measured else us)
    kinds: dict = defaultdict(lambda: [0, 0.0, 0.0])
    for key in sorted(predicted.keys() | measured.keys()):
        what, ours = predicted.get(key, (measured.get(key, ("", 0))[0], 0.0))
        theirs = measured.get(key, (what, 0.0))[1]
        if arguments.each:
            print(f"{key[0]:6} {key[1]:14} {what:24} {ours:10.1f} {theirs:10.1f} us")
        row = kinds[key[1], what]
        row[0] += 1
        row[1] += ours
        row[2] += theirs
    print(f"{'':14} {'command':24} {'count':>5} {'predicted':>10} {'measured':>10} us  error")
    for (category, what), (count, ours, theirs) in sorted(kinds.items()):
        error = f"{ours / theirs - 1:+.0%}" if theirs else ""
        print(f"{category:14} {what:24} {count:5} {ours:10.1f} {theirs:10.1f}     {error}")
    print(f"{'gaps':39} {'':5} {'':10} {gaps:10.1f}")
    print(f"{'step':39} {'':5} {predicted_step:10.1f} {step:10.1f}     {predicted_step / step - 1:+.0%}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
