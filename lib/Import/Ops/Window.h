//===- Window.h - sliding windows of pools and convolutions -----*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_OPS_WINDOW_H
#define COMM_LIB_IMPORT_OPS_WINDOW_H
#include "NodeContext.h"

namespace mlir::comm {

/// How windows walk over the dimensions after the first two.
struct Window {
  SmallVector<int64_t> sizes, strides, dilations;
  SmallVector<int64_t> before, after; ///< padding of the model
  SmallVector<int64_t> extra;         ///< more behind it, that ceil_mode reaches into
  SmallVector<int64_t> out;           ///< number of windows
  int64_t dims() const { return static_cast<int64_t>(sizes.size()); }
  /// Elements from the first to the last of a window.
  int64_t extent(size_t dim) const { return (sizes[dim] - 1) * dilations[dim] + 1; }
};

/// Reads auto_pad, ceil_mode, dilations, pads and strides for windows of `sizes` over `input` [N, C, d..].
FailureOr<Window> readWindow(NodeContext &c, ArrayRef<int64_t> input, ArrayRef<int64_t> sizes);
/// [N, C, k.., o..] of `input` with its padding.
FailureOr<Value> buildWindows(NodeContext &c, const Window &window, Value input, double fill);
/// The products of convolution: patches of x [N, C, d..] with w [M, C/g, k..] -> [N, M, o..].
FailureOr<Value> buildConvolution(NodeContext &c, Value x, Value w, int64_t groups, const Window &window);
/// What Conv and its kin ask of input, weights and groups.
LogicalResult checkConvolution(NodeContext &c, ArrayRef<int64_t> x, ArrayRef<int64_t> w, int64_t groups);

} // namespace mlir::comm
#endif
