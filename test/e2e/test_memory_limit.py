"""A memory limit is kept: other orders and other placements of the buffers are tried before a model is refused."""

import re

import pytest
from command_line import commc, commrun, one_error

from commc import tools
from commc.generators import bert, llama

BLOCKS = llama.Config(hidden=256, heads=8, kv_heads=4, layers=4, inter=704, bare=True, batch=1, sequence=256)
ENCODER = bert.Config(hidden=128, heads=4, layers=4, inter=512, vocab=512, positions=128, batch=2, sequence=128)
PLAN = ("--plan=split", "--link=1Gbit,50us")


@pytest.fixture(scope="module", params=["llama", "bert"])
def model(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    return llama.build(BLOCKS, folder, external=True) if request.param == "llama" else bert.build(ENCODER, folder, external=True)


def predictions(executable) -> dict:
    return tools.json_output(commc("inspect", executable, "--json"))["predictions"]


def test_less_than_the_first_placement(tmp_path, home, model):
    free, tight = tmp_path / "free.commx", tmp_path / "tight.commx"
    tools.compile_model(model, free, 2, [], *PLAN, "-q")
    said = predictions(free)
    # A tenth of the arena less than without a limit; the numbers are the same.
    limit = int(said["peak_bytes_per_rank"] - 0.1 * said["arena_bytes_per_rank"])
    tools.compile_model(model, tight, 2, [], *PLAN, f"--memory={limit}", "-q")
    assert predictions(tight)["peak_bytes_per_rank"] <= limit
    assert commrun(tight, "--verify").returncode == 0


def test_too_little(tmp_path, home, model):
    free = tmp_path / "free.commx"
    tools.compile_model(model, free, 2, [], *PLAN, "-q")
    said = predictions(free)
    limit = int(said["peak_bytes_per_rank"] - 0.9 * said["arena_bytes_per_rank"])
    text = one_error(commc(model, "--devices=cpu:2", *PLAN, f"--memory={limit}", "-q", "-o", tmp_path / "m.commx"), "does_not_fit")
    assert "E501" in text and "raise the limit to" in text


def test_larger_limit_is_not_refused(tmp_path, home, model):
    """From a limit that is too small to one that is ample: refused below, accepted above."""
    free = tmp_path / "free.commx"
    tools.compile_model(model, free, 2, [], *PLAN, "-q")
    said = predictions(free)
    accepted = []
    for percent in (-60, -36, -24, -12, 0):
        limit = int(said["peak_bytes_per_rank"] + percent / 100 * said["arena_bytes_per_rank"])
        done = commc(model, "--devices=cpu:2", *PLAN, f"--memory={limit}", "-q", "--stop-after=lower", "-o", tmp_path / "m.mlir")
        assert done.returncode in (0, tools.EXIT["does_not_fit"]), done.stderr
        accepted.append(done.returncode == 0)
    assert accepted == sorted(accepted) and accepted[-1] and not accepted[0], accepted


def test_right_operands_count_as_they_are_packed(tmp_path, home, model):
    """In 16 bits the same weights need less; what the refusal asks for is enough, and a byte less is not."""
    for extra in ((), ("--precision=bf16",)):
        limited = tmp_path / f"{len(extra)}.commx"
        text = one_error(commc(model, "--devices=cpu:2", *PLAN, *extra, "--memory=1000000", "-q", "-o", limited), "does_not_fit")
        limit = int(re.search(r"raise the limit to (\d+) bytes", text)[1])
        tools.compile_model(model, limited, 2, [], *PLAN, *extra, f"--memory={limit}", "-q")
        assert predictions(limited)["peak_bytes_per_rank"] <= limit
    limits = [predictions(tmp_path / f"{number}.commx") for number in (0, 1)]
    assert limits[1]["weight_bytes_per_rank"] < 0.75 * limits[0]["weight_bytes_per_rank"]
