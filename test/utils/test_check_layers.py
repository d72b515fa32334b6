"""check_layers.py finds what the rules of the tree forbid, and nothing else."""

import os
import subprocess
import sys

import pytest

TREE = os.path.join(os.path.dirname(__file__), "..", "..")
SCRIPT = os.path.join(TREE, "utils", "check_layers.py")


def run(root):
    return subprocess.run([sys.executable, SCRIPT, str(root)], capture_output=True, text=True)


def write(root, path, text):
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    "path, include, reason",
    [
        ("lib/Cost/Model.cpp", "mlir/IR/Value.h", "must not see MLIR"),
        ("lib/IR/Ops.cpp", "comm/Analysis/Liveness.h", "not Analysis"),
        ("lib/Analysis/Liveness.cpp", "lib/IR/Detail.h", "private header"),
        ("passes/Optimize/FuseFoo.cpp", "passes/Schedule/Passes.h", "not passes/Schedule"),
        ("passes/Optimize/FuseFoo.cpp", "runtime/Core/Env.h", "not runtime"),
        ("runtime/Core/Loader.cpp", "comm/IR/CommOps.h", "not IR"),
        ("runtime/Core/Loader.h", "llvm/ADT/SmallVector.h", "must not see MLIR"),
        ("include/comm/Executable/Executable.h", "comm/Cost/Tables.h", "not Cost"),
        ("tools/commrun/Main.cpp", "comm/Executable/Executable.h", "not Executable"),
        ("tools/commrun/Main.cpp", "comm-c/compiler.h", "runtime.h only"),
        ("tools/commc/Main.cpp", "runtime/Core/Env.h", "not runtime"),
    ],
)
def test_wrong_include_is_named(tmp_path, path, include, reason):
    write(tmp_path, path, f'#include <vector>\n#include "{include}"\n')
    result = run(tmp_path)
    assert result.returncode == 1
    assert f"{path}:2: includes {include}" in result.stdout and reason in result.stdout


def test_allowed_includes_pass(tmp_path):
    write(tmp_path, "passes/Optimize/FuseFoo.cpp", '#include "passes/Optimize/Passes.h"\n#include "comm/IR/CommOps.h"\n#include "mlir/Pass/Pass.h"\n')
    write(tmp_path, "passes/Pipeline.cpp", '#include "passes/Optimize/Passes.h"\n')
    write(tmp_path, "tools/commrun/Main.cpp", '#include "comm-c/runtime.h"\n#include "Options.h"\n')
    write(tmp_path, "tools/commrun/Options.h", "#include <string>\n")
    write(tmp_path, "test/unit/Core/Any.cpp", '#include "runtime/Core/Env.h"\n#include "comm/IR/CommOps.h"\n')
    result = run(tmp_path)
    assert result.returncode == 0, result.stdout


def test_relative_include_does_not_slip_through(tmp_path):
    write(tmp_path, "passes/Schedule/Passes.h", "")
    write(tmp_path, "passes/Optimize/FuseFoo.cpp", '#include "../Schedule/Passes.h"\n')
    assert run(tmp_path).returncode == 1


def test_this_tree_is_clean():
    result = run(TREE)
    assert result.returncode == 0, result.stdout
