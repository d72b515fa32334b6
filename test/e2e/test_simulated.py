"""The simulator and the scheduler ask one cost model: the same program takes the same time in both."""

import pytest
from command_line import commc

from commc import tools
from commc.generators import bert, llama

BLOCKS = llama.Config(hidden=256, heads=8, kv_heads=4, layers=2, inter=704, bare=True, batch=1, sequence=128)
ENCODER = bert.Config(hidden=128, heads=4, layers=2, inter=512, vocab=512, positions=128, batch=2, sequence=64)


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("simulated")
    return {"llama": llama.build(BLOCKS, folder / "llama", external=True), "bert": bert.build(ENCODER, folder / "bert", external=True)}


# On a GPU these small kernels are launches, and the scheduler thinks of a few more ops as joined than the lowering joins.
MACHINES = {"cpu": ((), 0.02), "1Gbit": (("--link=1Gbit,50us",), 0.02), "h100": (("--topology=h100_sxm",), 0.06)}


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("plan", ["--overlap=off", "--plan=plain", "--plan=split"])
@pytest.mark.parametrize("name", ["llama", "bert"])
def test_agrees_with_the_scheduler(tmp_path, home, models, name, plan, machine):
    flags, share = MACHINES[machine]
    executable = tmp_path / "m.commx"
    tools.compile_model(models[name], executable, 2, [], plan, *flags, "-q")
    said = tools.json_output(commc("inspect", executable, "--json"))["predictions"]
    simulated = tools.json_output(commc("simulate", executable, "--json", *flags))["entries"][0]
    assert simulated["step_us"] == pytest.approx(said["step_us.main"], rel=share)
    # What a collective takes from the compute beside it, and a norm that is fused with one, is compute to the one and communication to the other.
    both = said["compute_us.main"] + said["exposed_us.main"]
    assert simulated["compute_us"] + simulated["exposed_us"] == pytest.approx(both, rel=share)
    assert simulated["compute_us"] == pytest.approx(said["compute_us.main"], rel=0.15)
