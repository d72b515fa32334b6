"""KV cache inputs and outputs, and the calls (prefill, then decode steps) that use them, as exporters name and shape them."""

from __future__ import annotations

import numpy as np

from commc.generators.net import Net


def declare(net: Net, layers: int, heads: int, size: int) -> list[tuple[str, str]]:
    """past_key_values.N.key and .value, each [B, heads, past_sequence, size], for every layer."""
    shape = [net.batch, heads, "past_sequence", size]
    return [tuple(net.g.input(f"past_key_values.{i}.{part}", net.onnx_dtype, shape) for part in ("key", "value")) for i in range(layers)]


def append(net: Net, past: str, new: str, layer: int, part: str, heads: int, size: int) -> str:
    """present = Concat(past, new) along the sequence; declared as the output present.N.key or .value."""
    present = net.g.op("Concat", past, new, result=f"present.{layer}.{part}", axis=2)
    net.g.output(present, present, net.onnx_dtype, [net.batch, heads, "past_sequence + sequence", size])
    return present


def make_calls(vocab: int, batch: int, sequence: int, steps: int, seed: int, caches: list[tuple[int, int]] | None,
               dtype=np.float32) -> list[dict[str, np.ndarray]]:
    """Inputs of one prefill of `sequence` tokens and `steps` one-token calls.

    caches: (heads, size) per layer, None for a model without cache (then steps must be 0). Without padding in row 0; row 1, where there
    is one, has its last prefill token masked. Cache inputs of later calls are zeros of the right shape: chain them.
    """
    if caches is None and steps:
        raise ValueError("decode steps need a cache")
    rng = np.random.default_rng(seed)
    calls, past = [], 0
    mask = np.ones((batch, sequence + steps), np.int64)
    if batch > 1 and sequence > 1:
        mask[1, sequence - 1] = 0
    for step in range(steps + 1):
        length = 1 if step else sequence
        call = {"input_ids": rng.integers(0, vocab, (batch, length)), "attention_mask": mask[:, :past + length].copy()}
        for layer, (heads, size) in enumerate(caches or []):
            for part in ("key", "value"):
                call[f"past_key_values.{layer}.{part}"] = np.zeros((batch, heads, past, size), dtype)
        calls.append(call)
        past += length
    return calls


def add_positions(calls: list[dict[str, np.ndarray]]) -> None:
    """Adds position_ids [B, S], counted from the size of the past."""
    for call in calls:
        (batch, length), total = call["input_ids"].shape, call["attention_mask"].shape[1]
        call["position_ids"] = np.tile(np.arange(total - length, total), (batch, 1))
