//===- UnpackQKV.cpp - one product per part of a packed projection --------===//
// Matches   slices of the last dimension of x W [+ b], nothing else using the product
// Rewrites  x W' [+ b'] per slice, W' a window of the weight
// Skips     products of other things than weights, slices of other dimensions or with steps
//===----------------------------------------------------------------------===//
#include "passes/Import/Match.h"
#include "passes/Import/Passes.h"

namespace mlir::comm {
#define GEN_PASS_DEF_UNPACKQKVPASS
#include "passes/Import/Passes.h.inc"
namespace {
/// Only the last dimension is cut, in steps of one.
bool cutsLastDim(tensor::ExtractSliceOp slice) {
  ArrayRef<int64_t> shape = shapeOf(slice.getSource());
  if (slice.getType().getRank() != static_cast<int64_t>(shape.size()) ||
      !llvm::all_of(slice.getStaticStrides(), [](int64_t step) { return step == 1; }))
    return false;
  for (size_t dim = 0; dim + 1 < shape.size(); ++dim)
    if (slice.getStaticOffsets()[dim] != 0 || slice.getStaticSizes()[dim] != shape[dim])
      return false;
  return slice.getStaticOffsets().back() != ShapedType::kDynamic;
}

struct UnpackQKV : impl::UnpackQKVPassBase<UnpackQKV> {
  using UnpackQKVPassBase::UnpackQKVPassBase;

  bool unpack(MatmulOp matmul) {
    auto weight = matmul.getRhs().getDefiningOp<WeightOp>();
    if (!weight || weight.getLayout() || tensorTypeOf(weight).getRank() != 2 || matmul.getTransposeLhs())
      return false;
    Value end = matmul, bias;
    if (end.hasOneUse())
      if (auto add = dyn_cast<arith::AddFOp>(*end.user_begin())) {
        View view(add.getLhs() == end ? add.getRhs() : add.getLhs());
        view.skip();
        if (!view.isLastDim())
          return false;
        bias = view.value;
        end = add.getResult();
      }
    SmallVector<tensor::ExtractSliceOp> slices;
    for (Operation *user : end.getUsers()) {
      auto slice = dyn_cast<tensor::ExtractSliceOp>(user);
      if (!slice || !cutsLastDim(slice))
        return false;
      slices.push_back(slice);
    }
    if (slices.empty() || (slices.size() == 1 && slices[0].getType() == end.getType()))
      return false;
    for (tensor::ExtractSliceOp slice : slices) {
      OpBuilder builder(slice);
      int64_t start = slice.getStaticOffsets().back(), size = slice.getStaticSizes().back();
      Value part = buildWeightSlice(builder, weight, matmul.getTransposeRhs() ? 0 : 1, start, size);
      Value result =
          MatmulOp::create(builder, matmul.getLoc(), matmul.getLhs(), part, UnitAttr(), matmul.getTransposeRhsAttr());
      if (bias) {
        SmallVector<int64_t> dims;
        for (int64_t dim = 0; dim + 1 < slice.getType().getRank(); ++dim)
          dims.push_back(dim);
        Value vector = buildVectorSlice(builder, end.getLoc(), bias, start, size);
        Value init = tensor::EmptyOp::create(builder, end.getLoc(), slice.getType().getShape(),
                                             slice.getType().getElementType());
        Value wide = dims.empty()
                         ? vector
                         : linalg::BroadcastOp::create(builder, end.getLoc(), vector, init, dims)->getResult(0);
        result = arith::AddFOp::create(builder, end.getLoc(), result, wide);
      }
      slice.getResult().replaceAllUsesWith(result);
    }
    return true;
  }

  void runOnOperation() override {
    SmallVector<MatmulOp> candidates;
    getOperation().walk([&](MatmulOp op) { candidates.push_back(op); });
    for (MatmulOp op : candidates)
      numUnpacked += unpack(op);
    eraseDeadOps(getOperation());
  }
};
} // namespace
} // namespace mlir::comm
