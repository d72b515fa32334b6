"""The ONNX node tests as files: generated once by the `onnx` package, then read from a folder."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import NamedTuple

import numpy as np

from commc import arrays


class Case(NamedTuple):
    """One node test. Paths of its model and arrays; `unfit` says why it cannot be fed to commrun, else it is empty."""

    name: str
    model: Path
    inputs: Path
    outputs: Path
    rtol: float
    atol: float
    unfit: str


def collect(cache: Path) -> list[Case]:
    """All cases in the order of their names. The first call writes them below `cache` (about 15 s); a new onnx version writes them anew."""
    import onnx

    folder = cache / f"onnx-{onnx.__version__}-bytes"
    index = folder / "index.json"
    if not index.exists():
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        partial = folder / "index.partial"
        partial.write_text(json.dumps([_write(case, folder) for case in _generate()]))
        partial.rename(index)
    rows = json.loads(index.read_text())
    return [Case(row["name"], *(folder / row["name"] / file for file in ("model.onnx", "inputs.npz", "outputs.npz")),
                 row["rtol"], row["atol"], row["unfit"]) for row in rows]


def _generate() -> list:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        cases = {case.name: case for case in collect_testcases(None)}
    return [cases[name] for name in sorted(cases)]


def _write(case, folder: Path) -> dict:
    """Writes one case; returns its line of the index."""
    row = {"name": case.name, "rtol": case.rtol, "atol": case.atol, "unfit": ""}
    target = folder / case.name
    target.mkdir()
    (target / "model.onnx").write_bytes(case.model.SerializeToString())
    inputs, outputs = case.data_sets[0]
    try:
        arrays.save(target / "inputs.npz", _named(case.model.graph.input, inputs))
        arrays.save(target / "outputs.npz", _named(case.model.graph.output, outputs))
    except Unfit as reason:
        row["unfit"] = str(reason)
    return row


class Unfit(Exception):
    """The values of a case have no place in an npz file."""


def _named(infos, values) -> dict[str, np.ndarray]:
    if len(infos) != len(values):
        raise Unfit("the case leaves out an input")
    return {info.name: _array(info, value) for info, value in zip(infos, values)}


def _array(info, value) -> np.ndarray:
    import onnx
    from onnx import helper, numpy_helper

    kind = info.type.WhichOneof("value")
    if kind != "tensor_type":
        raise Unfit(f"values of kind {kind.replace('_type', '')}")
    if isinstance(value, onnx.TensorProto):
        value = numpy_helper.to_array(value)
    array = np.asarray(value)
    element = info.type.tensor_type.elem_type
    name = onnx.TensorProto.DataType.Name(element).lower()
    if name == "bfloat16":  # npz has no such type; float32 holds every value
        return array.astype(np.float32)
    if name in ("int4", "uint4", "int2", "uint2"):  # commrun takes them as bytes
        return array.astype(np.uint8 if name.startswith("u") else np.int8)
    if np.dtype(helper.tensor_dtype_to_np_dtype(element)).kind not in "fiub" or name.startswith(("float8", "float4")):
        raise Unfit(f"values of type {name}")
    return array
