"""Compiles and runs models for the end-to-end tests and compares what comes out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np

from commc import arrays, tools

MODELS = tools.ROOT / "test" / "data" / "models"
EXPECTATIONS = json.loads((MODELS / "expectations.json").read_text())
RANKS = [1, 2, 3, 4]  # 3: where nothing divides
RELATIVE = 1e-4  # f32: max|d| <= RELATIVE * max|reference|


class Lab:
    """A folder for executables and outputs. Compiling the same thing twice gives the executable of the first time."""

    def __init__(self, folder: Path):
        self.folder = folder

    def compile(self, model: Path, ranks: int, inputs: list[Path], *flags: str) -> Path:
        key = hashlib.sha256(repr((str(model), ranks, [str(path) for path in inputs], flags)).encode()).hexdigest()[:16]
        executable = self.folder / f"{key}.commx"
        if not executable.exists():
            tools.compile_model(model, executable, ranks, inputs, *flags)
        return executable

    def run(self, executable: Path, inputs: list[Path], *flags: str) -> list[dict[str, np.ndarray]]:
        """Outputs per call; the caches are chained by commrun."""
        saved = self.folder / f"out-{len(list(self.folder.glob('out-*')))}"
        saved.mkdir()
        tools.run_executable(executable, inputs, "--save-outputs", saved / "out.npz", *flags)
        return [arrays.load(path) for path in saved_outputs(saved / "out.npz", len(inputs))]

    def outputs(self, model: Path, ranks: int, inputs: list[Path], *flags: str) -> list[dict[str, np.ndarray]]:
        """Compiles with flags, runs, returns the outputs per call."""
        return self.run(self.compile(model, ranks, inputs, *flags), inputs)


def saved_outputs(path: Path, calls: int) -> list[Path]:
    """Where commrun --save-outputs PATH leaves the outputs of `calls` calls: PATH, or PATH with _0, _1, ... before the suffix."""
    return [path] if calls == 1 else [path.with_name(f"{path.stem}_{i}{path.suffix}") for i in range(calls)]


def first_tier(name: str) -> tuple[Path, list[Path], list[Path]]:
    """(model, inputs per call, outputs per call) of a model in test/data/models."""
    folder, calls = MODELS / name, EXPECTATIONS[name]["calls"]
    return folder / "model.onnx", saved_outputs(folder / "inputs.npz", calls), saved_outputs(folder / "outputs.npz", calls)


def assert_within(actual: list[dict], expected: list[dict], *, absolute: float | None = None, relative: float | None = None) -> None:
    """Fails naming call, array and difference when an array of `expected` is missed or too far away in one of the calls."""
    assert len(actual) == len(expected)
    for number, (got, want) in enumerate(zip(actual, expected)):
        for name in want:
            difference = arrays.compare(got, {name: want[name]})
            if absolute is not None:
                assert difference.absolute <= absolute, f"call {number}, {name}: {difference}, allowed {absolute}"
            if relative is not None:
                assert difference.relative <= relative, f"call {number}, {name}: {difference}, allowed {relative} of max|reference|"
