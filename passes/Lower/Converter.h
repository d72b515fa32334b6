//===- Converter.h - one function from form async to form command ----------===//
// The parts of comm-convert-to-commands by subject: the function and its ops (ConvertToCommands.cpp), where values lie
// (ConvertPlaces.cpp), collectives (ConvertCollectives.cpp), moves of elements (ConvertTensors.cpp).
//===----------------------------------------------------------------------===//
#ifndef PASSES_LOWER_CONVERTER_H
#define PASSES_LOWER_CONVERTER_H
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "passes/Lower/CommandBuilder.h"

namespace mlir::comm {

class Converter {
public:
  Converter(func::FuncOp function, int64_t maxDataBytes)
      : old(function), block(function.getBody().front()), builder(function.getContext()), commands(builder),
        maxDataBytes(maxDataBytes) {}

  /// Replaces the function; on failure, which is reported, it stays as it was.
  LogicalResult run();

  int64_t numViews = 0, numLaunches = 0;
  const CommandBuilder &counts() const { return commands; }

private:
  /// Inputs, then outputs, each with the attributes of its argument or result.
  void createFunction();
  LogicalResult convert(Operation *op);
  /// Ops that are one command on their operands.
  LogicalResult convertSimple(Operation *op);
  void copyOutputs();
  static bool isEmpty(Value value);
  static std::string unknown(Operation *op);
  Value output(unsigned index) { return fresh.getArgument(old.getNumArguments() + index); }

  // ConvertPlaces.cpp
  /// The value whose buffer `value` names whole, through reshapes.
  static Value wholeSource(Value value);
  bool isCommunicated(Value value);
  /// Results that are computed straight into the output.
  void chooseOutputs();
  /// Values that are computed straight into their place in a concatenation.
  void chooseConcats();
  /// The value whose bytes this one shows, wholly or in part.
  Value shownBy(Value value);
  /// Where a value lies that is computed into a concatenation.
  std::optional<Place> concatPlace(Location loc, Value value);
  /// A buffer of the arena for a result of a collective: its place in a concatenation, else one of its own.
  Place resultPlace(Location loc, Value value, Type type);
  /// The buffer of a value as an operand.
  Value use(Location loc, Value value) { return commands.view(loc, places.lookup(value), value.getType()); }
  /// A buffer for a value that the next command writes.
  Value define(Location loc, Value value);

  // ConvertCollectives.cpp
  /// Collectives see the arena only: what lies elsewhere is copied.
  Value communicated(Location loc, Value value);
  /// Where the results lie.
  SmallVector<Place> convertCollective(Operation *op, ValueRange results, std::optional<int64_t> token);
  /// Rows of the fused collective with its fill: as many blocks as ranks.
  RankedTensorType paddedType(ScatterNormGatherOp op);
  /// The padded rows that the one user of a value communicates, through reshapes; null when no buffer has to be larger.
  RankedTensorType paddedUse(Value value);
  /// x, residual, weight, [bias], [norm_bias] -> normed, sum, the own normed rows that peers read. Buffers of whole
  /// tensors have room for the fill of the last ranks.
  SmallVector<Place> convertScatterNorm(ScatterNormGatherOp op, ValueRange results, StringRef command,
                                        SmallVector<NamedAttribute> &params);

  // ConvertTensors.cpp
  void convertMove(Operation *op, const StridedCopy &move);
  LogicalResult convertConstant(arith::ConstantOp constant);
  LogicalResult convertConcat(tensor::ConcatOp op);
  LogicalResult convertInsert(tensor::InsertSliceOp op);
  LogicalResult convertPad(tensor::PadOp op);

  func::FuncOp old, fresh;
  Block &block;
  OpBuilder builder;
  CommandBuilder commands;
  int64_t maxDataBytes, numCollectives = 0, numTokens = 0;
  DenseMap<Value, Place> places;
  DenseMap<Value, std::pair<Value, int64_t>> inConcat; ///< value -> concatenation, offset in it in bytes
  DenseMap<Value, Value> inOutput;                     ///< value -> output that is its buffer
  llvm::DenseSet<unsigned> written;
  DenseMap<Value, std::pair<int64_t, SmallVector<Place>>> tokens;
};

} // namespace mlir::comm
#endif
