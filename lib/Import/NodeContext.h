//===- NodeContext.h - what an operator's lowering sees ---------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_NODECONTEXT_H
#define COMM_LIB_IMPORT_NODECONTEXT_H
#include "Onnx.h"
#include "ValueBuilder.h"
#include "comm/Import/Import.h"
#include <string>

namespace mlir::comm {
class EntryImporter;

/// One node on its way into the IR. Lowerings read inputs and attributes, build with `b`, and set outputs. Checks
/// record a problem and fail.
class NodeContext {
public:
  NodeContext(EntryImporter &entry, const onnx::Node &node, ValueBuilder &b) : b(b), node(node), entry(entry) {}
  ValueBuilder &b;
  const onnx::Node &node;

  int64_t opset() const { return node.opset; }
  size_t numInputs() const { return node.inputs.size(); }
  bool has(size_t index) const { return index < node.inputs.size() && !node.inputs[index].empty(); }
  bool wants(size_t output) const { return output < node.outputs.size() && !node.outputs[output].empty(); }
  bool isUnsigned(size_t index) const;
  /// The integers of input `index` in a wider type, by their own sign.
  Value widened(size_t index, Type element);
  /// Whether integer results are unsigned; left alone, they are if an input of their type is.
  std::optional<bool> resultUnsigned;
  /// The input's value; null when absent.
  Value in(size_t index) const;
  /// The bytes of input `index` seen in another shape, 4-bit integers packed as the file has them. An initializer stays
  /// a comm.weight whatever its size.
  Value stored(size_t index, ArrayRef<int64_t> shape);
  ArrayRef<int64_t> shape(size_t index) const { return ValueBuilder::shapeOf(in(index)); }
  int64_t rank(size_t index) const { return has(index) ? static_cast<int64_t>(shape(index).size()) : -1; }
  /// Elements of a constant integer input; fails with a problem otherwise.
  FailureOr<SmallVector<int64_t>> constantInts(size_t index, const char *what);
  /// The number in a constant of one element.
  FailureOr<double> constantScalar(size_t index, const char *what);
  /// The same, as an integer of at most 2^53.
  FailureOr<int64_t> constantInt(size_t index, const char *what);

  bool hasAttr(const char *name) const { return node.find(name); }
  int64_t getInt(const char *name, int64_t fallback) const;
  double getFloat(const char *name, double fallback) const;
  std::string getString(const char *name, const char *fallback) const;
  SmallVector<int64_t> getInts(const char *name) const;
  const onnx::Attribute *getAttr(const char *name) const { return node.find(name); }

  LogicalResult setOut(size_t index, Value value);
  /// Single-output shorthand.
  LogicalResult done(Value value) { return setOut(0, value); }
  /// Output `output` is input `past` with something appended: a cache if both are the graph's own.
  void markAppended(size_t output, size_t past);
  void markAlias(size_t output, size_t input);
  /// Records "E402: what" at this node.
  LogicalResult fail(const llvm::Twine &what, const char *code = "E402");

  // Checks that record a problem.
  LogicalResult needInputs(size_t atLeast, size_t atMost);
  LogicalResult needPresent(size_t index);
  LogicalResult needFloat(size_t index);
  LogicalResult needRank(size_t index, int64_t rank);
  LogicalResult needSameElement(size_t a, size_t b);
  /// Wraps a negative axis; fails when outside [0, rank).
  FailureOr<int64_t> axis(int64_t value, int64_t rank);
  FailureOr<SmallVector<int64_t>> axes(ArrayRef<int64_t> values, int64_t rank);
  /// Common shape of two values under broadcasting.
  LogicalResult needBroadcast(Value a, Value b);
  LogicalResult needBroadcastTo(Value a, ArrayRef<int64_t> shape);
  /// Refuses tables of more numbers than are written out one by one.
  LogicalResult needListed(int64_t count);
  /// Refuses results above the byte budget before they are built.
  LogicalResult needBudget(ArrayRef<int64_t> shape, Type element);
  /// Bits of a 4- or 2-bit integer, whose values stand in bytes; 0 for other types.
  static unsigned narrowBits(int64_t onnxType);
  unsigned bitsOf(size_t index) const;
  /// Bits of what results hold; left alone, those of an input of bytes.
  std::optional<unsigned> resultBits;
  static bool isUnsignedType(int64_t onnxType);
  /// MLIR type of an ONNX element type; null with a problem when unsupported.
  Type elementType(int64_t onnxType);
  /// The bytes of a tensor attribute or initializer as a value (constant or comm.weight).
  Value tensorValue(const onnx::Tensor &tensor, const std::string &name);

private:
  EntryImporter &entry;
};

/// Builds the IR of one node. Shapes of inputs are static.
using Lowering = LogicalResult (*)(NodeContext &);

} // namespace mlir::comm
#endif
