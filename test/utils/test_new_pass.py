"""new_pass.py writes a pass that compiles and a lit test, and touches nothing when it refuses."""

import os
import shutil
import subprocess
import sys

import pytest

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
LLVM = os.environ.get("LLVM_PREFIX", "/usr/lib/llvm-22")
PASSES_TD = '#ifndef COMM_PASSES\n#define COMM_PASSES\ninclude "mlir/Pass/PassBase.td"\n\n#endif // COMM_PASSES\n'
PASSES_H = """\
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/Pass.h"
"""


@pytest.fixture
def tree(tmp_path):
    phase = tmp_path / "passes" / "Optimize"
    phase.mkdir(parents=True)
    (phase / "Passes.td").write_text(PASSES_TD)
    (phase / "Passes.h").write_text(PASSES_H)
    (phase / "CMakeLists.txt").write_text("comm_add_mlir_library(CommOptimizePasses SOURCES\n  Other.cpp\n  LINK CommIR)\n")
    return tmp_path


def new_pass(tree, *words):
    command = [sys.executable, os.path.join(TREE, "utils", "new_pass.py"), "--root", str(tree), *words]
    return subprocess.run(command, capture_output=True, text=True)


def snapshot(tree):
    return {path: path.read_text() for path in tree.rglob("*") if path.is_file()}


def test_scaffold_compiles(tree):
    result = new_pass(tree, "Optimize", "FuseAllReduceRMSNorm")
    assert result.returncode == 0, result.stderr
    assert "FuseAllReduceRMSNorm.cpp\n  Other.cpp" in (tree / "passes/Optimize/CMakeLists.txt").read_text()
    test = (tree / "test/passes/Optimize/fuse-all-reduce-rms-norm.mlir").read_text()
    assert "comm-opt %s --comm-fuse-all-reduce-rms-norm" in test

    tblgen = [f"{LLVM}/bin/mlir-tblgen", "-gen-pass-decls", "-name=Optimize", f"-I{LLVM}/include", "passes/Optimize/Passes.td"]
    generated = subprocess.run(tblgen, cwd=tree, check=True, capture_output=True, text=True).stdout
    assert 'return "comm-fuse-all-reduce-rms-norm"' in generated
    (tree / "passes/Optimize/Passes.h.inc").write_text(generated)

    ir = os.path.join(TREE, "build", "include")
    if not os.path.exists(os.path.join(ir, "comm/IR/CommModelOps.h.inc")):
        pytest.skip("the generated headers of the dialect are missing: build first")
    includes = [f"-I{tree}", f"-I{TREE}/include", f"-I{ir}", f"-isystem{LLVM}/include"]
    compiler = ["clang++-22", "-std=c++17", "-fno-exceptions", "-fsyntax-only", "-Wall", "-Werror", *includes]
    compiled = subprocess.run([*compiler, "passes/Optimize/FuseAllReduceRMSNorm.cpp"], cwd=tree, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    formatted = subprocess.run(
        ["clang-format-22", "--dry-run", "-Werror", f"--style=file:{TREE}/.clang-format", "passes/Optimize/FuseAllReduceRMSNorm.cpp"],
        cwd=tree, capture_output=True, text=True,
    )
    assert formatted.returncode == 0, formatted.stderr


def test_its_lit_test_fails_without_a_rewrite(tree):
    assert new_pass(tree, "Optimize", "FuseFoo").returncode == 0
    test = tree / "test/passes/Optimize/fuse-foo.mlir"
    # What the pass leaves behind while it does nothing is its input.
    check = subprocess.run([f"{LLVM}/bin/FileCheck", str(test)], input=test.read_text().split("CHECK-NOT:")[1], text=True, capture_output=True)
    assert check.returncode == 1


def test_two_passes_side_by_side(tree):
    assert new_pass(tree, "Optimize", "FuseFoo").returncode == 0
    assert new_pass(tree, "Optimize", "InsertBar").returncode == 0
    td = (tree / "passes/Optimize/Passes.td").read_text()
    assert td.index("def FuseFooPass") < td.index("def InsertBarPass") < td.index("#endif")


@pytest.mark.parametrize(
    "words, reason",
    [(("Optimise", "FuseFoo"), "is it a phase"), (("Optimize", "fuse_foo"), "not a name"), (("Optimize", "Other"), "exists already")],
)
def test_refuses_and_leaves_the_tree_alone(tree, words, reason):
    shutil.copy(tree / "passes/Optimize/Passes.h", tree / "passes/Optimize/Other.cpp")
    before = snapshot(tree)
    result = new_pass(tree, *words)
    assert result.returncode == 1 and reason in result.stderr
    assert snapshot(tree) == before
