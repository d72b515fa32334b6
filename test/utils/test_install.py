"""find_package(commc) works from an install tree, and its runtime needs no compiler."""

import os
import subprocess

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
BUILD = os.environ.get("COMM_BUILD_DIR", os.path.join(HERE, "..", "..", "build"))


def run(*command, **options):
    return subprocess.run([str(word) for word in command], capture_output=True, text=True, **options)


def succeed(*command):
    result = run(*command)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def consumer(part, tmp_path):
    """Installs one component into a folder of its own and builds the consumer against it."""
    prefix, build = tmp_path / "prefix", tmp_path / "build"
    succeed("cmake", "--install", BUILD, "--prefix", prefix, "--component", "runtime")
    if part == "compiler":
        succeed("cmake", "--install", BUILD, "--prefix", prefix, "--component", "compiler")
    compilers = ["-DCMAKE_C_COMPILER=clang-22", "-DCMAKE_CXX_COMPILER=clang++-22"]
    source = os.path.join(HERE, "install", part)
    succeed("cmake", "-G", "Ninja", "-S", source, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}", *compilers)
    succeed("ninja", "-C", build)
    return prefix, build / "consumer"


def test_c_program_against_the_runtime(tmp_path):
    prefix, program = consumer("runtime", tmp_path)
    result = run(program, tmp_path / "missing.commx")
    assert result.returncode == 3 and "missing.commx" in result.stdout, result.stdout + result.stderr
    # Neither the library nor commrun draws in the compiler, and the library shows the C interface only.
    library = prefix / "lib" / "libcommc_runtime.so"
    for binary in (library, prefix / "bin" / "commrun"):
        needed = succeed("ldd", binary)
        assert "MLIR" not in needed and "LLVM" not in needed and "not found" not in needed, needed
    names = [line.split()[-1] for line in succeed("nm", "-D", "--defined-only", library).splitlines()]
    assert "comm_session_run" in names
    assert [name for name in names if not name.startswith("comm_")] == []


def test_compiler_component_is_absent_from_a_runtime_install(tmp_path):
    prefix = tmp_path / "prefix"
    succeed("cmake", "--install", BUILD, "--prefix", prefix, "--component", "runtime")
    source = os.path.join(HERE, "install", "compiler")
    result = run("cmake", "-G", "Ninja", "-S", source, "-B", tmp_path / "build", f"-DCMAKE_PREFIX_PATH={prefix}")
    assert result.returncode != 0 and "compiler" in result.stderr


@pytest.mark.slow
def test_cxx_program_against_the_dialect(tmp_path):
    prefix, program = consumer("compiler", tmp_path)
    assert 'comm.grid @grid ["tp"] = [2]' in succeed(program)
    assert "comm" in succeed(prefix / "bin" / "comm-opt", "--show-dialects")
