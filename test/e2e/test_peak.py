"""The peak of a rank is what the compiler said, to both sides: weights as kernels hold them, arena, inputs and outputs, and what loading takes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from test_memory import rank_processes

from commc import runtime, tools

TOKENS, HIDDEN = 16, 1000  # no multiple of a panel
WITHIN = 0.05
# How products hold their weights, layers for some 100 MB, sizes, options of commc.
CASES = {
    "f32": ("dense", 3, {"inner": 4000}, []),
    "bf16": ("dense", 6, {"inner": 4000}, ["--precision=bf16"]),
    "f16": ("dense", 6, {"inner": 4000}, ["--precision=f16"]),
    "int4": ("int4", 16, {"inner": 4000}, []),
    "experts": ("experts", 2, {"inner": 2000, "experts": 4}, []),
}


def noise(*shape):
    """Numbers that repeat: drawing all of them would take longer than everything else."""
    return np.resize(np.random.default_rng(1).standard_normal(1 << 18, np.float32) / 30, shape)


def model_of(folder, kind, layers, inner, experts=0):
    """Rows of a table through layers of two products each."""
    nodes, weights = [helper.make_node("Gather", ["table", "tokens"], ["x0"])], {"table": noise(4096, HIDDEN)}

    def product(x, y, name, k, n):
        if kind == "int4":
            numbers = np.resize(np.random.default_rng(2).integers(0, 256, 1 << 18, np.uint8), (n, (k + 31) // 32, 16))
            weights[name], weights[f"{name}_scales"] = numbers, noise(n * ((k + 31) // 32))
            nodes.append(helper.make_node("MatMulNBits", [x, name, f"{name}_scales"], [y], domain="com.microsoft", K=k, N=n, bits=4, block_size=32))
        else:
            weights[name] = noise(k, n)
            nodes.append(helper.make_node("MatMul", [x, name], [y]))

    for i in range(layers):
        if kind == "experts":
            weights |= {f"router{i}": noise(HIDDEN, experts), f"up{i}": noise(experts, inner, HIDDEN), f"down{i}": noise(experts, HIDDEN, inner)}
            nodes.append(helper.make_node("MatMul", [f"x{i}", f"router{i}"], [f"p{i}"]))
            nodes.append(helper.make_node("MoE", [f"x{i}", f"p{i}", f"up{i}", "", f"down{i}"], [f"y{i}"], domain="com.microsoft", k=2, activation_type="relu"))
        else:
            product(f"x{i}", f"u{i}", f"up{i}", HIDDEN, inner)
            nodes.append(helper.make_node("Relu", [f"u{i}"], [f"h{i}"]))
            product(f"h{i}", f"y{i}", f"down{i}", inner, HIDDEN)
        nodes.append(helper.make_node("Add", [f"x{i}", f"y{i}"], [f"x{i + 1}"]))
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("tokens", TensorProto.INT64, [TOKENS])],
                              [helper.make_tensor_value_info(f"x{layers}", TensorProto.FLOAT, [TOKENS, HIDDEN])],
                              initializer=[numpy_helper.from_array(value, name) for name, value in weights.items()])
    path = folder / "model.onnx"
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path, save_as_external_data=True, location="model.data")
    return path


@pytest.fixture(scope="module", params=CASES)
def case(request, tmp_path_factory, home):
    kind, layers, sizes, options = CASES[request.param]
    folder = tmp_path_factory.mktemp(request.param)
    yield model_of(folder, kind, layers, **sizes), options
    for path in folder.rglob("*"):
        if path.is_file():
            path.unlink()  # hundreds of megabytes


@pytest.mark.parametrize("ranks, threads", [(1, 1), (1, 2), (2, 1)])
def test_peak_is_as_predicted(ranks, threads, case):
    model, options = case
    target = model.parent / f"{ranks}-{threads}.commx"
    tools.compile_model(model, target, ranks, [], *options)
    said = tools.json_output(tools.run("commc", "inspect", target, "--json"))["predictions"]
    own = said["runtime_bytes_per_rank"]
    assert own < 8 << 20 and said["peak_bytes_per_rank"] >= said["held_bytes_per_rank"] > (30 << 20)
    # Weights that are read as they are stored lie in the mapped file: the table.
    assert said["mapped_bytes_per_rank"] == pytest.approx(4096 * HIDDEN * 4 / ranks, rel=WITHIN)
    for start, memory in (("packs", "peak_bytes_per_rank"), ("reads", "held_bytes_per_rank")):
        with runtime.Session(runtime.Executable(target), threads=threads) as session:
            for _ in range(3):
                session.run({"tokens": np.arange(TOKENS, dtype=np.int64)})
            stats = session.stats()
            assert ranks == 1 or len(rank_processes()) == ranks
        assert (stats["weight_bytes_read"] > 0) == (start == "reads"), stats
        assert stats["weight_bytes"] == pytest.approx(said["weight_bytes_per_rank"], rel=WITHIN)
        assert stats["peak_bytes"] == pytest.approx(said[memory] + own, rel=WITHIN), (start, stats, said)
