"""The ONNX node tests of the checked-in list pass."""

import pytest

from commc import conformance, node_cases, tools


def test_the_list_is_sorted_and_known():
    listed = conformance.read_list()
    assert listed == sorted(set(listed))
    known = {case.name for case in node_cases.collect(tools.ROOT / "build" / "conformance")}
    others = conformance.read_others()
    assert set(listed) | set(others) == known and not set(listed) & set(others)
    assert all(status in ("differs", "refused") and reason for status, reason in others.values())


@pytest.mark.slow
def test_listed_cases_pass(home):
    listed = set(conformance.read_list())
    cases = [case for case in node_cases.collect(tools.ROOT / "build" / "conformance") if case.name in listed]
    lost = [result for result in conformance.run_cases(cases, jobs=2) if result.status != "passed"]
    assert not lost, "\n".join(f"{result.name}: {result.status}, {result.reason}" for result in lost)
