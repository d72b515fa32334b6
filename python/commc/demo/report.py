"""The demo's table and the sentences below it."""

from __future__ import annotations

import os
from pathlib import Path

from commc.demo import measure
from commc.demo.measure import Row

HEADER = ("model", "ranks", "max abs", "max rel", "best ms", "median ms", "sent/rank", "collectives", "waiting", "")


def cores() -> int:
    """CPU cores this process may really use: its affinity, and its control group's quota where there is one."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        if quota != "max":
            count = min(count, max(1, int(quota) // int(period)))
    except (OSError, ValueError):
        pass
    return count


def table(rows: list[Row]) -> str:
    """One line per row; `max rel` is max|d| / max|reference|, `waiting` the share of time spent waiting for communication."""
    cells = [HEADER]
    for row in rows:
        cells.append((row.name, str(row.ranks), f"{row.absolute:.1e}", f"{row.relative:.1e}", f"{row.best_ms:.2f}", f"{row.median_ms:.2f}",
                      size(row.bytes_sent), f"{row.executed} of {row.planned}", f"{100 * row.wait_share:.0f} %", "ok" if row.ok else "FAILED"))
    widths = [max(len(line[column]) for line in cells) for column in range(len(HEADER))]
    return "\n".join("  ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                               for column, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in cells)


def size(count: int) -> str:
    """Bytes for people: 0 B, 12.0 KiB, 1.5 MiB."""
    value = float(count)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


def failures(rows: list[Row]) -> list[str]:
    """A sentence per line of the table that is not as it should be."""
    sentences = []
    for row in rows:
        if not row.relative <= measure.TOLERANCE:
            sentences.append(f"{row.name} on {row.ranks} ranks differs from ONNX Runtime by {row.relative:.1e} of the largest value; "
                             f"allowed {measure.TOLERANCE:.0e}")
        if row.executed != row.planned:
            sentences.append(f"{row.name} on {row.ranks} ranks executed {row.executed} collectives of {row.planned} planned")
    return sentences


def explain_many_ranks(rows: list[Row], available: int) -> str:
    """Why ranks beyond the number of cores do not help, with the measured numbers; empty when there are cores for all."""
    lines = []
    for name in dict.fromkeys(row.name for row in rows):
        mine = [row for row in rows if row.name == name]
        over = [row for row in mine if row.ranks > available]
        within = [row for row in mine if row.ranks <= available]
        if over and within:
            best, most = min(within, key=lambda row: row.median_ms), over[-1]
            word = "slower" if most.median_ms > best.median_ms else "faster"
            factor = max(most.median_ms, best.median_ms) / max(min(most.median_ms, best.median_ms), 1e-9)
            lines.append(f"  {name}: {most.ranks} ranks are {factor:.1f} times {word} than {best.ranks} "
                         f"({most.median_ms:.2f} against {best.median_ms:.2f} ms; waiting {100 * most.wait_share:.0f} %)")
    if not lines:
        return ""
    most = max(row.ranks for row in rows)
    text = (f"This machine has {available} core{'s' if available > 1 else ''} for {most} ranks. The work is the same, so more ranks than cores cannot "
            f"finish it sooner: at any\nmoment only {available} of {most} ranks compute and the others wait for a core. Every collective ends when the "
            "last rank has arrived, so each one\nalso waits for the operating system to give every rank its turn. With a core per rank that cost is gone.")
    return "\n".join([text, *lines])
