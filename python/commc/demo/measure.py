"""Compiles one job for a number of ranks, runs it, compares it with ONNX Runtime, measures it and writes a trace."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from commc import arrays, tools
from commc.demo.models import Job

TOLERANCE = 1e-4  # max|d| <= TOLERANCE * max|reference|, f32


class Row(NamedTuple):
    """One line of the table. Times in ms, bytes per rank and run; wait_share is 0..1 of the run's time."""

    name: str
    ranks: int
    absolute: float
    relative: float
    best_ms: float
    median_ms: float
    bytes_sent: int
    executed: int
    planned: int
    wait_share: float
    trace: Path

    @property
    def ok(self) -> bool:
        return self.relative <= TOLERANCE and self.executed == self.planned


def compile_job(job: Job, ranks: int, folder: Path) -> Path:
    """The executable of the job's model. Raises tools.ToolFailed with what commc said."""
    executable = folder / f"{job.model.parent.name}-{ranks}.commx"
    tools.compile_model(job.model, executable, ranks, job.shapes)
    return executable


def run_job(job: Job, ranks: int, executable: Path, folder: Path, iterations: int) -> tuple[Row, list[dict[str, np.ndarray]]]:
    """(the table's line, the outputs per call). Raises tools.ToolFailed with what commrun said."""
    stem = f"{job.name.lower().replace(' ', '-')}-{ranks}"
    trace, saved = folder / f"{stem}.trace.json", folder / f"{stem}.npz"
    tools.run_executable(executable, job.calls, "--save-outputs", saved, "--trace", trace)
    paths = [saved] if len(job.calls) == 1 else [saved.with_name(f"{saved.stem}_{i}.npz") for i in range(len(job.calls))]
    outputs = [arrays.load(path) for path in paths]
    differences = [arrays.compare(got, want) for got, want in zip(outputs, job.expected)]
    bench = tools.run_executable(executable, job.calls[-1:], "--bench", "--json", f"--iterations={iterations}")
    stats = tools.json_output(bench)
    row = Row(job.name, ranks, max(d.absolute for d in differences), max(d.relative for d in differences), stats["latency_best_ms"],
              stats["latency_median_ms"], stats["bytes_sent_per_rank"], stats["collectives_executed"], stats["collectives_planned"],
              stats["wait_share"], trace)
    return row, outputs
