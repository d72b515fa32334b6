"""The demo's texts: table, explanation, similarity, arguments."""

from pathlib import Path

import numpy as np
import pytest

from commc import tools
from commc.demo import __main__ as demo
from commc.demo import report, sentences
from commc.demo.measure import Row


def row(**changes):
    values = dict(name="m", ranks=1, absolute=0.0, relative=0.0, best_ms=1.0, median_ms=2.0, bytes_sent=2048, executed=3, planned=3,
                  wait_share=0.25, trace=Path("m.json"))
    return Row(**{**values, **changes})


def test_table_has_every_fact():
    line = report.table([row(relative=3e-6, absolute=2e-5, ranks=4)]).splitlines()[1]
    assert line.split() == ["m", "4", "2.0e-05", "3.0e-06", "1.00", "2.00", "2.0", "KiB", "3", "of", "3", "25", "%", "ok"]


@pytest.mark.parametrize("changes", [{"relative": 2e-4}, {"relative": float("inf")}, {"executed": 2}])
def test_failures_are_named(changes):
    assert "FAILED" in report.table([row(**changes)])
    assert len(report.failures([row(), row(**changes)])) == 1


def test_explanation_uses_the_measured_numbers():
    rows = [row(median_ms=4.0), row(ranks=2, median_ms=3.0), row(ranks=4, median_ms=9.0, wait_share=0.5)]
    text = report.explain_many_ranks(rows, available=2)
    assert "2 cores for 4 ranks" in text and "4 ranks are 3.0 times slower than 2 (9.00 against 3.00 ms; waiting 50 %)" in text
    assert "times faster" in report.explain_many_ranks([rows[0], row(ranks=4, median_ms=2.0)], available=2)
    assert report.explain_many_ranks(rows, available=4) == ""


def test_size():
    assert [report.size(n) for n in (0, 1023, 1536, 3 << 20, 5 << 30)] == ["0 B", "1023 B", "1.5 KiB", "3.0 MiB", "5.0 GiB"]


def test_similarity_names_the_closest_pair():
    vectors = np.array([[1, 0], [0.6, 0.8], [0, 1]], np.float32)
    text = sentences.similarity_text(["a", "b", "c" * 100], vectors)
    assert "closest pair: 1 and 2 (0.800)" in text and "c" * 100 not in text
    assert "closest" not in sentences.similarity_text(["a"], vectors[:1])


def test_arguments():
    assert demo.parse([]).sentences == sentences.DEFAULT and demo.parse(["x", "--ranks", "2,3"]).ranks == [2, 3]
    for wrong in (["--ranks", "0"], ["--ranks", "two"], ["--iterations", "0"]):
        with pytest.raises(SystemExit) as ended:
            demo.parse(wrong)
        assert ended.value.code == 2


def test_missing_tool_gives_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("COMMC_BIN", str(tmp_path))
    assert demo.main(["--folder", str(tmp_path)]) == tools.EXIT["usage"]
    assert "commc not found" in capsys.readouterr().err
