"""Starts the command line tools `commc` and `commrun` and reads what they say.

Tools are looked for in the folder named by COMMC_BIN, then in `build/bin` of this source tree, then on PATH.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the source tree
EXIT = {"ok": 0, "internal": 1, "usage": 2, "bad_model": 3, "unsupported": 4, "does_not_fit": 5, "device": 6, "mismatch": 7,
        "distributed": 8, "interrupted": 130}


class ToolMissing(RuntimeError):
    """A tool has not been built."""


class ToolFailed(RuntimeError):
    """A tool ended with a code other than 0. `code` is that code, `text` its standard error."""

    def __init__(self, command: list[str], code: int, text: str):
        super().__init__(f"{' '.join(command)}\nended with code {code}:\n{text.strip()}")
        self.code, self.text = code, text


def find(name: str) -> Path:
    """Path of a tool. Raises ToolMissing with the sentence to show."""
    given = os.environ.get("COMMC_BIN")
    folders = [Path(given)] if given else [ROOT / "build" / "bin"]
    for folder in folders:
        if os.access(folder / name, os.X_OK):
            return folder / name
    if not given and (found := shutil.which(name)):
        return Path(found)
    raise ToolMissing(f"{name} not found in {folders[0]}; build it (utils/build.sh {name}) or set COMMC_BIN to its folder")


def run(name: str, *arguments, timeout_s: float = 600, check: bool = True) -> subprocess.CompletedProcess:
    """Runs a tool and returns its code, stdout and stderr. With `check`, raises ToolFailed when the code is not 0.

    Raises subprocess.TimeoutExpired after timeout_s; the tool and its ranks are then gone, as they are after an interruption.
    """
    command = [str(find(name)), *map(str, arguments)]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0)
    try:
        out, err = process.communicate(timeout=timeout_s)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    done = subprocess.CompletedProcess(command, process.returncode, out, err)
    if check and done.returncode != 0:
        raise ToolFailed(command, done.returncode, done.stderr)
    return done


def json_output(done: subprocess.CompletedProcess) -> dict:
    """The object a tool printed under --json. Raises ValueError when there is none."""
    return json.loads(done.stdout)


def compile_model(model: Path, output: Path, ranks: int, shapes_from: list[Path] = (), *extra, **options) -> subprocess.CompletedProcess:
    """commc for `ranks` CPU ranks, one entry per npz file of `shapes_from`."""
    shapes = [f"--shapes-from=@{path}" for path in shapes_from]
    return run("commc", model, f"--devices=cpu:{ranks}", *shapes, "-o", output, *extra, **options)


def run_executable(executable: Path, inputs: list[Path], *extra, **options) -> subprocess.CompletedProcess:
    """commrun on calls in a row."""
    return run("commrun", executable, *(word for path in inputs for word in ("--input", f"@{path}")), *extra, **options)
