#!/usr/bin/env python3
"""Starts a pass: utils/new_pass.py <Phase> <Name>, for example `utils/new_pass.py Optimize FuseFoo`.

Writes passes/<Phase>/<Name>.cpp and a lit test that fails until the pass does something, and adds the entries in
Passes.td and CMakeLists.txt. What is left: the rewrite, the description, one line in passes/Pipeline.cpp.
"""

import argparse
import os
import re
import sys

SOURCE = """\
//===- {name}.cpp - TODO: one line ---------------------------------------===//
// Matches   TODO: the IR before
// Rewrites  TODO: the IR after
// Skips     TODO: when it holds back, and why
//===----------------------------------------------------------------------===//
#include "comm/IR/CommOps.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "passes/{phase}/Passes.h"

namespace mlir::comm {{
#define GEN_PASS_DEF_{upper}PASS
#include "passes/{phase}/Passes.h.inc"
namespace {{
struct {name}Pattern : OpRewritePattern<AllReduceOp> {{
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(AllReduceOp op, PatternRewriter &rewriter) const override {{
    return rewriter.notifyMatchFailure(op, "TODO: match, rewrite and count, or say why not");
  }}
}};

struct {name} : impl::{name}PassBase<{name}> {{
  using {name}PassBase::{name}PassBase;
  void runOnOperation() override {{
    RewritePatternSet patterns(&getContext());
    patterns.add<{name}Pattern>(&getContext());
    if (failed(applyPatternsGreedily(getOperation(), std::move(patterns))))
      signalPassFailure();
  }}
}};
}} // namespace
}} // namespace mlir::comm
"""

ENTRY = """\
def {name}Pass : Pass<"comm-{flag}", "::mlir::func::FuncOp"> {{
  let summary = "TODO: one line";
  let description = [{{
    TODO: why, and when it holds back.
    Example: test/passes/{phase}/{flag}.mlir
  }}];
  let statistics = [Statistic<"numRewritten", "num-rewritten", "TODO: what is counted">];
  let dependentDialects = ["::mlir::comm::CommDialect"];
}}
"""

TEST = """\
// RUN: comm-opt %s --comm-{flag} | FileCheck %s
comm.grid @grid ["tp"] = [2]

// TODO: a sentence that says what is shown. This check fails until the pass rewrites something.
// CHECK-LABEL: func.func @rewrites
// CHECK-NOT:     comm.all_reduce
func.func @rewrites(%x: tensor<4xf32>) -> tensor<4xf32> {{
  %y = comm.all_reduce sum %x over @grid["tp"] : tensor<4xf32>
  return %y : tensor<4xf32>
}}

// TODO: a second case, in which the pass must not fire.
"""


def fail(sentence):
    sys.exit(f"error: {sentence}")


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def add_entry(td, entry):
    """Passes.td with the entry last, in front of the closing #endif where there is one."""
    match = re.search(r"\n#endif[^\n]*\s*\Z", td)
    body, end = (td[: match.start()], td[match.start() :].lstrip("\n")) if match else (td, "")
    return body.rstrip("\n") + "\n\n" + entry + ("\n" + end if end else "")


def add_source(cmake, library, source):
    """CMakeLists.txt with the source first in the library's list, or None if the library is not there."""
    pattern = re.compile(rf"(comm_add_mlir_library\({library}\s+SOURCES)(\s+)")
    new, count = pattern.subn(rf"\1\g<2>{source}\2", cmake, count=1)
    return new if count else None


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phase", help="a folder of passes/, for example Optimize")
    parser.add_argument("name", help="the pass, starting with a verb, for example FuseFoo")
    parser.add_argument("--root", default=os.path.join(os.path.dirname(__file__), ".."), help="top of the tree")
    args = parser.parse_args()

    if not re.fullmatch(r"([A-Z][a-z0-9]*|[A-Z]+(?=[A-Z][a-z]|$))+", args.name):
        fail(f"'{args.name}' is not a name like FuseFoo")
    # FuseAllReduceRMSNorm -> fuse-all-reduce-rms-norm
    flag = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "-", args.name).lower()
    words = {"phase": args.phase, "name": args.name, "upper": args.name.upper(), "flag": flag}

    folder = os.path.join(args.root, "passes", args.phase)
    td_path, cmake_path = os.path.join(folder, "Passes.td"), os.path.join(folder, "CMakeLists.txt")
    source_path = os.path.join(folder, args.name + ".cpp")
    test_path = os.path.join(args.root, "test", "passes", args.phase, flag + ".mlir")
    if not (os.path.exists(td_path) and os.path.exists(cmake_path)):
        fail(f"passes/{args.phase} has no Passes.td and CMakeLists.txt: is it a phase?")
    td, cmake = read(td_path), read(cmake_path)
    if os.path.exists(source_path) or os.path.exists(test_path) or f"def {args.name}Pass " in td:
        fail(f"{args.name} exists already in passes/{args.phase} or test/passes/{args.phase}")
    cmake = add_source(cmake, f"Comm{args.phase}Passes", args.name + ".cpp")
    if cmake is None:
        fail(f"passes/{args.phase}/CMakeLists.txt has no comm_add_mlir_library(Comm{args.phase}Passes SOURCES ...)")

    for path, text in (
        (source_path, SOURCE.format(**words)),
        (test_path, TEST.format(**words)),
        (td_path, add_entry(td, ENTRY.format(**words))),
        (cmake_path, cmake),
    ):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        print("wrote", os.path.relpath(path, args.root))
    print("next: fill the TODOs, add the pass to passes/Pipeline.cpp, utils/gen_docs.sh, ninja -C build check-comm")


if __name__ == "__main__":
    main()
