"""Named arrays in npz files and how far two sets of them are apart."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np


class Difference(NamedTuple):
    """Largest absolute difference over all arrays, and largest of (max|d| / max|reference|) per array."""

    absolute: float
    relative: float
    worst: str  # name of the array with the largest relative difference


def load(path: Path) -> dict[str, np.ndarray]:
    """All arrays of an npz file, never unpickling."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def save(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Writes uncompressed npz; keys are the graph's input or output names."""
    with open(path, "wb") as file:
        np.savez(file, **arrays)


def compare(actual: dict[str, np.ndarray], reference: dict[str, np.ndarray]) -> Difference:
    """Compares every array of `reference`. A missing array, another shape, or a NaN on one side only counts as infinite."""
    worst = Difference(0.0, 0.0, "")
    for name, want in reference.items():
        got = actual.get(name)
        if got is None or got.shape != want.shape:
            return Difference(float("inf"), float("inf"), name)
        if want.size == 0:
            continue
        got64, want64 = got.astype(np.float64), want.astype(np.float64)
        with np.errstate(invalid="ignore"):
            delta = np.abs(got64 - want64)
        delta[got64 == want64] = 0.0  # equal infinities
        delta[np.isnan(got64) & np.isnan(want64)] = 0.0
        delta[np.isnan(delta)] = np.inf
        absolute = float(delta.max())
        finite = np.abs(want64[np.isfinite(want64)])
        scale = float(finite.max()) if finite.size else 0.0
        relative = absolute / scale if scale > 0 else (0.0 if absolute == 0 else float("inf"))
        if not worst.worst or relative > worst.relative:
            worst = Difference(max(absolute, worst.absolute), relative, name)
        else:
            worst = worst._replace(absolute=max(absolute, worst.absolute))
    return worst


def close(actual: np.ndarray, expected: np.ndarray, rtol: float, atol: float) -> bool:
    """Element by element |actual - expected| <= atol + rtol |expected|; NaN equals NaN. Integers and booleans must be equal."""
    if expected.dtype.kind in "biu":
        return bool(np.array_equal(actual, expected))
    with np.errstate(invalid="ignore", over="ignore"):
        return bool(np.allclose(actual.astype(np.float64), expected.astype(np.float64), rtol=rtol, atol=atol, equal_nan=True))
