//===- Check.cpp - structure of a model -----------------------------------===//
#include "Read.h"
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace mlir::comm::onnx {
namespace {
constexpr int64_t kMinIr = 3, kMaxIr = 14, kMinOpset = 7, kMaxOpset = 28;
constexpr size_t kMaxComplaints = 20; // one broken file must not print a million lines

struct Checker {
  Complaints &complaints;
  void complain(const char *code, std::string what, std::string where = "", std::string hint = "",
                bool warning = false) {
    if (complaints.size() < kMaxComplaints)
      complaints.push_back({code, std::move(what), std::move(where), std::move(hint), warning});
  }

  /// Names that nodes may use: those of their block so far, and of the blocks around it.
  struct Scope {
    const Scope *outer;
    std::unordered_set<std::string> names;
    bool count(const std::string &name) const {
      for (const Scope *scope = this; scope; scope = scope->outer)
        if (scope->names.count(name))
          return true;
      return false;
    }
  };

  void nodes(const std::vector<Node> &nodes, Scope &defined, const char *block) {
    std::unordered_map<std::string, size_t> producer; // output -> node index
    for (size_t i = 0; i < nodes.size(); ++i)
      for (const std::string &output : nodes[i].outputs) {
        if (output.empty())
          continue;
        if (defined.count(output) || !producer.emplace(output, i).second)
          complain("E305", "'" + output + "' is defined twice in the " + block, nodes[i].describe());
      }
    for (size_t i = 0; i < nodes.size(); ++i) {
      const Node &node = nodes[i];
      if (node.op.empty())
        complain("E305", "a node has no operator", node.describe());
      if (node.domain == "commc")
        complain("E401", "the domain 'commc' is for what commc itself makes of nodes", node.describe());
      for (const std::string &input : node.inputs) {
        if (input.empty() || defined.count(input))
          continue;
        auto later = producer.find(input);
        if (later == producer.end())
          complain("E305", "input '" + input + "' is defined nowhere in the " + block, node.describe());
        else if (later->second == i)
          complain("E305", "a node reads its own output '" + input + "'", node.describe());
        else
          complain("E305",
                   "input '" + input + "' is computed later (a cycle, or nodes out of order), by " +
                       nodes[later->second].describe(),
                   node.describe());
      }
      for (const Attribute &attribute : node.attributes)
        if (attribute.graph)
          subgraph(*attribute.graph, defined);
      for (const std::string &output : node.outputs)
        if (!output.empty())
          defined.names.insert(output);
    }
  }

  void subgraph(const Graph &graph, const Scope &outer) {
    Scope scope{&outer, {}};
    for (const ValueInfo &input : graph.inputs)
      scope.names.insert(input.name);
    for (const Tensor &initializer : graph.initializers)
      scope.names.insert(initializer.name);
    nodes(graph.nodes, scope, "subgraph");
  }

  void topGraph(const Graph &graph) {
    std::unordered_set<std::string> initializers;
    Scope defined{nullptr, {}};
    for (const Tensor &initializer : graph.initializers) {
      if (initializer.name.empty())
        complain("E305", "an initializer has no name");
      if (!initializers.insert(initializer.name).second)
        complain("E305", "initializer '" + initializer.name + "' stands twice");
    }
    for (const ValueInfo &input : graph.inputs) {
      if (input.name.empty())
        complain("E305", "a graph input has no name");
      if (!defined.names.insert(input.name).second)
        complain("E305", "graph input '" + input.name + "' stands twice");
    }
    defined.names.insert(initializers.begin(), initializers.end());
    nodes(graph.nodes, defined, "graph");
    std::set<std::string> outputs;
    for (const ValueInfo &output : graph.outputs) {
      if (output.name.empty() || !defined.count(output.name))
        complain("E305", "graph output '" + output.name + "' is computed by no node");
      if (!outputs.insert(output.name).second)
        complain("E305", "graph output '" + output.name + "' stands twice");
    }
    if (graph.outputs.empty())
      complain("E305", "the graph has no outputs");
    if (graph.numSparse)
      complain("E401", "sparse initializers are not supported (" + std::to_string(graph.numSparse) + " of them)", "",
               "make them dense");
  }

  void versions(const Model &model) {
    if (model.irVersion < kMinIr)
      complain("E302", "IR version " + std::to_string(model.irVersion) + " is older than " + std::to_string(kMinIr), "",
               "re-export, or convert with onnx.version_converter");
    if (model.irVersion > kMaxIr)
      complain("E302",
               "IR version " + std::to_string(model.irVersion) + " is newer than " + std::to_string(kMaxIr) +
                   ", the newest known",
               "", "", true);
    if (model.opsets.empty())
      complain("E301", "the model imports no opset");
    checkOpset(model.opsets, "the model");
    for (const Function &function : model.functions)
      checkOpset(function.opsets, "function '" + function.name + "'");
  }
  void checkOpset(const std::map<std::string, int64_t> &opsets, const std::string &who) {
    auto found = opsets.find("");
    if (found == opsets.end())
      return;
    if (found->second < kMinOpset)
      complain("E302",
               who + " uses opset " + std::to_string(found->second) + ", older than " + std::to_string(kMinOpset), "",
               "re-export, or convert with onnx.version_converter");
    if (found->second > kMaxOpset)
      complain("E302",
               who + " uses opset " + std::to_string(found->second) + ", newer than " + std::to_string(kMaxOpset) +
                   ", the newest known",
               "", "", true);
  }
};
} // namespace

void checkStructure(const Model &model, Complaints &complaints) {
  Checker checker{complaints};
  if (!model.hasGraph) {
    checker.complain("E301", "not an ONNX model: it has no graph");
    return;
  }
  checker.versions(model);
  checker.topGraph(model.graph);
  std::set<std::string> names;
  for (const Function &function : model.functions) {
    if (!names.insert(function.domain + "::" + function.name + ":" + function.overload).second)
      checker.complain("E305", "function '" + function.domain + "::" + function.name + "' is defined twice");
    Checker::Scope defined{nullptr, {function.inputs.begin(), function.inputs.end()}};
    if (defined.names.size() != function.inputs.size())
      checker.complain("E305", "function '" + function.name + "' names an input twice");
    checker.nodes(function.nodes, defined, "function");
  }
}

} // namespace mlir::comm::onnx
