"""Writes a generated model, its inputs and, on request, what ONNX Runtime computes for them.

    python -m commc.generate llama --layers 4 --cache --steps 2 --expect -o out
    python -m commc.generate llama70b -o out        (282 GB in a sparse file: no disk space, no inputs)

The folder gets model.onnx, inputs.npz and outputs.npz, or inputs_0.npz, inputs_1.npz, ... when there are several calls.
"""

from __future__ import annotations

import argparse
import dataclasses
import sys
import types
import typing
from pathlib import Path

from commc import arrays, reference
from commc.generators import bert, gpt2, integers, llama

FAMILIES = {"bert": bert, "gpt2": gpt2, "llama": llama}


def write_calls(folder: Path, stem: str, calls: list[dict]) -> list[Path]:
    """Writes stem.npz for one call, stem_0.npz, stem_1.npz, ... for several; returns the paths."""
    names = [f"{stem}.npz"] if len(calls) == 1 else [f"{stem}_{i}.npz" for i in range(len(calls))]
    for name, call in zip(names, calls):
        arrays.save(folder / name, call)
    return [folder / name for name in names]


def write_with_expected(model: Path, calls: list[dict]) -> tuple[list[Path], list[Path]]:
    """Runs the calls, chained, on ONNX Runtime and writes inputs and outputs beside the model; returns (inputs, outputs)."""
    used, results = reference.run_chained(model, calls)
    return write_calls(model.parent, "inputs", used), write_calls(model.parent, "outputs", results)


def add_config(parser: argparse.ArgumentParser, config) -> None:
    """One option per field of a Config instance, with its value as default; a bool becomes a pair --x, --no-x."""
    for field in dataclasses.fields(config):
        kind = typing.get_type_hints(type(config))[field.name]
        default = getattr(config, field.name)
        flag = "--" + field.name.replace("_", "-")
        if kind is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=default, help=f"(default {default})")
            continue
        if isinstance(kind, types.UnionType):
            kind = next(k for k in typing.get_args(kind) if k is not type(None))
        parser.add_argument(flag, type=kind, default=default, help=f"(default {'dynamic' if default is None else default})")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m commc.generate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="family", required=True)
    for family, defaults in [*((name, module.Config()) for name, module in FAMILIES.items()), ("llama70b", llama.LLAMA_70B)]:
        command = commands.add_parser(family)
        add_config(command, defaults)
        command.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
        if family != "llama70b":
            command.add_argument("--external", action="store_true", help="weights in model.onnx.data instead of the model file")
            command.add_argument("--input-batch", type=int, default=2, help="batch of the inputs (default 2)")
            command.add_argument("--input-sequence", type=int, default=9, help="tokens of the first call (default 9)")
            command.add_argument("--steps", type=int, default=0, help="one-token calls after it; needs --cache (default 0)")
            command.add_argument("--expect", action="store_true", help="also write what ONNX Runtime computes")
    command = commands.add_parser("integers")
    command.add_argument("model", choices=sorted(integers.MODELS))
    command.add_argument("-o", "--output", type=Path, required=True, help="folder to write into")
    command.add_argument("--expect", action="store_true", help="also write what ONNX Runtime computes")
    options = parser.parse_args(argv)
    try:
        model, calls, expect = _build(options)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if calls and expect:
        write_with_expected(model, calls)
    elif calls:
        write_calls(options.output, "inputs", calls)
    print(model)
    return 0


def _build(options) -> tuple[Path, list[dict] | None, bool]:
    if options.family == "integers":
        model, inputs = integers.build(options.model, options.output)
        return model, [inputs], options.expect
    sparse = options.family == "llama70b"
    module = llama if sparse else FAMILIES[options.family]
    config = module.Config(**{field.name: getattr(options, field.name) for field in dataclasses.fields(module.Config)})
    if sparse:
        return llama.build(config, options.output, sparse=True), None, False
    size = {"batch": options.input_batch, "sequence": options.input_sequence}
    if module is not bert:
        size["steps"] = options.steps
    elif options.steps:
        raise ValueError("an encoder has no decode steps")
    calls = module.make_inputs(config, **size)
    return module.build(config, options.output, external=options.external), calls, options.expect


if __name__ == "__main__":
    sys.exit(main())
