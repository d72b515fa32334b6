"""setup.sh says in one sentence what is missing, and stops before it changes anything."""

import os
import subprocess

SETUP = os.path.join(os.path.dirname(__file__), "..", "..", "utils", "setup.sh")


def setup(tmp_path, *jobs, **fakes):
    """Runs setup.sh with some commands replaced by scripts that only print; anything that would change the system fails loudly."""
    for name in ("apt-get", "curl", "pip"):
        fakes.setdefault(name, "CHANGED THE SYSTEM")
    for name, output in fakes.items():
        tool = tmp_path / name.replace("_", "-")
        tool.write_text(f"#!/bin/sh\necho '{output}'\n")
        tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    result = subprocess.run([SETUP, *jobs], env=environment, capture_output=True, text=True)
    assert "CHANGED" not in result.stdout + result.stderr
    return result


def test_other_cpu_is_exit_6(tmp_path):
    result = setup(tmp_path, "test", uname="aarch64")
    assert result.returncode == 6 and "x86-64" in result.stderr and "aarch64" in result.stderr


def test_missing_packages_without_root(tmp_path):
    result = setup(tmp_path, "test", dpkg_query="installed cmake", id="1000")
    assert result.returncode == 1
    assert "as root run: apt-get install ninja-build" in result.stderr and "libgtest-dev" in result.stderr
    assert " cmake" not in result.stderr and len(result.stderr.splitlines()) == 1


def test_demo_does_not_ask_for_test_packages(tmp_path):
    result = setup(tmp_path, "demo", dpkg_query="installed cmake", id="1000")
    assert result.returncode == 1 and "libmlir-22-dev" in result.stderr
    assert "libgtest-dev" not in result.stderr and "clang-format-22" not in result.stderr


def test_unknown_job_is_a_usage_error(tmp_path):
    result = setup(tmp_path, "everything")
    assert result.returncode == 2 and "everything" in result.stderr
