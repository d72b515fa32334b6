//===- PadTypes.h - dimensions that hold fill (private) ---------*- C++ -*-===//
#ifndef COMM_LIB_ANALYSIS_PADTYPES_H
#define COMM_LIB_ANALYSIS_PADTYPES_H
#include "comm/Analysis/Filling.h"
#include "comm/Analysis/Padding.h"

namespace mlir::comm::padding {

/// A dimension is a product of parts, major first. A part with a symbol holds fill from its extent on.
struct Part {
  static constexpr int kExact = -1, kRepeated = -2; ///< repeated: the same along a dimension of any make
  int64_t size = 1;
  int symbol = kExact;
  int64_t offset = 0;
  bool operator==(const Part &other) const {
    return size == other.size && symbol == other.symbol && offset == other.offset;
  }
};
using Dim = SmallVector<Part, 2>;

/// Exact parts joined and ones left out, so that equal dimensions compare equal.
Dim normalized(ArrayRef<Part> parts);
/// All elements along it are equal, so that it is made like what it meets.
inline bool isRepeated(ArrayRef<Part> dim) { return dim.size() == 1 && dim[0].symbol == Part::kRepeated; }
/// The symbol of the first part with fill; -1: none.
int symbolIn(ArrayRef<Part> dim);
/// Its extent when it is all there is.
std::optional<PadExtent> extentOf(ArrayRef<Part> dim);
/// Cuts a dimension into factors of these sizes; false when a part with fill would be cut.
bool splitDim(ArrayRef<Part> dim, ArrayRef<int64_t> sizes, SmallVectorImpl<Dim> &out);

/// What is known about a value. A flexible one is the same number everywhere: its dimensions are those of what it
/// meets.
struct PadValue {
  SmallVector<Dim> dims;
  SmallVector<Fill> fills; ///< one per dimension: elements behind its extent, wherever they are in the others
  bool flexible = false;
  Fill uniform;
  bool anyBad() const {
    return llvm::any_of(fills, [](const Fill &fill) { return fill.kind == Fill::Bad; });
  }
};

/// All elements as numbers; integers by sign, i1 as 0 or 1.
std::vector<double> numbersOf(DenseElementsAttr attr);
/// True when two ops do the same at two sizes; else what differs is in `why`.
bool sameOperation(Operation *op, Operation *twin, std::string &why);
} // namespace mlir::comm::padding
#endif
