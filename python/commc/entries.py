"""The entries of a language model with a cache, as arrays whose shapes commc reads.

    commc model.onnx $(python -m commc.entries model.onnx --tokens 1,16 --past 128 -o shapes) -o model.commx

One file per number of new tokens: a batch of one, `past` tokens of room before them, or, shared, with them. Prints the flags for commc. `commrun --generate` splits
a prompt over the entries and keeps the past inside the room.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper

from commc import arrays


def arrays_for(model: Path, tokens: int, past: int, dims: dict[str, int] | None = None, shared: bool = False) -> dict[str, np.ndarray]:
    """Zeros for every input. Raises ValueError for a dimension whose size neither its place nor `dims` tells."""
    dims = {**_head_size(model), **(dims or {})}
    graph = onnx.load(model, load_external_data=False).graph
    weights = {weight.name for weight in graph.initializer}
    out = {}
    for port in graph.input:
        if port.name in weights:
            continue
        kind = port.type.tensor_type
        shape = [d.dim_value if d.HasField("dim_value") else d.dim_param for d in kind.shape.dim]
        if port.name == "attention_mask":
            sizes = [1, past + (0 if shared else tokens)]
        elif len(shape) == 2 and port.name in ("input_ids", "position_ids", "token_type_ids"):
            sizes = [1, tokens]
        else:  # a state: [batch, heads, past, size]
            sizes = [_size(port.name, axis, d, past, dims) for axis, d in enumerate(shape)]
        out[port.name] = np.zeros(sizes, helper.tensor_dtype_to_np_dtype(kind.elem_type))
    return out


def _size(port: str, axis: int, dim: int | str, past: int, dims: dict[str, int]) -> int:
    if isinstance(dim, int):
        return dim
    if dim in dims:
        return dims[dim]
    if axis == 0 or axis == 2:
        return past if axis else 1
    raise ValueError(f"dimension {axis} of input '{port}', '{dim}', is not known: --dim {dim}=SIZE")


def _head_size(model: Path) -> dict[str, int]:
    """What onnxruntime-genai's builder writes beside the model."""
    try:
        return {"kv_cache_dim": int(json.loads((model.parent / "genai_config.json").read_text())["model"]["decoder"]["head_size"])}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def write(model: Path, tokens: list[int], past: int, folder: Path, dims: dict[str, int] | None = None, shared: bool = False) -> list[Path]:
    """Writes the arrays of one entry per number of new tokens; returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for count in tokens:
        paths.append(folder / f"tokens_{count}.npz")
        arrays.save(paths[-1], arrays_for(model, count, past, dims, shared))
    return paths


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m commc.entries", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tokens", default="1", help="numbers of new tokens, an entry each (default 1)")
    parser.add_argument("--past", type=int, default=128, help="tokens before them that there is room for (default 128)")
    parser.add_argument("--shared", action="store_true", help="new tokens take slots of the past, which does not grow; for GroupQueryAttention")
    parser.add_argument("--dim", action="append", default=[], metavar="NAME=SIZE", help="size of another symbolic dimension; repeatable")
    parser.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    options = parser.parse_args(argv)
    try:
        dims = {name: int(size) for name, size in (text.split("=") for text in options.dim)}
        tokens = [int(count) for count in options.tokens.split(",")]
        if min(tokens) < 1 or options.past < 0:
            raise ValueError("entries take at least one token, and the past has no negative size")
        if options.shared and max(tokens) > options.past:
            raise ValueError(f"a shared past of {options.past} does not hold {max(tokens)} new tokens")
        paths = write(options.model, tokens, options.past, options.output, dims, options.shared)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(" ".join(f"--shapes-from=@{path}" for path in paths))
    return 0


if __name__ == "__main__":
    sys.exit(main())
