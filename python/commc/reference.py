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


def greedy(model: Path, prompt: list[int], count: int) -> list[int]:
    """`count` tokens that follow a prompt, each the one with the largest logit; the cache grows by what is fed, without padding.

    A model without a cache gets the whole text again for each token.
    """
    ort = session(model)
    ports = {port.name: port for port in ort.get_inputs()}
    pairs = cache_pairs(ports, [output.name for output in ort.get_outputs()])
    first = {}
    for name in pairs:
        shape, half = ports[name].shape, "float16" in ports[name].type
        size = shape[3] if isinstance(shape[3], int) else 16  # onnxruntime-genai leaves the head size open; its kernel wants a multiple of 16
        first[name] = np.zeros((1, shape[1], 0, size), np.float16 if half else np.float32)
    fresh, used, feed, out = list(prompt), 0, first, []
    while len(out) < count:
        used = used + len(fresh) if pairs else len(fresh)
        feed = {**feed, "input_ids": np.array([fresh]), "attention_mask": np.ones((1, used), np.int64)}
        if "position_ids" in ports:
            feed["position_ids"] = np.arange(used - len(fresh), used)[None]
        results = call(ort, feed)
        feed = {past: results[present] for past, present in pairs.items()}
        out.append(int(results["logits"][0, -1].argmax()))
        fresh = out[-1:] if pairs else fresh + out[-1:]
    return out
