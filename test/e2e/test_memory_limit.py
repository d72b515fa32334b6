"""A memory limit is kept: other orders and other placements of the buffers are tried before a model is refused."""

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
