"""Every op of the dialect has an example in its description, and the example parses, verifies and round-trips.

Examples are fragments: a value that nothing defines becomes a function argument whose type is what the parser asks for.
"""

import os
import re
import subprocess

import pytest

TREE = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
OPT = os.path.join(os.environ.get("COMM_BUILD_DIR", os.path.join(TREE, "build")), "bin", "comm-opt")
MODULE_LEVEL = {"comm.grid", "comm.kernel", "comm.call_kernel", "comm.launch"}
# Terminators stand in the example of the op that holds them.
TERMINATORS = {"comm.yield"}


def sections():
    """(op name, its part of the reference page) for each op."""
    with open(os.path.join(TREE, "docs", "reference", "ops.md"), encoding="utf-8") as page:
        parts = re.split(r"^### `(comm\.\w+)` \(.*\)$", page.read(), flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2]))


def opt(text, *options):
    return subprocess.run([OPT, "-", *options], input=text, capture_output=True, text=True)


def wrap(fragment, types):
    arguments = ", ".join(f"{name}: {type}" for name, type in types.items())
    grid = "" if "comm.grid" in fragment else 'comm.grid @grid ["tp"] = [2]\n'
    return f"{grid}func.func @example({arguments}) {{\n{fragment}\nreturn\n}}\n"


def module_of(fragment):
    """The fragment as a module; free values get the types that their uses expect."""
    types = {}
    for _ in range(40):
        error = opt(wrap(fragment, types)).stderr
        if missing := re.search(r"use of undeclared SSA value name", error):
            line, column = re.search(r":(\d+):(\d+): error: use of undeclared", error).groups()
            at = wrap(fragment, types).splitlines()[int(line) - 1][int(column) - 1 :]
            types[re.match(r"%[\w$.-]+", at)[0]] = "i1"
        elif wrong := re.search(r"use of value '(%[\w$.-]+)' expects different type than prior uses: '(.*)' vs 'i1'", error):
            types[wrong[1]] = wrong[2]
        else:
            break
    return wrap(fragment, types)


@pytest.mark.parametrize("name, section", sections(), ids=[name for name, _ in sections()])
def test_example(name, section):
    examples = re.findall(r"```mlir\n(.*?)```", section, flags=re.DOTALL)
    if name in TERMINATORS:
        others = "".join(text for other, text in sections() if other != name)
        assert any(name in example for example in re.findall(r"```mlir\n(.*?)```", others, flags=re.DOTALL))
        return
    assert examples and any(name in example for example in examples), f"{name} has no example of itself"
    for example in examples:
        module = example if name in MODULE_LEVEL else module_of(example)
        first = opt(module)
        assert first.returncode == 0, module + first.stderr
        assert name in first.stdout
        again = opt(first.stdout, "--mlir-print-op-generic")
        assert again.returncode == 0 and again.stdout == opt(module, "--mlir-print-op-generic").stdout
