"""Compile time and peak memory of an 80-layer Llama-shaped model of 70 B parameters whose weights lie in a sparse file.

    PYTHONPATH=python python bench/compile_70b.py [--ranks 8] [--sequence 128] [--layers 80] [--json FILE]

The weights file has the full size (282 GB in f32) and takes no disk space; commc refers to it (--weights=reference). Time is wall time
of commc; memory is the largest resident set of its process (ru_maxrss).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import machine

from commc import tools
from commc.generators import llama


def compile_measured(command: list[str], log: Path) -> dict:
    """Runs a command with its output in `log`; exit code, wall and CPU seconds, and peak resident bytes of that process."""
    started = time.monotonic()
    with open(log, "wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    return {"exit": process.returncode, "wall_s": time.monotonic() - started, "cpu_s": usage.ru_utime + usage.ru_stime,
            "peak_bytes": usage.ru_maxrss * 1024}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ranks", type=int, default=8)
    parser.add_argument("--sequence", type=int, default=128)
    parser.add_argument("--layers", type=int, default=80)
    parser.add_argument("--dtype", choices=["f32", "f16", "bf16"], default="f32")
    parser.add_argument("--folder", type=Path, default=tools.ROOT / "build" / "bench" / "llama70b")
    parser.add_argument("--json", type=Path, help="also write the record to this file")
    options = parser.parse_args()
    config = dataclasses.replace(llama.LLAMA_70B, layers=options.layers, dtype=options.dtype)
    model = llama.build(config, options.folder, sparse=True)
    data, executable = model.with_name("model.onnx.data"), options.folder / "model.commx"
    executable.unlink(missing_ok=True)
    command = [str(tools.find("commc")), str(model), f"--devices=cpu:{options.ranks}", "--dim", f"sequence={options.sequence}",
               "--weights=reference", "-o", str(executable)]
    print(f"machine     {machine.describe()}")
    print(f"model       {config.layers} layers, hidden {config.hidden}, {config.dtype}: weights {data.stat().st_size / 1e9:.1f} GB, "
          f"on disk {data.stat().st_blocks * 512 / 1e6:.1f} MB", flush=True)
    record = compile_measured(command, options.folder / "commc.log")
    print((options.folder / "commc.log").read_text().rstrip())
    if record["exit"] == 0:
        record["executable_bytes"] = executable.stat().st_size
        print(f"executable  {record['executable_bytes'] / 1e6:.1f} MB")
    print(f"compile     {record['wall_s']:.1f} s wall, {record['cpu_s']:.1f} s CPU, peak memory {record['peak_bytes'] / 2**20:.0f} MiB, "
          f"exit {record['exit']}")
    if options.json:
        options.json.write_text(json.dumps({"machine": machine.describe(), "command": command, **record}, indent=1) + "\n")
    return record["exit"] if record["exit"] >= 0 else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except tools.ToolMissing as missing:
        print(f"error: {missing}", file=sys.stderr)
        sys.exit(2)
