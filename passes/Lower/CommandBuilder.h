//===- CommandBuilder.h - buffers, views and copies -------------*- C++ -*-===//
#ifndef PASSES_LOWER_COMMANDBUILDER_H
#define PASSES_LOWER_COMMANDBUILDER_H
#include "comm/IR/CommOps.h"
#include "mlir/IR/Builders.h"

namespace mlir::comm {

/// Where a tensor lies: `offset` bytes into what `root` names (a buffer, an argument, a constant, a weight).
struct Place {
  Value root;
  int64_t offset = 0;
};

/// A strided walk over elements; dimensions of size 1 and such that continue each other are merged.
struct StridedCopy {
  SmallVector<int64_t> dims, inStrides, outStrides;
  int64_t inOffset = 0, outOffset = 0;
  void simplify();
  /// Nothing moves: one run of elements, in order.
  bool isContiguous() const;
};

/// Row-major strides, in elements.
SmallVector<int64_t> rowMajorStrides(ArrayRef<int64_t> shape);

/// What a tensor op does when it only moves elements of its one operand; nullopt for any other op. Slices, transposes,
/// broadcasts, reshapes.
std::optional<StridedCopy> getMove(Operation *op);

/// Creates commands at an insertion point.
class CommandBuilder {
public:
  explicit CommandBuilder(OpBuilder &builder) : b(builder) {}
  MemRefType bufferType(Type tensor);
  Value allocate(Location loc, Type tensor);
  /// The place as a memref of the tensor's shape.
  Value view(Location loc, Place place, Type tensor);
  CommandOp command(Location loc, StringRef name, ValueRange ins, ValueRange outs, ArrayRef<NamedAttribute> params);
  void copy(Location loc, Value in, Value out, StridedCopy move);
  /// All of `in` to all of `out`, which has as many elements.
  void copyWhole(Location loc, Value in, Value out);
  void fill(Location loc, Value out, Attribute value);
  NamedAttribute param(StringRef name, int64_t value) { return {b.getStringAttr(name), b.getI64IntegerAttr(value)}; }
  NamedAttribute param(StringRef name, double value) { return {b.getStringAttr(name), b.getF64FloatAttr(value)}; }
  NamedAttribute param(StringRef name, ArrayRef<int64_t> value) {
    return {b.getStringAttr(name), b.getDenseI64ArrayAttr(value)};
  }
  NamedAttribute param(StringRef name, StringRef value) { return {b.getStringAttr(name), b.getStringAttr(value)}; }
  NamedAttribute param(StringRef name, ArrayAttr value) { return {b.getStringAttr(name), value}; }
  int64_t numCommands = 0, numCopies = 0;

private:
  OpBuilder &b;
};
} // namespace mlir::comm
#endif
