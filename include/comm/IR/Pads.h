//===- Pads.h - attributes of entries that run smaller inputs ---*- C++ -*-===//
#ifndef COMM_IR_PADS_H
#define COMM_IR_PADS_H
#include "llvm/ADT/StringRef.h"

namespace mlir::comm {
// Attributes from the importer to the executable; passes/Import/MaskPadding.cpp turns the first three into the others.
inline constexpr llvm::StringLiteral kSizesAttr =
    "comm.sizes"; ///< on an entry: size of each symbol that may be smaller
inline constexpr llvm::StringLiteral kSiblingAttr = "comm.sibling"; ///< on a function: its entry at a smaller size
inline constexpr llvm::StringLiteral kSiblingSizeAttr = "comm.sibling_size"; ///< on a function: that symbol and size
inline constexpr llvm::StringLiteral kPadsAttr = "comm.pads"; ///< on an entry: symbols, their range, the input of each
inline constexpr llvm::StringLiteral kPadAttr =
    "comm.pad"; ///< on an argument or result: dimension, number in comm.pads and offset, one after the other
inline constexpr llvm::StringLiteral kExactAttr = "comm.exact"; ///< on an entry: symbols that may not, with the reason
} // namespace mlir::comm
#endif
