//===- GroupedProducts.cpp - products of rows sorted by expert ------------===//
// Matches   Concat(axis 0) of MatMul(Gather(x, Range(a, b, 1)), w), one per expert, where every range begins at the end
//           of the one before
// Rewrites  commc::GroupedMatMul(x, step, first, ends.., weights..), whose shape does not depend on the data
// Skips     other readers of the parts; they stay and are refused where their shape is not known
// The rows that the ranges leave out have no row in the Concat either: its readers' shapes say that there are none.
//===----------------------------------------------------------------------===//
#include "Read.h"
#include <algorithm>
#include <unordered_map>

namespace mlir::comm::onnx {
namespace {
int64_t axisOf(const Node &node, int64_t otherwise) {
  const Attribute *axis = node.find("axis");
  return axis ? axis->i : otherwise;
}

struct Matcher {
  Graph &graph;
  std::unordered_map<std::string, size_t> producer;

  explicit Matcher(Graph &graph) : graph(graph) {
    for (size_t i = 0; i < graph.nodes.size(); ++i)
      for (const std::string &output : graph.nodes[i].outputs)
        producer[output] = i;
  }
  const Node *made(const std::string &name, const char *op, size_t inputs) const {
    auto found = producer.find(name);
    if (found == producer.end())
      return nullptr;
    const Node &node = graph.nodes[found->second];
    return node.domain.empty() && node.op == op && node.inputs.size() == inputs ? &node : nullptr;
  }

  /// Turns the node into a grouped product; false, and nothing changed, when it is none.
  bool rewrite(Node &concat) const {
    if (!concat.domain.empty() || concat.op != "Concat" || axisOf(concat, 1) != 0 || concat.inputs.size() < 2)
      return false;
    std::string rows, step, first;
    std::vector<std::string> ends, weights;
    for (const std::string &part : concat.inputs) {
      const Node *product = made(part, "MatMul", 2);
      const Node *gather = product ? made(product->inputs[0], "Gather", 2) : nullptr;
      const Node *range = gather && axisOf(*gather, 0) == 0 ? made(gather->inputs[1], "Range", 3) : nullptr;
      if (!range)
        return false;
      bool begins = ends.empty();
      if (!begins && (gather->inputs[0] != rows || range->inputs[2] != step || range->inputs[0] != ends.back()))
        return false;
      if (begins) {
        rows = gather->inputs[0];
        step = range->inputs[2];
        first = range->inputs[0];
      }
      ends.push_back(range->inputs[1]);
      weights.push_back(product->inputs[1]);
    }
    concat.domain = "commc";
    concat.op = "GroupedMatMul";
    concat.attributes.clear();
    concat.inputs = {rows, step, first};
    concat.inputs.insert(concat.inputs.end(), ends.begin(), ends.end());
    concat.inputs.insert(concat.inputs.end(), weights.begin(), weights.end());
    return true;
  }
};

/// Drops products, gathers and ranges that nobody reads.
void dropUnread(Graph &graph) {
  std::unordered_map<std::string, int64_t> readers;
  for (const ValueInfo &output : graph.outputs)
    ++readers[output.name];
  for (const Node &node : graph.nodes) {
    for (const std::string &input : node.inputs)
      ++readers[input];
    for (const Attribute &attribute : node.attributes)
      if (attribute.graph)
        return; // bodies read what they like
  }
  std::vector<bool> dead(graph.nodes.size(), false);
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node &node = graph.nodes[i];
    bool kind = node.op == "MatMul" || node.op == "Gather" || node.op == "Range";
    if (!kind || std::any_of(node.outputs.begin(), node.outputs.end(),
                             [&](const std::string &output) { return readers[output] > 0; }))
      continue;
    dead[i] = true;
    for (const std::string &input : node.inputs)
      --readers[input];
  }
  std::vector<Node> kept;
  for (size_t i = 0; i < graph.nodes.size(); ++i)
    if (!dead[i])
      kept.push_back(std::move(graph.nodes[i]));
  graph.nodes = std::move(kept);
}
} // namespace

void findGroupedProducts(Model &model) {
  Matcher matcher(model.graph);
  bool found = false;
  for (Node &node : model.graph.nodes)
    found |= matcher.rewrite(node);
  if (found)
    dropUnread(model.graph);
}

} // namespace mlir::comm::onnx
