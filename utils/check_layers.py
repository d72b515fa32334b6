#!/usr/bin/env python3
"""Checks that includes follow the arrows of the tree: check_layers.py [root]; prints each wrong include, exit 1 if any.

A layer is a folder with its public headers (lib/IR and include/comm/IR are both "IR"). RULES says for each what it may
include besides itself, and whether MLIR and LLVM are allowed there. Tests and benchmarks may include anything.
"""

import os
import re
import sys

PLAIN, MLIR = False, True
COMPILER = ["IR", "Analysis", "Cost", "Solver"]

# layer: (other layers it may include, whether it may include MLIR and LLVM)
RULES = {
    "Executable": ([], PLAIN),
    "Proof": (["Executable"], PLAIN),
    "Cost": ([], PLAIN),
    "Solver": ([], PLAIN),
    "Simulator": (["Executable", "Cost"], PLAIN),
    "IR": ([], MLIR),
    "Analysis": (["IR", "Cost", "Solver", "Executable"], MLIR),  # bytes of what an executable holds
    "Import": (["IR", "lib"], MLIR),  # folds constants with the interpreter
    "Export": (["IR", "Executable"], MLIR),
    "lib": (COMPILER + ["Executable", "Proof", "Import", "Export"], MLIR),  # any other folder of lib/
    "passes/*": (COMPILER + ["Executable", "lib"], MLIR),  # one phase: no other phase
    "passes": (COMPILER + ["Executable", "lib", "passes/*"], MLIR),  # Pipeline.cpp and what stands beside it
    "comm-c": ([], PLAIN),
    "runtime": (["Executable", "Proof", "Cost", "Simulator", "comm-c"], PLAIN),
    "tools/commrun": (["comm-c"], PLAIN),
    "tools": (COMPILER + ["Executable", "Proof", "Simulator", "Import", "Export", "lib", "passes", "passes/*", "comm-c"], MLIR),
    "python": (["comm-c"], PLAIN),
}
SOURCE = re.compile(r"\.(h|hpp|c|cpp|cu|cuh|inc)$")
INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]', re.MULTILINE)


def layer_of(path):
    """The layer that owns a file of the tree, as (rule name, folder), or None when no rule speaks about it."""
    parts = path.split("/")
    if parts[:2] == ["include", "comm-c"]:
        return "comm-c", "comm-c"
    if parts[:2] == ["include", "comm"] or parts[0] == "lib":
        name = parts[2] if parts[0] == "include" else parts[1]
        return (name if name in RULES else "lib"), name
    if parts[0] == "passes":
        return ("passes/*", "/".join(parts[:2])) if len(parts) > 2 else ("passes", "passes")
    for name in ("runtime", "tools/commrun", "tools", "python"):
        if path.startswith(name + "/"):
            return name, name
    return None


def resolve(root, including, name):
    """The path in the tree that an include names, or None for headers from elsewhere. Generated headers need not exist."""
    beside = os.path.normpath(os.path.join(os.path.dirname(including), name))
    if os.path.exists(os.path.join(root, beside)):
        return beside
    if name.startswith(("comm/", "comm-c/")):
        return "include/" + name
    return name if name.startswith(("lib/", "passes/", "runtime/", "tools/", "python/")) else None


def wrong_includes(root, path, text):
    """Yields (line, include, reason) for each include of `path` that its layer forbids."""
    owner = layer_of(path)
    if owner is None:
        return
    allowed, mlir = RULES[owner[0]]
    for match in INCLUDE.finditer(text):
        name = match.group(2)
        line = text.count("\n", 0, match.start(2)) + 1
        target = resolve(root, path, name)
        if target is None:
            if not mlir and name.startswith(("mlir/", "mlir-c/", "llvm/", "llvm-c/")):
                yield line, name, f"{owner[1]} must not see MLIR or LLVM"
            continue
        other = layer_of(target)
        if other is None or other == owner:
            if other is None:
                yield line, name, "not in a folder that others may include"
        elif other[0] not in allowed:
            yield line, name, f"{owner[1]} may include {', '.join(allowed) or 'nothing'} besides itself, not {other[1]}"
        elif target.startswith("lib/"):
            yield line, name, "private header of lib/: what others need stands in include/comm"
        elif owner[0] == "tools/commrun" and target != "include/comm-c/runtime.h":
            yield line, name, "commrun uses comm-c/runtime.h only"


def check(root):
    """All wrong includes of the tree as lines of text."""
    problems = []
    for top in ("include", "lib", "passes", "runtime", "tools", "python"):
        for folder, subfolders, files in os.walk(os.path.join(root, top)):
            subfolders.sort()
            for file in sorted(files):
                if not SOURCE.search(file):
                    continue
                path = os.path.relpath(os.path.join(folder, file), root)
                with open(os.path.join(root, path), encoding="utf-8") as source:
                    for line, name, reason in wrong_includes(root, path, source.read()):
                        problems.append(f"{path}:{line}: includes {name}: {reason}")
    return problems


if __name__ == "__main__":
    found = check(sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(__file__), ".."))
    print("\n".join(found + [f"layers: {len(found)} wrong includes"]))
    sys.exit(bool(found))
