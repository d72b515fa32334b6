//===- Inline.cpp - model-local functions ---------------------------------===//
// A call becomes the nodes of its function: names get the call's prefix, attributes are bound by ref_attr_name,
// subgraphs follow.
//===----------------------------------------------------------------------===//
#include "Read.h"
#include <unordered_map>

namespace mlir::comm::onnx {
namespace {
constexpr int kMaxDepth = 32;
// Functions that call functions can grow a small file without bound, or call what is empty for ever.
constexpr size_t kMaxNodes = 500000;
constexpr size_t kMaxBytes = size_t(1) << 30; ///< of names and attributes

/// About what a copy of the node takes.
size_t bytesOf(const Node &node) {
  size_t bytes = sizeof(Node) + node.name.size();
  for (const std::vector<std::string> *names : {&node.inputs, &node.outputs})
    for (const std::string &name : *names)
      bytes += sizeof(name) + name.size();
  for (const Attribute &attribute : node.attributes) {
    bytes += sizeof(attribute) + attribute.name.size() + attribute.s.size() + attribute.floats.size() * sizeof(float) +
             attribute.ints.size() * sizeof(int64_t) + attribute.strings.size() * sizeof(std::string);
    for (const std::string &text : attribute.strings)
      bytes += text.size();
    if (!attribute.graph)
      continue;
    for (const Node &inner : attribute.graph->nodes)
      bytes += bytesOf(inner);
    for (const std::vector<ValueInfo> *values : {&attribute.graph->inputs, &attribute.graph->outputs})
      for (const ValueInfo &value : *values)
        bytes += sizeof(value) + value.name.size() + value.dims.size() * sizeof(Dim);
    for (const Tensor &tensor : attribute.graph->initializers)
      bytes += sizeof(tensor) + tensor.inlined.size() + tensor.dims.size() * sizeof(int64_t);
  }
  return bytes;
}

struct Inliner {
  Model &model;
  Complaints &complaints;
  std::unordered_map<std::string, const Function *> functions;
  std::vector<Node> result;
  size_t counter = 0, bytes = 0;

  bool isTooMuch() const { return result.size() > kMaxNodes || counter > kMaxNodes || bytes > kMaxBytes; }
  static std::string key(const std::string &domain, const std::string &name, const std::string &overload) {
    return domain + "\1" + name + "\1" + overload;
  }
  void complain(const char *code, std::string what, const Node &node) {
    if (complaints.size() < 20)
      complaints.push_back({code, std::move(what), node.describe(), ""});
  }

  void setOpsets(std::vector<Node> &nodes, const std::map<std::string, int64_t> &opsets) {
    for (Node &node : nodes) {
      auto found = opsets.find(node.domain);
      if (found != opsets.end())
        node.opset = found->second;
      else if (node.domain.empty())
        complain("E301", "the default opset is used but not imported", node);
      else
        node.opset = 1; // com.microsoft and the like are often left out of the imports
      for (Attribute &attribute : node.attributes)
        if (attribute.graph)
          setOpsets(attribute.graph->nodes, opsets);
    }
  }

  using Names = std::unordered_map<std::string, std::string>;
  static std::string rename(const std::string &name, const Names &names, const std::string &prefix) {
    if (name.empty())
      return name;
    auto found = names.find(name);
    return found != names.end() ? found->second : prefix + name;
  }
  void bind(Node &node, const Node &call, const Function &function, const Names &names, const std::string &prefix) {
    for (std::string &input : node.inputs)
      input = rename(input, names, prefix);
    for (std::string &output : node.outputs)
      output = rename(output, names, prefix);
    node.name = prefix + node.name;
    std::vector<Attribute> bound;
    for (Attribute &attribute : node.attributes) {
      if (attribute.graph) {
        attribute.graph = std::make_shared<Graph>(*attribute.graph);
        for (Node &inner : attribute.graph->nodes)
          bind(inner, call, function, names, prefix);
        for (std::vector<ValueInfo> *values : {&attribute.graph->inputs, &attribute.graph->outputs})
          for (ValueInfo &value : *values)
            value.name = rename(value.name, names, prefix);
        for (Tensor &initializer : attribute.graph->initializers)
          initializer.name = rename(initializer.name, names, prefix);
      }
      if (attribute.refAttrName.empty()) {
        bound.push_back(attribute);
        continue;
      }
      const Attribute *actual = call.find(attribute.refAttrName);
      for (const Attribute &fallback : function.defaults)
        if (!actual && fallback.name == attribute.refAttrName)
          actual = &fallback;
      if (!actual)
        continue; // absent: the operator's default holds
      bound.push_back(*actual);
      bound.back().name = attribute.name;
    }
    node.attributes = std::move(bound);
  }

  void add(const Node &node, int depth) {
    auto found = functions.find(key(node.domain, node.op, node.overload));
    if (isTooMuch()) // said at the end
      return;
    if (found == functions.end()) {
      result.push_back(node);
      return;
    }
    const Function &function = *found->second;
    if (depth > kMaxDepth)
      return complain(
          "E305", "model-local functions nest deeper than " + std::to_string(kMaxDepth) + " or call themselves", node);
    if (node.inputs.size() > function.inputs.size() || node.outputs.size() > function.outputs.size())
      return complain("E305", "the call has more inputs or outputs than function '" + function.name + "'", node);
    Names names;
    for (size_t i = 0; i < function.inputs.size(); ++i)
      names[function.inputs[i]] = i < node.inputs.size() ? node.inputs[i] : "";
    std::string prefix = (node.name.empty() ? function.name : node.name) + "/" + std::to_string(counter++) + "/";
    // An output that is also an input of the function (a pass-through) needs a node of its own.
    std::vector<Node> copies;
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i].empty())
        continue;
      auto input = names.find(function.outputs[i]);
      if (input == names.end()) {
        names[function.outputs[i]] = node.outputs[i];
        continue;
      }
      Node identity;
      identity.op = "Identity";
      identity.opset = 13;
      identity.name = prefix + "Identity";
      identity.inputs = {input->second};
      identity.outputs = {node.outputs[i]};
      copies.push_back(identity);
    }
    for (const Node &body : function.nodes) {
      Node copy = body;
      bind(copy, node, function, names, prefix);
      bytes += bytesOf(copy);
      add(copy, depth + 1);
    }
    result.insert(result.end(), copies.begin(), copies.end());
  }
};
} // namespace

void inlineFunctions(Model &model, Complaints &complaints) {
  Inliner inliner{model, complaints, {}, {}};
  for (Function &function : model.functions) {
    std::map<std::string, int64_t> opsets = function.opsets;
    opsets.insert(model.opsets.begin(), model.opsets.end()); // the function's own win
    inliner.setOpsets(function.nodes, opsets);
    inliner.functions[Inliner::key(function.domain, function.name, function.overload)] = &function;
  }
  inliner.setOpsets(model.graph.nodes, model.opsets);
  if (model.functions.empty())
    return;
  for (const Node &node : model.graph.nodes)
    inliner.add(node, 0);
  if (inliner.isTooMuch())
    complaints.push_back({"E304",
                          "inlining the model-local functions takes more than " + std::to_string(kMaxNodes) +
                              " nodes or calls, or more than 1 GiB",
                          "", ""});
  model.graph.nodes = std::move(inliner.result);
}

} // namespace mlir::comm::onnx
