"""The demo's two models with inputs and reference results, written once and used again on the next run."""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path
from typing import Callable, NamedTuple

import numpy as np

from commc import arrays, graph, reference
from commc.demo import sentences
from commc.exporters import minilm, minilm_source
from commc.generators import cache, llama, net

DECODER = llama.Config(hidden=512, heads=8, kv_heads=4, layers=6, inter=1408, vocab=4096, cache=True, batch=1)
PREFILL_TOKENS = 32


class Job(NamedTuple):
    """One model on calls in a row; the last call is the one that is measured."""

    name: str
    model: Path
    calls: list[Path]  # inputs, in a row
    expected: list[dict[str, np.ndarray]]  # ONNX Runtime's results per call
    shapes: list[Path]  # one entry of the executable each


def prepare_minilm(folder: Path, texts: list[str], source: Path, say: Callable[[str], None]) -> Job:
    """Exports the sentence encoder, encodes the sentences, and runs them on ONNX Runtime. Raises RuntimeError for changed weights."""
    target = folder / "minilm"

    def write() -> None:
        minilm_source.verify(source)
        minilm.export(source, target)

    _once(target, [minilm, graph], str(minilm_source.FILES), write, say)
    encoded = sentences.encode(source / "tokenizer.json", texts)
    arrays.save(target / "inputs.npz", encoded)
    expected = reference.run(target / "model.onnx", encoded)
    return Job("MiniLM", target / "model.onnx", [target / "inputs.npz"], [expected], [target / "inputs.npz"])


def prepare_decoder(folder: Path, say: Callable[[str], None]) -> list[Job]:
    """Generates the decoder and runs a prefill and a decode step on ONNX Runtime: one job each."""
    target = folder / "llama"
    _once(target, [llama, cache, net, graph], repr(DECODER), lambda: llama.build(DECODER, target, external=True), say)
    model = target / "model.onnx"
    used, expected = reference.run_chained(model, llama.make_inputs(DECODER, sequence=PREFILL_TOKENS, steps=1))
    paths = [target / "prefill.npz", target / "decode.npz"]
    for path, call in zip(paths, used):
        arrays.save(path, call)
    return [Job("Llama prefill", model, paths[:1], expected[:1], paths),
            Job("Llama decode", model, paths, expected, paths)]


def _once(folder: Path, modules: list, settings: str, write: Callable[[], None], say: Callable[[str], None]) -> None:
    """Calls `write` unless the folder's stamp says that the same code with the same settings wrote it before."""
    digest = hashlib.sha256(settings.encode())
    for module in modules:
        digest.update(Path(module.__file__).read_bytes())
    stamp, value = folder / "stamp.json", {"made_by": digest.hexdigest()}
    if stamp.exists() and json.loads(stamp.read_text()) == value and (folder / "model.onnx").exists():
        say(f"{folder / 'model.onnx'}  used again")
        return
    started = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    write()
    stamp.write_text(json.dumps(value))
    say(f"{folder / 'model.onnx'}  written in {time.monotonic() - started:.1f} s")
