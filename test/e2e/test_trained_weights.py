"""The sentence encoder with its trained weights, on several ranks, against PyTorch's own results; and the demo as a user runs it."""

import pytest
from harness import RELATIVE, assert_within

from commc import arrays, tools
from commc.demo import __main__ as demo
from commc.demo import measure
from commc.exporters import minilm

REFERENCE = tools.ROOT / "test" / "data" / "minilm_reference"


@pytest.fixture(scope="module")
def source():
    folder = demo.find_source(tools.ROOT / "build" / "demo")
    if folder is None:
        pytest.skip("the trained weights are not installed (84 MB; ./demo.sh installs them)")
    return folder


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_equals_pytorch(ranks, source, lab):
    folder = lab.folder / "minilm"
    model = folder / "model.onnx" if folder.exists() else minilm.export(source, folder)
    actual = lab.outputs(model, ranks, [REFERENCE / "inputs.npz"])
    assert_within(actual, [arrays.load(REFERENCE / "outputs.npz")], relative=RELATIVE)


@pytest.fixture(scope="module")
def demo_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


def run_demo(folder, *extra):
    return demo.main(["--folder", str(folder), "--ranks", "1,2", "--iterations", "2", *extra])


def test_demo(source, demo_folder, home, capsys):
    if demo.find_source(demo_folder) is None:
        (demo_folder / "download").mkdir()
        (demo_folder / "download" / "minilm").symlink_to(source)
    assert run_demo(demo_folder, "one sentence", "another sentence", "and prime numbers") == 0
    printed = capsys.readouterr()
    rows = [line.split() for line in printed.out.splitlines() if line.endswith("ok")]
    assert len(rows) == 6, printed.out
    assert "closest pair: 0 and 1" in printed.out
    assert "downloads  nothing" in printed.err and str(demo_folder) in printed.err
    assert len(list(demo_folder.glob("*.trace.json"))) == 6


def test_demo_fails_when_a_tolerance_fails(source, demo_folder, home, capsys, monkeypatch):
    monkeypatch.setattr(measure, "TOLERANCE", -1.0)
    assert run_demo(demo_folder) == tools.EXIT["mismatch"]
    printed = capsys.readouterr()
    assert "FAILED" in printed.out and "differs from ONNX Runtime" in printed.err
    assert "used again" in printed.err
