"""ONNX Runtime as the reference: runs a model on calls in a row and chains its cache."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np


def session(model: Path, threads: int = 0):
    """An ONNX Runtime CPU session; threads 0 leaves the choice to ONNX Runtime. Warnings about the model are not shown."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def run(model: Path, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of one call by name."""
    return call(session(model), inputs)


def call(ort, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Outputs of one call of a session by name."""
    names = [output.name for output in ort.get_outputs()]
    return dict(zip(names, ort.run(names, inputs)))


def cache_pairs(input_names, output_names) -> dict[str, str]:
    """Cache inputs and the outputs that feed them at the next call, by the naming of the generators here."""
    outputs = set(output_names)
    pairs = {}
    for name in input_names:
        match = re.fullmatch(r"past_key_values\.(\d+)\.(key|value)", name)
        if match and f"present.{match[1]}.{match[2]}" in outputs:
            pairs[name] = f"present.{match[1]}.{match[2]}"
    return pairs


def run_chained(model: Path, calls: list[dict[str, np.ndarray]]) -> tuple[list[dict], list[dict]]:
    """Runs calls in a row; cache inputs of later calls are replaced by the cache outputs of the call before.

    Returns (the inputs as really used, the outputs), one entry per call.
    """
    ort = session(model)
    pairs = cache_pairs([i.name for i in ort.get_inputs()], [o.name for o in ort.get_outputs()])
    used, results = [], []
    for inputs in calls:
        feed = dict(inputs)
        if results:
            feed.update({past: results[-1][present] for past, present in pairs.items()})
        used.append(feed)
        results.append(call(ort, feed))
    return used, results
