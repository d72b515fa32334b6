"""commc.quantize against numpy: what the written model computes, and what it leaves alone."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from commc import quantize

F = TensorProto.FLOAT


def model_of(nodes, weights, inputs, outputs):
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(*row) for row in inputs], [helper.make_tensor_value_info(*row) for row in outputs],
                              [numpy_helper.from_array(array, name) for name, array in weights.items()])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def two_products(k=40, n=6, extra=()):
    random = np.random.default_rng(3)
    weights = {"w": random.standard_normal((k, n), np.float32), "g": random.standard_normal((5, n), np.float32),
               "b": random.standard_normal(5).astype(np.float32)}
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"], "first"), helper.make_node("Gemm", ["h", "g", "b"], ["y"], "second", transB=1), *extra]
    return model_of(nodes, weights, [("x", F, [2, k])], [("y", F, [2, 5])]), weights


@pytest.mark.parametrize("bits, error", [(4, 1 / 14), (8, 1 / 250)])
@pytest.mark.parametrize("symmetric", [False, True])
@pytest.mark.parametrize("block", [16, 32])
def test_numbers_are_the_nearest(bits, error, symmetric, block):
    matrix = np.random.default_rng(1).standard_normal((75, 9)).astype(np.float32)
    matrix[:, 0] = 0
    matrix[:, 1] = np.abs(matrix[:, 1])
    packed = quantize.quantize(matrix, bits, block, symmetric)
    back = quantize.dequantize(packed, bits, 75)
    blocks = -(-75 // block)
    assert packed.weights.shape == (9, blocks, block * bits // 8) and packed.scales.shape == (9, blocks)
    assert (packed.zero_points is None) == symmetric
    assert np.all(back[:, 0] == 0)
    for b in range(blocks):
        rows = slice(b * block, min(75, (b + 1) * block))
        reach = np.ptp(np.vstack([matrix[rows], np.zeros((1, 9))]), axis=0) if not symmetric else 2 * np.abs(matrix[rows]).max(0)
        assert np.all(np.abs(back[rows] - matrix[rows]) <= reach * error + 1e-6)


def test_products_are_rewritten():
    model, weights = two_products()
    report = quantize.quantize_model(model, 8, 16, accuracy_level=4)
    onnx.checker.check_model(model)
    first, second = model.graph.node
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    assert (report.products, report.others) == (2, 0) and report.bytes_after < report.bytes_before
    assert [first.op_type, second.op_type] == ["MatMulNBits"] * 2 and (first.name, second.name) == ("first", "second")
    assert {a.name: a.i for a in first.attribute} == {"K": 40, "N": 6, "bits": 8, "block_size": 16, "accuracy_level": 4}
    assert second.input[5] == "b" and second.input[4] == "" and "w" not in values and "b" in values
    for node, matrix in ((first, weights["w"]), (second, weights["g"].T)):
        packed = quantize.Packed(*(values[name] for name in node.input[1:4]))
        assert np.abs(quantize.dequantize(packed, 8, matrix.shape[0]) - matrix).max() < 0.02


def test_what_has_other_readers_stays():
    model, _ = two_products(extra=[helper.make_node("Identity", ["w"], ["z"])])
    model.graph.output.append(helper.make_tensor_value_info("z", F, [40, 6]))
    quantize.quantize_model(model, symmetric=True)
    names = [tensor.name for tensor in model.graph.initializer]
    assert "w" in names and "w_q4" in names and "g" not in names and not any(name.endswith("zero_points") for name in names)


def test_a_product_with_an_input_stays():
    model = model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {}, [("x", F, [2, 4]), ("w", F, [4, 3])], [("y", F, [2, 3])])
    assert quantize.quantize_model(model).products == 0 and model.graph.node[0].op_type == "MatMul"


def test_external_data_stays_outside(tmp_path, capsys):
    model, _ = two_products(k=256, n=64)
    onnx.save(model, tmp_path / "a.onnx", save_as_external_data=True, location="a.bin", size_threshold=0)
    for _ in range(2):  # again over what is there
        assert quantize.main([str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), "--bits", "4", "--symmetric"]) == 0
    assert "2 products of 4 bits" in capsys.readouterr().out
    # 256 x 64 numbers of 4 bits and a scale for each 32; the small ones stay in the model.
    assert 64 * 256 // 2 + 64 * 8 * 4 <= (tmp_path / "b.onnx.data").stat().st_size < 2 * 64 * 256 // 2
    onnx.checker.check_model(str(tmp_path / "b.onnx"))


@pytest.mark.parametrize("arguments, part", [(["--block", "24"], "blocks of 24"), (["--bits", "4"], "nothing to quantise")])
def test_refusals_are_one_sentence(arguments, part, tmp_path, capsys):
    model, _ = two_products()
    if "--bits" in arguments:
        model = model_of([helper.make_node("Neg", ["x"], ["y"])], {}, [("x", F, [2])], [("y", F, [2])])
    onnx.save(model, tmp_path / "a.onnx")
    assert quantize.main([str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx"), *arguments]) == 1
    error = capsys.readouterr().err
    assert part in error and error.count("\n") == 1 and not (tmp_path / "b.onnx").exists()


def test_a_missing_model_is_named(tmp_path, capsys):
    assert quantize.main([str(tmp_path / "none.onnx"), str(tmp_path / "b.onnx")]) == 1
    assert "none.onnx" in capsys.readouterr().err
