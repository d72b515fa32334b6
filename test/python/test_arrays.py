"""Comparison of named arrays."""

import numpy as np
import pytest

from commc import arrays


def compare(actual, reference):
    return arrays.compare({"y": np.array(actual, np.float32)}, {"y": np.array(reference, np.float32)})


def test_equal_and_different():
    assert compare([1, 2], [1, 2]).absolute == 0
    difference = compare([1, 4], [1, -8])
    assert difference.absolute == 12 and difference.relative == pytest.approx(1.5) and difference.worst == "y"


@pytest.mark.parametrize("actual, reference", [
    ([np.nan], [1.0]), ([1.0], [np.nan]), ([np.inf], [1.0]), ([np.inf], [-np.inf]), ([1.0, 2.0], [1.0]), ([1.0], [0.0]),
])
def test_counts_as_infinite(actual, reference):
    assert compare(actual, reference).relative == np.inf


@pytest.mark.parametrize("value", [[np.nan], [np.inf], [0.0], []])
def test_same_special_values_are_equal(value):
    assert compare(value, value).relative == 0


def test_missing_array():
    assert arrays.compare({}, {"y": np.zeros(1)}).relative == np.inf


def test_worst_of_several():
    reference = {"a": np.full(2, 100.0), "b": np.full(2, 1.0)}
    difference = arrays.compare({"a": np.full(2, 101.0), "b": np.full(2, 1.5)}, reference)
    assert difference == (1.0, 0.5, "b")
