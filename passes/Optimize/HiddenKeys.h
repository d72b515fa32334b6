//===- HiddenKeys.h - what a mask hides, whatever it is given ---*- C++ -*-===//
#ifndef PASSES_OPTIMIZE_HIDDENKEYS_H
#define PASSES_OPTIMIZE_HIDDENKEYS_H
#include "mlir/IR/Value.h"
#include <string>

namespace mlir::comm {

/// Empty when the mask of an attention is known to hide keys from `firstKey` on from all queries before `lastQuery`,
/// else why not. Every such element is false, minus infinity, or lower by 9,900 and more than the mask of another key
/// of every one of these queries (a finite mask of which all keys are hidden is a softmax over all keys). Constants,
/// comparisons of constant positions and what is made of them by selects, sums and products are followed; inputs are
/// unknown.
std::string whyLaterKeysShow(Value mask, int64_t lastQuery, int64_t firstKey);

} // namespace mlir::comm
#endif
