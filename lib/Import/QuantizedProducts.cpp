//===- QuantizedProducts.cpp - products with a dequantised weight ---------===//
// Matches   MatMul(x, DequantizeLinear(w, scale, zero?)), Gemm(x, DequantizeLinear(..), bias?) with w a matrix of 4- or
//           8-bit integers in the file, one scale for all, per column, or per block of rows
// Rewrites  commc::QuantizedMatMul(x, w, scale, zero, bias), which never expands w
// Skips     weights with other readers, scales along the summed dimension, unsigned integers without a zero point,
//           blocks that are no multiple of 16 or do not divide the rows, 4-bit rows that share a byte
//===----------------------------------------------------------------------===//
#include "Read.h"
#include <algorithm>
#include <unordered_map>

namespace mlir::comm::onnx {
namespace {
int64_t intOf(const Node &node, const char *name, int64_t otherwise) {
  const Attribute *attribute = node.find(name);
  return attribute ? attribute->i : otherwise;
}
bool isOne(const Node &node, const char *name) {
  const Attribute *attribute = node.find(name);
  return !attribute || attribute->f == 1;
}
Attribute intAttribute(const char *name, int64_t value) {
  Attribute attribute;
  attribute.name = name;
  attribute.kind = Attribute::IntKind;
  attribute.i = value;
  return attribute;
}

class Matcher {
public:
  explicit Matcher(Graph &graph) : graph(graph) {
    for (const ValueInfo &output : graph.outputs)
      ++readers[output.name];
    for (size_t i = 0; i < graph.nodes.size(); ++i) {
      for (const std::string &input : graph.nodes[i].inputs)
        ++readers[input];
      for (const std::string &output : graph.nodes[i].outputs)
        producer[output] = i;
      for (const Attribute &attribute : graph.nodes[i].attributes)
        hasBodies |= attribute.graph != nullptr;
    }
    for (const Tensor &tensor : graph.initializers)
      tensors[tensor.name] = &tensor;
    for (const ValueInfo &input : graph.inputs) // may be replaced by the caller
      tensors.erase(input.name);
  }

  void run() {
    if (hasBodies) // which read what they like
      return;
    std::vector<bool> dead(graph.nodes.size(), false);
    for (Node &node : graph.nodes)
      if (size_t made = 0; rewrite(node, made))
        dead[made] = true;
    std::vector<Node> kept;
    for (size_t i = 0; i < graph.nodes.size(); ++i)
      if (!dead[i])
        kept.push_back(std::move(graph.nodes[i]));
    graph.nodes = std::move(kept);
  }

private:
  const Tensor *tensorOf(const Node &node, size_t index) const {
    auto found = index < node.inputs.size() ? tensors.find(node.inputs[index]) : tensors.end();
    return found == tensors.end() ? nullptr : found->second;
  }

  /// Numbers of k that share a scale; 0 when the scales do not lie so.
  static int64_t blockOf(const Node &dequantize, const Tensor &w, const Tensor &scale, bool kMajor) {
    int64_t k = w.dims[kMajor ? 0 : 1], n = w.dims[kMajor ? 1 : 0], block = intOf(dequantize, "block_size", 0);
    int64_t axis = intOf(dequantize, "axis", 1);
    axis += axis < 0 ? 2 : 0;
    if (block > 0) {
      std::vector<int64_t> blocks = kMajor ? std::vector<int64_t>{k / block, n} : std::vector<int64_t>{n, k / block};
      bool fits =
          axis == (kMajor ? 0 : 1) && block % 16 == 0 && block <= 1024 && k % block == 0 && scale.dims == blocks;
      return fits ? block : 0;
    }
    bool perColumn = scale.dims == std::vector<int64_t>{n} && axis == (kMajor ? 1 : 0);
    if (scale.getNumElements() != 1 && !perColumn)
      return 0;
    for (int64_t size : {128, 64, 32, 16})
      if (k % size == 0)
        return size;
    return 0;
  }

  /// Turns a product into a quantised one and says which node it has made superfluous.
  bool rewrite(Node &product, size_t &made) const {
    bool gemm = product.op == "Gemm";
    if (!product.domain.empty() || (!gemm && product.op != "MatMul") || product.inputs.size() < 2)
      return false;
    if (gemm && (intOf(product, "transA", 0) != 0 || !isOne(product, "alpha") || !isOne(product, "beta")))
      return false;
    auto found = producer.find(product.inputs[1]);
    if (found == producer.end() || readers.at(product.inputs[1]) != 1)
      return false;
    const Node &dequantize = graph.nodes[found->second];
    if (dequantize.op != "DequantizeLinear" || (!dequantize.domain.empty() && dequantize.domain != "com.microsoft") ||
        dequantize.inputs.size() < 2)
      return false;
    const Tensor *w = tensorOf(dequantize, 0), *scale = tensorOf(dequantize, 1), *zero = tensorOf(dequantize, 2);
    bool hasZero = dequantize.inputs.size() > 2 && !dequantize.inputs[2].empty();
    if (!w || !scale || w->file.empty() || w->dims.size() != 2 || w->getNumElements() == 0 ||
        (hasZero && (!zero || zero->file.empty() || zero->dataType != w->dataType || zero->dims != scale->dims)))
      return false;
    bool four = w->dataType == Int4 || w->dataType == Uint4, isSigned = w->dataType == Int8 || w->dataType == Int4;
    bool half = scale->dataType == Float16 || scale->dataType == BFloat16;
    int64_t type = intOf(dequantize, "output_dtype", 0);
    if ((!four && w->dataType != Int8 && w->dataType != Uint8) || (!half && scale->dataType != Float) ||
        (!isSigned && !hasZero) || (type != 0 && type != scale->dataType))
      return false;
    bool kMajor = !gemm || intOf(product, "transB", 0) == 0;
    int64_t block = blockOf(dequantize, *w, *scale, kMajor), perRow = scale->dims.empty() ? 1 : scale->dims.back();
    // Bytes of 4-bit integers run on from row to row: rows of an even number, or a single one, begin with a byte.
    bool startsByte = w->dims[1] % 2 == 0 && (!hasZero || scale->getNumElements() == 1 ||
                                              (perRow % 2 == 0 && (scale->dims.size() == 2 || kMajor)));
    if (block == 0 || (four && !startsByte))
      return false;
    product.inputs = {product.inputs[0], dequantize.inputs[0], dequantize.inputs[1],
                      hasZero ? dequantize.inputs[2] : "", product.inputs.size() > 2 ? product.inputs[2] : ""};
    product.attributes = {intAttribute("block", block), intAttribute("k_major", kMajor)};
    product.domain = "commc";
    product.op = "QuantizedMatMul";
    made = found->second;
    return true;
  }

  Graph &graph;
  bool hasBodies = false;
  std::unordered_map<std::string, size_t> producer;
  std::unordered_map<std::string, int64_t> readers;
  std::unordered_map<std::string, const Tensor *> tensors;
};
} // namespace

void findQuantizedProducts(Model &model) { Matcher(model.graph).run(); }

} // namespace mlir::comm::onnx
