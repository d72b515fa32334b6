//===- HiddenKeys.h - what a mask hides, whatever it is given ---*- C++ -*-===//
#ifndef PASSES_OPTIMIZE_HIDDENKEYS_H
#define PASSES_OPTIMIZE_HIDDENKEYS_H
#include "mlir/IR/Value.h"

namespace mlir::comm {

/// True when the mask of an attention is known to hide keys from `firstKey` on from all queries before `lastQuery`:
/// every such element is false, or minus infinity. Constants, comparisons of constant positions and what is made of
/// them are followed; inputs are unknown.
bool hidesLaterKeys(Value mask, int64_t lastQuery, int64_t firstKey);

} // namespace mlir::comm
#endif
