"""The runner of the ONNX node tests, with tools replaced by stand-ins."""

import subprocess

import numpy as np
import pytest

from commc import arrays, conformance, node_cases, tools


@pytest.fixture
def case(tmp_path):
    arrays.save(tmp_path / "outputs.npz", {"y": np.array([1.0, 2.0], np.float32)})
    return node_cases.Case("test_x", tmp_path / "model.onnx", tmp_path / "inputs.npz", tmp_path / "outputs.npz", 1e-3, 1e-7, "")


def stand_in(monkeypatch, code=0, error="", value=None, late=False):
    def run(name, *arguments, **_):
        if late:
            raise subprocess.TimeoutExpired(name, 1)
        if name == "commrun" and value is not None:
            arrays.save(arguments[-1], value)
        return subprocess.CompletedProcess([name], code, "", error)

    monkeypatch.setattr(tools, "run", run)


@pytest.mark.parametrize("value, status", [
    ([1.0, 2.0], "passed"), ([1.0, 2.0019], "passed"), ([1.0, 2.1], "differs"), ([1.0, np.nan], "differs"), ([1.0], "differs"),
])
def test_comparison(case, monkeypatch, value, status):
    stand_in(monkeypatch, value={"y": np.array(value, np.float32)})
    assert conformance.run_case(case).status == status


def test_missing_output_differs(case, monkeypatch):
    stand_in(monkeypatch, value={"z": np.zeros(2, np.float32)})
    assert conformance.run_case(case).status == "differs"


@pytest.mark.parametrize("code, status", [(4, "refused"), (3, "refused"), (1, "broken"), (-11, "broken"), (7, "broken")])
def test_exit_codes(case, monkeypatch, code, status):
    stand_in(monkeypatch, code=code, error="[1/6] import\nerror[E401]: Foo is not supported\n  at x\n")
    result = conformance.run_case(case)
    assert result.status == status and "Foo is not supported" in result.reason


def test_late_and_unfit(case, monkeypatch):
    stand_in(monkeypatch, late=True)
    assert conformance.run_case(case).status == "broken"
    assert conformance.run_case(case._replace(unfit="values of kind sequence")) == ("test_x", "refused", "values of kind sequence")


@pytest.fixture
def listing(tmp_path, monkeypatch, case):
    path = tmp_path / "passing.txt"
    monkeypatch.setattr(conformance, "PASSING", path)
    monkeypatch.setattr(conformance, "read_list", lambda: path.read_text().split() if path.exists() else [])
    monkeypatch.setattr(tools, "find", lambda name: name)
    monkeypatch.setattr(node_cases, "collect", lambda _: [case])
    return path


def test_the_list_grows_and_never_shrinks(listing, monkeypatch):
    stand_in(monkeypatch, value={"y": np.array([1.0, 2.0], np.float32)})
    assert conformance.main([]) == 0 and not listing.exists()
    assert conformance.main(["--update"]) == 0 and listing.read_text() == "test_x\n"
    stand_in(monkeypatch, code=4, error="error: no")
    assert conformance.main(["--update"]) == 1 and listing.read_text() == "test_x\n"


def test_collecting_writes_once(tmp_path):
    cases = node_cases.collect(tmp_path)
    assert len(cases) > 1800 and [case.name for case in cases] == sorted(case.name for case in cases)
    relu = next(case for case in cases if case.name == "test_relu")
    assert (arrays.load(relu.outputs)["y"] == np.maximum(arrays.load(relu.inputs)["x"], 0)).all()
    assert any("sequence" in case.unfit for case in cases)
    stamp = relu.model.stat().st_mtime_ns
    assert node_cases.collect(tmp_path) == cases and relu.model.stat().st_mtime_ns == stamp
