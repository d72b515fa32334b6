"""Communication hidden behind compute: plain plan, the plan that commc chooses, and the bound without communication, on links of many speeds.

    PYTHONPATH=python python bench/overlap/sweep.py [--works block,decoder,encoder] [--links 0.1,1,10,shm] [--tuning FILE] [--json FILE] [--csv FILE]

Two ranks of one thread each on one machine. Links are emulated in the shared-memory transport (Gbit/s per direction, 50 us), `shm` is the memory
itself. A tuning file of `commc bench` makes the predictions that choose. Per shape the plain plan (all ranks wait for every collective) and the plan
chosen for that link are loaded side by side and called in turn: plain, chosen, plain, each a few calls of which the first is not timed. The two places of
plain give its spread against itself, the noise. `bound` is the plain plan's compute alone. `hidden` is the share of communication time during which compute
did not wait. Results of every executable are compared with ONNX Runtime's first.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import statistics
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import machine

from commc import arrays, generate, reference, runtime, tools
from commc.generators import bert, llama

BLOCKS = llama.Config(hidden=1024, heads=16, kv_heads=4, layers=4, inter=2816, bare=True, batch=1)
DECODER = llama.Config(hidden=512, heads=8, kv_heads=4, layers=6, inter=1408, vocab=4096, batch=1)
ENCODER = bert.Config(hidden=384, heads=12, layers=6, inter=1536, vocab=30522, positions=512)
SEQUENCES = (64, 128, 256, 512, 1024, 2048)
BATCHES = (2, 4)  # of the encoder, which is split by batch
TOLERANCE = 1e-4  # of max|reference|
TURN_S = 0.1  # seconds of timed calls in a turn, about
SLOW_TOKENS = 1024  # on links below 1 Gbit/s; more take seconds per call


class Shape(NamedTuple):
    """A model with inputs of one size."""

    work: str
    batch: int
    sequence: int
    model: Path
    inputs: Path


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


class Place:
    """One executable in the order of turns: its calls' times and statistics, in ms."""

    def __init__(self, call: runtime.Bound):
        self.call, self.times, self.facts = call, [], []

    def turn(self, calls: int) -> None:
        for timed in [False] + [True] * calls:
            begin = time.perf_counter()
            self.call()
            if timed:
                self.times.append((time.perf_counter() - begin) * 1e3)
                self.facts.append(self.call.session.stats())

    def median(self, fact: str = "") -> float:
        return statistics.median(facts[fact] for facts in self.facts) if fact else statistics.median(self.times)


class Program:
    """A model compiled for one link and loaded by two ranks."""

    def __init__(self, shape: Shape, link: str, path: Path, *flags: str):
        links = [] if link == "shm" else [f"--link={link}Gbit,50us"]
        done = tools.compile_model(shape.model, path, 2, [shape.inputs], "--explain", *flags, *links)
        self.plan = next((line.split(None, 1)[1] for line in (done.stdout + done.stderr).splitlines() if line.startswith("plan ")), "")
        executable = runtime.Executable(path)
        us = executable.prediction(f"step_us.{next(iter(executable.entries))}")
        self.predicted_ms = us / 1e3 if us == us else None
        self.session = runtime.Session(executable, link=None if link == "shm" else f"{link}Gbit,50us")
        self.call = self.session.bind(arrays.load(shape.inputs))
        path.unlink()

    def check(self, expected: dict[str, np.ndarray], what: str) -> None:
        difference = arrays.compare(self.call(), expected)
        if not difference.relative <= TOLERANCE:
            raise RuntimeError(f"{what} is wrong: {difference}")


def measure(shape: Shape, link: str, options: argparse.Namespace, expected: dict) -> dict:
    tuning = [f"--tuning={options.tuning}"] if options.tuning else []
    path = options.folder / f"{shape.work}-{shape.batch}x{shape.sequence}-{link}.commx"
    plain = Program(shape, link, path, "--overlap=off", *tuning)
    chosen = Program(shape, link, path, *tuning)
    with plain.session, chosen.session:
        plain.check(expected, "the plain plan")
        chosen.check(expected, "the chosen plan")
        one, ours, two = Place(plain.call), Place(chosen.call), Place(plain.call)
        begin = time.perf_counter()
        one.turn(1)
        ms = one.times[0]
        calls = max(1, min(20, round(TURN_S * 1e3 / ms)))
        one.times, one.facts = [], []
        rounds = 0
        while rounds < options.rounds and (rounds < 3 or time.perf_counter() - begin < options.seconds):
            for place in (one, ours, two):
                place.turn(calls)
            rounds += 1
    base = min(one.median(), two.median())
    communication = ours.median("communication_ms")
    return {
        "work": shape.work, "batch": shape.batch, "sequence": shape.sequence, "link": link,
        "plain_best_ms": min(one.times + two.times), "plain_ms": base, "spread": max(one.median(), two.median()) / base - 1,
        "chosen_best_ms": min(ours.times), "chosen_ms": ours.median(),
        "bound_ms": min(one.median("compute_ms"), two.median("compute_ms")), "communication_share": one.median("communication_ms") / base,
        "communication_ms": communication, "hidden": ours.median("hidden_ms") / communication if communication else 1.0,
        "speed_up": base / ours.median(), "plan": chosen.plan, "calls": len(ours.times),
        "plain_predicted_ms": plain.predicted_ms, "chosen_predicted_ms": chosen.predicted_ms,
    }


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
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=15, help="of turns per shape, about; at least three rounds")
    parser.add_argument("--folder", type=Path, default=tools.ROOT / "build" / "bench" / "overlap")
    parser.add_argument("--tuning", type=Path, help="tuning file of commc bench")
    parser.add_argument("--json", type=Path, help="also write the records to this file")
    parser.add_argument("--csv", type=Path, help="also write the records to this file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(f"machine   {machine.describe()}\nsettings  2 ranks x 1 thread, f32, up to {options.rounds} rounds of plain, chosen, plain\n")
    print(f"{'work':8} {'shape':>7} {'link':>5} {'plain best':>11} {'median':>9} {'spread':>7} {'chosen best':>12} {'median':>9} {'speed-up':>8} {'bound':>9}"
          f" {'comm.':>6} {'hidden':>6} {'predicted plain / chosen':>25}  plan")
    records = []
    for shape in shapes(options.works, options.sequences, options.folder):
        expected = reference.run(shape.model, arrays.load(shape.inputs))
        for link in options.links:
            if link != "shm" and float(link) < 1 and shape.batch * shape.sequence > SLOW_TOKENS:
                continue
            r = measure(shape, link, options, expected)
            records.append(r)
            if options.json:
                options.json.write_text(json.dumps({"machine": machine.describe(), "records": records}, indent=1) + "\n")
            predicted = " / ".join(f"{r[key]:.2f}" if r[key] else "-" for key in ("plain_predicted_ms", "chosen_predicted_ms"))
            print(f"{r['work']:8} {shape.batch:>2}x{shape.sequence:<4} {link:>5} {r['plain_best_ms']:11.2f} {r['plain_ms']:9.2f} {r['spread']:7.1%}"
                  f" {r['chosen_best_ms']:12.2f} {r['chosen_ms']:9.2f} {r['speed_up']:8.2f} {r['bound_ms']:9.2f} {r['communication_share']:6.0%}"
                  f" {r['hidden']:6.0%} {predicted:>25}  {r['plan'][:60]}", flush=True)
    print("\n" + "\n".join(summary(records)))
    if options.csv:
        with options.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, records[0].keys())
            writer.writeheader()
            writer.writerows(records)
    return 0


if __name__ == "__main__":
    sys.exit(main())
