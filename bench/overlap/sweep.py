"""Communication hidden behind compute: plain plan, the plan that commc chooses, and the bound without communication, on links of many speeds.

    PYTHONPATH=python python bench/overlap/sweep.py [--works block,decoder,encoder] [--links 0.1,1,10,shm] [--tuning FILE] [--json FILE] [--csv FILE]

Two ranks of one thread each on one machine. Links are emulated in the shared-memory transport (Gbit/s per direction, 50 us), `shm` is the memory
itself. A tuning file of `commc bench` makes the predictions that choose. Per shape: the plain plan twice (its spread against itself is the noise), and the plan chosen for that link; they take turns in blocks of
calls, each block a process of its own whose start is not timed. `bound` is the plain plan's compute alone. `hidden` is the share of communication
time during which compute did not wait. Results of every executable are compared with ONNX Runtime's first.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import math
import statistics
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import machine

from commc import arrays, generate, reference, tools
from commc.generators import bert, llama

BLOCKS = llama.Config(hidden=1024, heads=16, kv_heads=4, layers=4, inter=2816, bare=True, batch=1)
DECODER = llama.Config(hidden=512, heads=8, kv_heads=4, layers=6, inter=1408, vocab=4096, batch=1)
ENCODER = bert.Config(hidden=384, heads=12, layers=6, inter=1536, vocab=30522, positions=512)
SEQUENCES = (64, 128, 256, 512, 1024, 2048)
BATCHES = (2, 4)  # of the encoder, which is split by batch
TOLERANCE = 1e-4  # of max|reference|
BLOCK_S = 0.6  # seconds of calls in a block, about


class Shape(NamedTuple):
    """A model with inputs of one size."""

    work: str
    batch: int
    sequence: int
    model: Path
    inputs: Path


class Block(NamedTuple):
    """What one process measured, in ms; communication, hidden and compute are means per call."""

    best: float
    median: float
    communication: float
    hidden: float
    compute: float
    predicted: float | None


def shapes(works: list[str], sequences: tuple[int, ...], folder: Path):
    """Writes models and inputs as they are needed."""
    for sequence in sequences:
        for work, config in (("block", BLOCKS), ("decoder", DECODER)):
            if work in works:
                sized = dataclasses.replace(config, sequence=sequence)
                target = folder / f"{work}-{sequence}"
                model = target / "model.onnx" if (target / "model.onnx").exists() else llama.build(sized, target, external=True)
                yield Shape(work, 1, sequence, model, generate.write_calls(target, "inputs", llama.make_inputs(sized))[0])
        for batch in BATCHES if "encoder" in works and sequence <= ENCODER.positions else ():
            target = folder / f"encoder-{batch}x{sequence}"
            sized = dataclasses.replace(ENCODER, batch=batch, sequence=sequence)
            model = target / "model.onnx" if (target / "model.onnx").exists() else bert.build(sized, target, external=True)
            yield Shape("encoder", batch, sequence, model, generate.write_calls(target, "inputs", bert.make_inputs(sized, batch, sequence))[0])


def link_flags(link: str) -> list[str]:
    return [] if link == "shm" else [f"--link={link}Gbit,50us"]


class Variant:
    """One executable on one link."""

    def __init__(self, shape: Shape, link: str, executable: Path, expected: dict[str, np.ndarray], *flags: str):
        self.shape, self.executable, self.flags = shape, executable, link_flags(link)
        done = tools.compile_model(shape.model, executable, 2, [shape.inputs], "--explain", *flags, *self.flags)
        self.plan = next((line.split(None, 1)[1] for line in (done.stdout + done.stderr).splitlines() if line.startswith("plan ")), "")
        saved = executable.with_suffix(".npz")
        tools.run_executable(executable, [shape.inputs], "--save-outputs", saved)
        difference = arrays.compare(arrays.load(saved), expected)
        if not difference.relative <= TOLERANCE:
            raise RuntimeError(f"{executable.name} is wrong: {difference}")
        self.blocks: list[Block] = []
        self.calls = 2

    def block(self) -> None:
        done = tools.run_executable(self.executable, [self.shape.inputs], "--bench", "--json", "--warmup=1", f"--iterations={self.calls}", *self.flags)
        found = tools.json_output(done)
        self.calls = max(2, min(50, math.ceil(BLOCK_S * 1e3 / found["latency_median_ms"])))
        self.blocks.append(Block(found["latency_best_ms"], found["latency_median_ms"], found["communication_ms"], found["hidden_ms"],
                                 found["compute_ms"], found.get("predicted_ms")))

    def best(self) -> float:
        return min(block.best for block in self.blocks)

    def median(self, field: str = "median") -> float:
        return statistics.median(getattr(block, field) for block in self.blocks)


def measure(shape: Shape, link: str, rounds: int, expected: dict, folder: Path, tuning: list[str]) -> dict:
    name = f"{shape.work}-{shape.batch}x{shape.sequence}-{link}"
    plain = Variant(shape, link, folder / f"{name}-plain.commx", expected, "--overlap=off", *tuning)
    again = Variant(shape, link, folder / f"{name}-again.commx", expected, "--overlap=off", *tuning)
    chosen = Variant(shape, link, folder / f"{name}-chosen.commx", expected, *tuning)
    for _ in range(rounds):
        for variant in (plain, chosen, again):
            variant.block()
    one, two, ours = plain.median(), again.median(), chosen.median()
    base = min(one, two)
    spread = max(one, two) / base - 1
    communication = chosen.median("communication")
    record = {
        "work": shape.work, "batch": shape.batch, "sequence": shape.sequence, "link": link,
        "plain_best_ms": min(plain.best(), again.best()), "plain_ms": base, "spread": spread, "chosen_best_ms": chosen.best(), "chosen_ms": ours,
        "bound_ms": min(plain.median("compute"), again.median("compute")), "communication_share": plain.median("communication") / base,
        "communication_ms": communication, "hidden": chosen.median("hidden") / communication if communication else 1.0,
        "speed_up": base / ours, "plan": chosen.plan,
        "plain_predicted_ms": plain.blocks[-1].predicted, "chosen_predicted_ms": chosen.blocks[-1].predicted,
    }
    for path in (plain.executable, again.executable, chosen.executable):
        path.unlink()
        path.with_suffix(".npz").unlink(missing_ok=True)
    return record


def ranks_of(values: list[float]) -> np.ndarray:
    return np.argsort(np.argsort(values)).astype(float)


def summary(records: list[dict]) -> list[str]:
    overlapped = [r for r in records if r["communication_share"] >= 0.15]
    wins = [r for r in overlapped if r["speed_up"] > 1 + r["spread"]]
    slower = [r for r in records if r["chosen_ms"] > r["plain_ms"] * (1 + r["spread"]) * 1.01]
    enough = [r for r in records if r["bound_ms"] >= r["communication_ms"] > 0.02 * r["plain_ms"]]
    hidden = [r for r in enough if r["hidden"] >= 0.95]
    lines = [f"shapes {len(records)}; communication is 15 % or more of the plain step in {len(overlapped)}: the chosen plan wins in {len(wins)}",
             f"slower than plain beyond the spread of plain against itself (and 1 %): {len(slower)}",
             f"95 % or more hidden where compute exceeds communication: {len(hidden)} of {len(enough)}"
             + (f", median hidden {statistics.median(r['hidden'] for r in enough):.0%}" if enough else "")]
    pairs = [(r["plain_predicted_ms"], r["plain_ms"]) for r in records] + [(r["chosen_predicted_ms"], r["chosen_ms"]) for r in records]
    pairs = [(predicted, measured) for predicted, measured in pairs if predicted]
    if len(pairs) > 2:
        errors = [abs(predicted / measured - 1) for predicted, measured in pairs]
        gains = [(r["plain_predicted_ms"] / r["chosen_predicted_ms"], r["speed_up"]) for r in records if r["chosen_predicted_ms"] and r["plain_predicted_ms"]]
        lines.append(f"predicted step time: error median {statistics.median(errors):.0%}, 90th percentile {np.quantile(errors, 0.9):.0%}; rank correlation "
                     f"of step times {np.corrcoef(*map(ranks_of, zip(*pairs)))[0, 1]:.3f}, of speed-ups {np.corrcoef(*map(ranks_of, zip(*gains)))[0, 1]:.3f}")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words = lambda text: text.split(",")
    parser.add_argument("--works", type=words, default=["block", "decoder", "encoder"], metavar="block,decoder,encoder")
    parser.add_argument("--links", type=words, default=["0.1", "1", "10", "shm"], metavar="0.1,1,10,shm")
    parser.add_argument("--sequences", type=lambda text: tuple(map(int, text.split(","))), default=SEQUENCES)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=tools.ROOT / "build" / "bench" / "overlap")
    parser.add_argument("--tuning", type=Path, help="tuning file of commc bench")
    parser.add_argument("--json", type=Path, help="also write the records to this file")
    parser.add_argument("--csv", type=Path, help="also write the records to this file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"machine   {machine.describe()}\nsettings  2 ranks x 1 thread, f32, {options.rounds} rounds of plain, chosen, plain\n")
    print(f"{'work':8} {'shape':>7} {'link':>5} {'plain best':>11} {'median':>9} {'spread':>7} {'chosen best':>12} {'median':>9} {'speed-up':>8} {'bound':>9}"
          f" {'comm.':>6} {'hidden':>6} {'predicted plain / chosen':>25}  plan")
    records = []
    for shape in shapes(options.works, options.sequences, options.folder):
        expected = reference.run(shape.model, arrays.load(shape.inputs))
        for link in options.links:
            r = measure(shape, link, options.rounds, expected, options.folder, [f"--tuning={options.tuning}"] if options.tuning else [])
            records.append(r)
            predicted = " / ".join(f"{r[key]:.2f}" if r[key] else "-" for key in ("plain_predicted_ms", "chosen_predicted_ms"))
            print(f"{r['work']:8} {shape.batch:>2}x{shape.sequence:<4} {link:>5} {r['plain_best_ms']:11.2f} {r['plain_ms']:9.2f} {r['spread']:7.1%}"
                  f" {r['chosen_best_ms']:12.2f} {r['chosen_ms']:9.2f} {r['speed_up']:8.2f} {r['bound_ms']:9.2f} {r['communication_share']:6.0%}"
                  f" {r['hidden']:6.0%} {predicted:>25}  {r['plan'][:60]}", flush=True)
    print("\n" + "\n".join(summary(records)))
    if options.json:
        options.json.write_text(json.dumps({"machine": machine.describe(), "records": records}, indent=1) + "\n")
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, records[0].keys())
            writer.writeheader()
            writer.writerows(records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
