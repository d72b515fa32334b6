//===- Entry.h - one entry of a model becomes a function --------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_ENTRY_H
#define COMM_LIB_IMPORT_ENTRY_H
#include "ModelImpl.h"
#include "NodeContext.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace mlir::comm {

class EntryImporter {
public:
  EntryImporter(const OnnxModel::Impl &model, const ImportOptions &options, Problems &problems)
      : model(model), options(options), problems(problems) {}
  LogicalResult run(ModuleOp module);

  /// Value of an ONNX name; makes initializers when they are first asked for. Null: absent, or its producer failed.
  Value lookup(const std::string &name);
  LogicalResult define(const onnx::Node &node, const std::string &name, Value value);
  void problem(const char *code, const Twine &what, const Twine &where = "", const Twine &hint = "");
  LogicalResult checkBudget(ArrayRef<int64_t> shape, Type element, const std::string &where);
  Type elementType(int64_t onnxType);
  bool isUnsigned(const std::string &name) const { return unsignedNames.count(name) > 0; }
  void markUnsigned(const std::string &name) { unsignedNames.insert(name); }
  unsigned narrowBits(const std::string &name) const {
    auto found = narrowNames.find(name);
    return found == narrowNames.end() ? 0 : found->second;
  }
  void markNarrow(const std::string &name, unsigned bits) { narrowNames[name] = bits; }
  /// Notes the graph inputs that `value` is computed from: to be fixed where their values are known.
  void wantConstant(Value value);
  Value tensorValue(const onnx::Tensor &tensor, const std::string &name);
  /// The bytes of an initializer that lies in a file, as a comm.weight of this type; null when there is none such.
  Value storedValue(const std::string &name, RankedTensorType type);

  std::set<std::string> fixed;  ///< inputs to be replaced by their values; set before run()
  std::set<std::string> wanted; ///< inputs that would have to be; known after run()

  std::unordered_map<std::string, std::string> appended; ///< value -> past value that it continues
  std::unordered_map<std::string, std::string> aliases;  ///< value -> value it equals

private:
  bool resolveShapes();
  bool addArguments();
  bool addNodes(const std::vector<onnx::Node> &nodes);
  void listUnsupported(const std::vector<onnx::Node> &nodes);
  // Subgraphs.cpp: bodies become part of the entry, once per iteration.
  bool addControl(const onnx::Node &node);
  bool addIf(const onnx::Node &node);
  bool addLoop(const onnx::Node &node);
  bool addScan(const onnx::Node &node);
  bool addBody(const onnx::Node &node, const onnx::Graph &body, ArrayRef<Value> inputs,
               SmallVectorImpl<Value> &outputs);
  bool setOutputs(const onnx::Node &node, ArrayRef<Value> outputs, const onnx::Graph &body);
  bool refuse(const onnx::Node &node, const Twine &what);
  bool finish();
  void markStates();
  bool isArgument(const onnx::ValueInfo &input) const;
  std::string rootOf(std::string name) const;
  Value splitHalves(const onnx::Tensor &tensor, WeightOp weight);
  Location locOf(const std::string &name);

  const OnnxModel::Impl &model;
  const ImportOptions &options;
  Problems &problems;
  ModuleOp module;
  func::FuncOp function;
  std::unique_ptr<OpBuilder> builder;
  std::unordered_map<std::string, Value> values;
  DenseElementsAttr valueOf(const onnx::ValueInfo &input, RankedTensorType type);

  Value narrowValue(const onnx::Tensor &tensor, Location loc);

  std::unordered_set<std::string> unsignedNames;
  std::unordered_map<std::string, unsigned> narrowNames; ///< 4- and 2-bit integers, one in a byte
  std::unordered_set<std::string> failed;                ///< names whose producers were refused
  std::map<std::string, SmallVector<int64_t>> shapes;    ///< of the arguments
  std::vector<const onnx::ValueInfo *> arguments;
  int64_t totalBytes = 0;
  int64_t numBodyNodes = 0; ///< nodes of subgraphs, counted once per iteration
  int numProblems = 0;
};

} // namespace mlir::comm
#endif
