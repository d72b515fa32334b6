//===- UnpackQKV.cpp - one product per part of a packed projection --------===//
// Matches   slices of the last dimension of x W [+ b], W quantised or not, nothing else using the product
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

bool isWholeWeight(Value value) {
  auto weight = value.getDefiningOp<WeightOp>();
  return weight && !weight.getLayout();
}

/// A matrix, or quantised columns one after the other with their scales.
bool isProductWithWeight(Operation *op) {
  if (auto matmul = dyn_cast<MatmulOp>(op))
    return isWholeWeight(matmul.getRhs()) && tensorTypeOf(matmul.getRhs()).getRank() == 2 && !matmul.getTransposeLhs();
  auto quantized = cast<QuantizedMatmulOp>(op);
  return !quantized.getKMajor() && llvm::all_of(op->getOperands().drop_front(), isWholeWeight);
}

/// The columns [start, start + size) of a product, as a product.
Value cutColumns(OpBuilder &builder, Operation *product, int64_t start, int64_t size, Type type) {
  Operation *part = builder.clone(*product);
  auto matmul = dyn_cast<MatmulOp>(product);
  int64_t dim = !matmul || matmul.getTransposeRhs() ? 0 : 1;
  builder.setInsertionPoint(part);
  for (unsigned i = 1; i < part->getNumOperands(); ++i) {
    auto weight = part->getOperand(i).getDefiningOp<WeightOp>();
    if (shapeOf(weight)[dim] != 1) // one scale for all columns
      part->setOperand(i, buildWeightSlice(builder, weight, dim, start, size));
  }
  builder.setInsertionPointAfter(part);
  part->getResult(0).setType(cast<RankedTensorType>(type));
  return part->getResult(0);
}

struct UnpackQKV : impl::UnpackQKVPassBase<UnpackQKV> {
  using UnpackQKVPassBase::UnpackQKVPassBase;

  bool unpack(Operation *product) {
    if (!isProductWithWeight(product))
      return false;
    Value end = product->getResult(0), bias;
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
      Value result = cutColumns(builder, product, start, size, slice.getType());
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
    SmallVector<Operation *> candidates;
    getOperation().walk([&](Operation *op) {
      if (isa<MatmulOp, QuantizedMatmulOp>(op))
        candidates.push_back(op);
    });
    for (Operation *op : candidates)
      numUnpacked += unpack(op);
    eraseDeadOps(getOperation());
  }
};
} // namespace
} // namespace mlir::comm
