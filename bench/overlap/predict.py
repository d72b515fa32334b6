"""Step times that the simulator predicts beside those that ranks on this machine need, over links of several speeds.

    PYTHONPATH=python python bench/overlap/predict.py [--tuning FILE] [--links none,1Gbit:50us] [--rounds 3] [--json FILE] [a.commx ...]

Without executables, Llama-shaped blocks of several lengths are compiled, each with collectives beside compute and without (`--overlap=off`).
Every executable runs on every link in turn, for some rounds; best and median are over all runs of a row. The prediction is that of
`commc simulate` with the same link, and with a tuning file where one is given or `commc bench` writes one.

Spearman's rank correlation says whether the order of the rows is right; the order of schedules, whether of two schedules of one shape on one
link the faster one is predicted, counted where the measured times differ by more than their spread.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import machine  # noqa: E402

from commc import tools  # noqa: E402
from commc.generators import llama  # noqa: E402

SEQUENCES = (64, 128, 256, 512, 1024)
SCHEDULES = {"overlapped": (), "plain": ("--overlap=off",)}
LINKS = "none,10Gbit:30us,1Gbit:50us,0.1Gbit:100us"


class Work(NamedTuple):
    """An executable; `shape` is what its schedules have in common."""

    shape: str
    schedule: str
    path: Path


class Row:
    """One executable on one link."""

    def __init__(self, work: Work, link: str, predicted: dict):
        self.work, self.link, self.predicted = work, link, predicted
        self.times: list[float] = []  # ms, medians of runs
        self.best = float("inf")
        self.hidden = float("nan")

    @property
    def ms(self) -> float:
        return self.predicted["step_us"] / 1000

    @property
    def median(self) -> float:
        return statistics.median(self.times)

    @property
    def spread(self) -> float:
        """Of the medians, as a share."""
        return (max(self.times) - min(self.times)) / self.median


def compile_works(folder: Path, layers: int, ranks: int) -> list[Work]:
    listed = []
    for sequence in SEQUENCES:
        config = llama.Config(hidden=512, heads=8, kv_heads=4, layers=layers, inter=1408, bare=True, batch=1, sequence=sequence)
        model = llama.build(config, folder / f"llama{sequence}", external=True)
        for schedule, flags in SCHEDULES.items():
            path = folder / f"llama{sequence}-{schedule}.commx"
            tools.compile_model(model, path, ranks, [], *flags, "-q")
            listed.append(Work(f"llama {layers}x{sequence}", schedule, path))
    return listed


def simulate(work: Work, link: str, tuning: Path | None) -> dict:
    extra = ([] if link == "none" else [f"--link={link}"]) + ([f"--tuning={tuning}"] if tuning else [])
    return tools.json_output(tools.run("commc", "simulate", work.path, "--json", *extra))["entries"][0]


def measure(row: Row, iterations: int) -> None:
    extra = [] if row.link == "none" else [f"--link={row.link}"]
    stats = tools.json_output(tools.run("commrun", row.work.path, "--bench", "--json", f"--iterations={iterations}", *extra))
    row.times.append(stats["latency_median_ms"])
    row.best = min(row.best, stats["latency_best_ms"])
    if stats.get("communication_ms"):
        row.hidden = stats["hidden_ms"] / stats["communication_ms"]


def ranks_of(values: list[float]) -> list[float]:
    """Ranks from 1; equal values share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    for _, group in itertools.groupby(enumerate(order), key=lambda pair: values[pair[1]]):
        group = list(group)
        for _, index in group:
            ranks[index] = sum(place for place, _ in group) / len(group) + 1
    return ranks


def spearman(a: list[float], b: list[float]) -> float:
    """Correlation of ranks; nan when all values of a side are equal."""
    return statistics.correlation(ranks_of(a), ranks_of(b)) if len(a) > 1 and len(set(a)) > 1 and len(set(b)) > 1 else float("nan")


def pairs_in_order(rows: list[Row]) -> tuple[int, int]:
    """(right, counted) pairs of schedules of one shape on one link whose measured times differ by more than their spread."""
    right = counted = 0
    for a, b in itertools.combinations(rows, 2):
        if (a.work.shape, a.link) != (b.work.shape, b.link) or a.work.schedule == b.work.schedule:
            continue
        if abs(a.best - b.best) <= max(a.spread, b.spread) * min(a.best, b.best):
            continue
        counted += 1
        right += (a.best < b.best) == (a.ms < b.ms)
    return right, counted


def tune(folder: Path) -> Path | None:
    """What `commc bench` measures here; None where the tool cannot."""
    path = folder / "tuning.json"
    try:
        tools.run("commc", "bench", "-o", path)
    except (tools.ToolFailed, tools.ToolMissing) as failure:
        print(f"no tuning file, built-in costs are used: {str(failure).splitlines()[-1]}")
        return None
    return path


def report(rows: list[Row]) -> dict:
    print(f"{'shape':14} {'schedule':11} {'link':15} {'predicted':>9} {'best':>9} {'median':>9}  error  hidden predicted / measured")
    for r in rows:
        p = r.predicted
        hidden = p["hidden_us"] / p["communication_us"] if p["communication_us"] else float("nan")
        print(f"{r.work.shape:14} {r.work.schedule:11} {r.link:15} {r.ms:9.3f} {r.best:9.3f} {r.median:9.3f}  {r.ms / r.best - 1:+5.0%}"
              f"  {hidden:6.0%} / {r.hidden:.0%}")
    errors = sorted(abs(r.ms / r.best - 1) for r in rows)
    right, counted = pairs_in_order(rows)
    summary = {"rows": len(rows), "median_error": statistics.median(errors), "p90_error": errors[int(0.9 * (len(errors) - 1))],
               "spearman": spearman([r.ms for r in rows], [r.best for r in rows]), "pairs_right": right, "pairs_counted": counted}
    print(f"error of {len(rows)} rows against the best run: median {summary['median_error']:.0%}, 90th percentile {summary['p90_error']:.0%}; "
          f"Spearman {summary['spearman']:.3f}; schedules in the right order {right} of {counted}")
    return summary


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("executables", nargs="*", type=Path, help="default: Llama blocks of several lengths, two schedules each")
    parser.add_argument("--links", default=LINKS, help=f"comma-separated; a colon stands before the latency (default {LINKS})")
    parser.add_argument("--tuning", type=Path, help="measured rows; default: what commc bench writes")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--ranks", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--iterations", type=int, default=8)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    print(machine.describe())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        works = [Work(path.stem, "given", path) for path in arguments.executables] or compile_works(folder, arguments.layers, arguments.ranks)
        tuning = arguments.tuning or tune(folder)
        links = [link.replace(":", ",") for link in arguments.links.split(",")]
        rows = [Row(work, link, simulate(work, link, tuning)) for work in works for link in links]
        for _ in range(arguments.rounds):
            for row in rows:
                measure(row, arguments.iterations)
    summary = report(rows)
    if arguments.json:
        arguments.json.write_text(json.dumps({"summary": summary, "rows": [
            {"shape": r.work.shape, "schedule": r.work.schedule, "link": r.link, "predicted_ms": r.ms, "best_ms": r.best, "median_ms": r.median}
            for r in rows]}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
