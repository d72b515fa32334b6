"""Runs the ONNX node tests through commc and commrun on one CPU rank.

    python -m commc.conformance [--filter REGEX] [--listed] [--update] [--report FILE] [-j 2]

Prints passed / differs / refused / broken with reasons; test/data/onnx_node_others.txt lists every case that does not pass with its own. `refused` is an orderly no (a type that cannot be fed, or a tool's error with exit code
3, 4 or 5); `broken` is anything else that is not a result (a crash, a timeout, an internal error). The list of passing names in
test/data/onnx_node_passing.txt only grows: a listed test that does not pass makes the exit code 1; --update adds new ones and rewrites the rows of the others.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from commc import arrays, node_cases, tools

PASSING = tools.ROOT / "test" / "data" / "onnx_node_passing.txt"
OTHERS = tools.ROOT / "test" / "data" / "onnx_node_others.txt"  # name, status and reason, separated by tabs
CASE_TIMEOUT_S = 60
REFUSALS = {3, 4, 5}  # exit codes: bad model, unsupported, does not fit


class Result(NamedTuple):
    name: str
    status: str  # passed, differs, refused, broken
    reason: str


def run_case(case: node_cases.Case) -> Result:
    """Compiles and runs one case and compares every output with rtol and atol of the case."""
    if case.unfit:
        return Result(case.name, "refused", case.unfit)
    with tempfile.TemporaryDirectory(prefix="commc-case-") as scratch:
        executable, saved = Path(scratch) / "case.commx", Path(scratch) / "out.npz"
        steps = [("commc", [case.model, "--devices=cpu:1", f"--shapes-from=@{case.inputs}", "-o", executable]),
                 ("commrun", [executable, "--input", f"@{case.inputs}", "--save-outputs", saved])]
        for tool, arguments in steps:
            try:
                done = tools.run(tool, *arguments, check=False, timeout_s=CASE_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                return Result(case.name, "broken", f"{tool} ran longer than {CASE_TIMEOUT_S} s")
            if done.returncode != 0:
                status = "refused" if done.returncode in REFUSALS else "broken"
                return Result(case.name, status, f"{tool} exit {done.returncode}: {first_error(done.stderr)}")
        return _compare(case, arrays.load(saved))


def first_error(text: str) -> str:
    """The first line that says `error`, else the last line; without the name of the file."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    chosen = next((line for line in lines if "error" in line.lower()), lines[-1] if lines else "no message")
    return chosen[:200]


def general_reason(reason: str) -> str:
    """A reason without quoted names and numbers, to count alike ones together."""
    return re.sub(r"(?<![A-Za-z\d])\d+|(?<=\bx)\d+", "N", re.sub(r"'[^']*'", "'...'", reason))


def read_list(path: Path = PASSING) -> list[str]:
    return path.read_text().split() if path.exists() else []


def read_others(path: Path = OTHERS) -> dict[str, tuple[str, str]]:
    """Status and reason of the cases that do not pass."""
    rows = (line.split("\t") for line in path.read_text().splitlines()) if path.exists() else ()
    return {name: (status, reason) for name, status, reason in rows}


def run_cases(cases: list[node_cases.Case], jobs: int, progress=None) -> list[Result]:
    """Results in the order of `cases`; the tools do the work, so threads suffice."""
    results = []
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        for result in pool.map(run_case, cases):
            results.append(result)
            if progress:
                progress(len(results), len(cases))
    return results


def _compare(case: node_cases.Case, actual: dict) -> Result:
    for name, want in arrays.load(case.outputs).items():
        got = actual.get(name)
        if got is None:
            return Result(case.name, "differs", f"output '{name}' is missing")
        if got.shape != want.shape:
            return Result(case.name, "differs", f"output '{name}': shape {got.shape} instead of {want.shape}")
        if not arrays.close(got, want, case.rtol, case.atol):
            return Result(case.name, "differs", f"output '{name}': values outside rtol {case.rtol:g}, atol {case.atol:g}")
    return Result(case.name, "passed", "")


def print_summary(results: list[Result]) -> None:
    counts = collections.Counter(result.status for result in results)
    for status in ("differs", "broken"):
        for result in results:
            if result.status == status:
                print(f"{status:8} {result.name}: {result.reason}")
    reasons = collections.Counter(general_reason(result.reason) for result in results if result.status == "refused")
    for reason, count in reasons.most_common():
        print(f"refused  x{count}: {reason}")
    print(" ".join(f"{status} {counts[status]}" for status in ("passed", "differs", "refused", "broken")) + f" of {len(results)}")


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m commc.conformance", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--filter", default="", metavar="REGEX", help="only cases whose name matches")
    parser.add_argument("--listed", action="store_true", help="only cases of the list")
    parser.add_argument("--update", action="store_true", help="add newly passing cases to the list")
    parser.add_argument("--report", type=Path, help="write every result with its reason as JSON")
    parser.add_argument("-j", "--jobs", type=int, default=2, help="cases at the same time (default 2)")
    options = parser.parse_args(argv)
    for tool in ("commc", "commrun"):
        tools.find(tool)
    started, listed = time.monotonic(), set(read_list())
    cases = [case for case in node_cases.collect(tools.ROOT / "build" / "conformance")
             if re.search(options.filter, case.name) and (not options.listed or case.name in listed)]

    def progress(done: int, total: int) -> None:
        if sys.stderr.isatty() or done % 200 == 0 or done == total:
            print(f"\r{done}/{total}  {time.monotonic() - started:.0f} s", end="" if sys.stderr.isatty() else "\n", file=sys.stderr)

    results = run_cases(cases, options.jobs, progress)
    print_summary(results)
    if options.report:
        options.report.write_text(json.dumps([result._asdict() for result in results], indent=1) + "\n")
    passed = {result.name for result in results if result.status == "passed"}
    if options.update:
        PASSING.write_text("".join(f"{name}\n" for name in sorted(listed | passed)))
        print(f"{PASSING}: {len(passed - listed)} added, {len(listed | passed)} in all")
        others = read_others() | {result.name: (result.status, re.sub(r"\s+", " ", result.reason)) for result in results}
        rows = sorted((name, *row) for name, row in others.items() if name not in listed | passed)
        OTHERS.write_text("".join("\t".join(row) + "\n" for row in rows))
    lost = sorted(listed & {case.name for case in cases} - passed)
    for name in lost:
        print(f"error: {name} is in the list and does not pass", file=sys.stderr)
    return 1 if lost else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except tools.ToolMissing as missing:
        print(f"error: {missing}", file=sys.stderr)
        sys.exit(2)
