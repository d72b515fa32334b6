"""One Llama block, the sentence encoder and the decoder beside ONNX Runtime with the same number of threads.

    PYTHONPATH=python python bench/first_light.py [--threads 1,2] [--rounds 5] [--json FILE]

Per work and thread count t: ONNX Runtime with t threads against commc with t ranks of one thread each. The variants take turns, a block of
calls each, for some rounds; each runs in its own process. `best` is over all blocks; `median` is the median of the blocks' medians, over blocks
with less than 5 % of the machine's time used by other processes where there are at least two. Ratio: ONNX Runtime's median / commc's.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import machine

from commc import arrays, generate, reference, tools
from commc.demo import __main__ as demo
from commc.demo import models, sentences
from commc.generators import llama

BLOCK = llama.Config(hidden=1024, heads=16, kv_heads=4, layers=1, inter=2816, bare=True, batch=1, sequence=128)
FOREIGN_LIMIT = 0.05  # of the machine's CPU time during a block
TOLERANCE = 1e-4


class Work(NamedTuple):
    """A model, the inputs that are timed, and calls per block."""

    name: str
    model: Path
    inputs: Path
    calls: int


class Block(NamedTuple):
    """Times of one block in ms and the share of the machine that others used meanwhile."""

    best: float
    median: float
    foreign: float


def works(folder: Path) -> list[Work]:
    """Writes the models; the encoder is left out, saying so, where its weights are not installed."""
    model = llama.build(BLOCK, folder / "block", external=True)
    (inputs,) = generate.write_calls(model.parent, "inputs", llama.make_inputs(BLOCK))
    listed = [Work("Llama block 1x128", model, inputs, 30)]
    if source := demo.find_source(tools.ROOT / "build" / "demo"):
        job = models.prepare_minilm(folder, sentences.DEFAULT, source, demo.say)
        listed.append(Work(f"MiniLM {'x'.join(map(str, arrays.load(job.calls[0])['input_ids'].shape))}", job.model, job.calls[0], 30))
    else:
        demo.say("MiniLM left out: its weights are not installed (./demo.sh installs them)")
    for job in models.prepare_decoder(folder, demo.say):
        listed.append(Work(job.name, job.model, job.calls[-1], 60))
    return listed


class OnnxRuntime:
    """ONNX Runtime with a number of threads, in a process that stays for all rounds."""

    def __init__(self, work: Work, threads: int):
        self.work, self.label = work, f"onnxruntime {threads} thr"
        command = [sys.executable, str(Path(__file__).with_name("ort_worker.py")), str(work.model), str(work.inputs), str(threads)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        json.loads(self.process.stdout.readline())

    def block(self) -> Block:
        busy, own, started = machine.busy_s(), machine.process_s(self.process.pid), time.monotonic()
        self.process.stdin.write(f"{self.work.calls}\n")
        self.process.stdin.flush()
        times = json.loads(self.process.stdout.readline())["ms"]
        used = machine.process_s(self.process.pid) - own
        return Block(min(times), statistics.median(times), foreign(busy, used, started))

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


class Commc:
    """commrun with a number of ranks; a process per block, whose start is not in the times."""

    def __init__(self, work: Work, ranks: int, folder: Path):
        self.work, self.label = work, f"commc {ranks} rank{'s' if ranks > 1 else ''}"
        self.executable = folder / f"{work.name.replace(' ', '-')}-{ranks}.commx"
        tools.compile_model(work.model, self.executable, ranks, [work.inputs])
        saved = folder / "check.npz"
        tools.run_executable(self.executable, [work.inputs], "--save-outputs", saved)
        difference = arrays.compare(arrays.load(saved), reference.run(work.model, arrays.load(work.inputs)))
        if not difference.relative <= TOLERANCE:
            raise RuntimeError(f"{work.name} on {ranks} ranks is wrong: {difference}")

    def block(self) -> Block:
        busy, own, started = machine.busy_s(), machine.children_s(), time.monotonic()
        done = tools.run_executable(self.executable, [self.work.inputs], "--bench", "--json", f"--iterations={self.work.calls}")
        stats = tools.json_output(done)
        return Block(stats["latency_best_ms"], stats["latency_median_ms"], foreign(busy, machine.children_s() - own, started))

    def close(self) -> None:
        pass


def foreign(busy_before: float, own: float, started: float) -> float:
    """Share of one core's time that other processes used since `started`; never below 0 (the clocks tick every 10 ms)."""
    return max(0.0, machine.busy_s() - busy_before - own) / max(time.monotonic() - started, 1e-3)


def summarise(blocks: list[Block]) -> dict:
    clean = [block for block in blocks if block.foreign < FOREIGN_LIMIT]
    kept = clean if len(clean) >= 2 else blocks
    return {"best_ms": min(block.best for block in blocks), "median_ms": statistics.median(block.median for block in kept),
            "blocks": len(blocks), "clean_blocks": len(clean)}


def measure(work: Work, threads: list[int], rounds: int, folder: Path) -> list[dict]:
    """A record per variant, with the ratio to ONNX Runtime at the same thread count."""
    variants = [(count, variant) for count in threads for variant in (OnnxRuntime(work, count), Commc(work, count, folder))]
    blocks: dict[str, list[Block]] = {variant.label: [] for _, variant in variants}
    for number in range(rounds):
        for _, variant in variants:
            blocks[variant.label].append(variant.block())
        demo.say(f"      {work.name}: round {number + 1} of {rounds}")
    records = []
    for count, variant in variants:
        variant.close()
        records.append({"work": work.name, "variant": variant.label, "threads": count, **summarise(blocks[variant.label])})
    for record in records:
        peer = next(other for other in records if other["threads"] == record["threads"] and other["variant"].startswith("onnx"))
        record["ratio"] = peer["median_ms"] / record["median_ms"]
    return records


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=lambda text: [int(word) for word in text.split(",")], default=[1, 2], metavar="1,2")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=tools.ROOT / "build" / "bench")
    parser.add_argument("--json", type=Path, help="also write the records to this file")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    import onnxruntime

    settings = f"onnxruntime {onnxruntime.__version__}, {options.rounds} rounds, variants in turn, f32, block {dataclasses.asdict(BLOCK)}"
    print(f"machine   {machine.describe()}\nsettings  {settings}\n")
    print(f"{'work':20} {'variant':20} {'best ms':>9} {'median ms':>10} {'ratio':>6}  clean blocks")
    records = []
    for work in works(options.folder):
        for record in measure(work, options.threads, options.rounds, options.folder):
            print(f"{record['work']:20} {record['variant']:20} {record['best_ms']:9.3f} {record['median_ms']:10.3f} {record['ratio']:6.2f}"
                  f"  {record['clean_blocks']} of {record['blocks']}", flush=True)
            records.append(record)
    if options.json:
        options.json.write_text(json.dumps({"machine": machine.describe(), "settings": settings, "records": records}, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
