//===- CommandBuilder.cpp - buffers, views and copies ---------------------===//
#include "passes/Lower/CommandBuilder.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::comm;

SmallVector<int64_t> comm::rowMajorStrides(ArrayRef<int64_t> shape) {
  SmallVector<int64_t> strides(shape.size(), 1);
  for (int64_t dim = static_cast<int64_t>(shape.size()) - 2; dim >= 0; --dim)
    strides[dim] = strides[dim + 1] * shape[dim + 1];
  return strides;
}

void StridedCopy::simplify() {
  SmallVector<int64_t> d, in, out;
  for (auto [size, inStride, outStride] : llvm::zip_equal(dims, inStrides, outStrides)) {
    if (size == 1)
      continue;
    if (!d.empty() && in.back() == inStride * size && out.back() == outStride * size) {
      d.back() *= size;
      in.back() = inStride;
      out.back() = outStride;
      continue;
    }
    d.push_back(size);
    in.push_back(inStride);
    out.push_back(outStride);
  }
  if (d.empty()) {
    d.push_back(1);
    in.push_back(1);
    out.push_back(1);
  }
  dims = d;
  inStrides = in;
  outStrides = out;
}

bool StridedCopy::isContiguous() const {
  return dims.size() == 1 && outStrides[0] == 1 && (inStrides[0] == 1 || dims[0] == 1);
}

std::optional<StridedCopy> comm::getMove(Operation *op) {
  if (op->getNumResults() != 1 || !isa<RankedTensorType>(op->getResult(0).getType()) || op->getNumOperands() < 1)
    return std::nullopt;
  auto source = dyn_cast<RankedTensorType>(op->getOperand(0).getType());
  auto type = cast<RankedTensorType>(op->getResult(0).getType());
  if (!source)
    return std::nullopt;
  SmallVector<int64_t> strides = rowMajorStrides(source.getShape());
  StridedCopy move;
  move.dims.assign(type.getShape().begin(), type.getShape().end());
  move.outStrides = rowMajorStrides(type.getShape());
  bool known =
      TypeSwitch<Operation *, bool>(op)
          .Case<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>([&](auto) {
            move.inStrides = move.outStrides;
            return true;
          })
          .Case([&](linalg::TransposeOp transpose) {
            for (int64_t dim : transpose.getPermutation())
              move.inStrides.push_back(strides[dim]);
            return true;
          })
          .Case([&](linalg::BroadcastOp broadcast) {
            int64_t from = 0;
            for (int64_t dim = 0; dim < type.getRank(); ++dim)
              move.inStrides.push_back(llvm::is_contained(broadcast.getDimensions(), dim) ? 0 : strides[from++]);
            return true;
          })
          .Case([&](tensor::ExtractSliceOp slice) {
            if (slice->getNumOperands() != 1)
              return false; // offsets known at run time only
            llvm::SmallBitVector dropped = slice.getDroppedDims();
            for (int64_t dim = 0; dim < source.getRank(); ++dim) {
              move.inOffset += slice.getStaticOffset(dim) * strides[dim];
              if (!dropped.test(dim))
                move.inStrides.push_back(strides[dim] * slice.getStaticStride(dim));
            }
            return true;
          })
          .Case([&](WindowsOp windows) {
            int64_t count = static_cast<int64_t>(windows.getSizes().size()), lead = source.getRank() - count;
            move.inStrides.append(strides.begin(), strides.begin() + lead);
            for (int64_t i = 0; i < count; ++i)
              move.inStrides.push_back(strides[lead + i] * windows.getDilations()[i]);
            for (int64_t i = 0; i < count; ++i)
              move.inStrides.push_back(strides[lead + i] * windows.getStrides()[i]);
            return true;
          })
          .Default([](Operation *) { return false; });
  if (!known)
    return std::nullopt;
  move.simplify();
  return move;
}

MemRefType CommandBuilder::bufferType(Type tensor) {
  auto type = cast<RankedTensorType>(tensor);
  return MemRefType::get(type.getShape(), type.getElementType());
}

Value CommandBuilder::allocate(Location loc, Type tensor) {
  return BufferOp::create(b, loc, bufferType(tensor), IntegerAttr());
}

Value CommandBuilder::view(Location loc, Place place, Type tensor) {
  MemRefType type = bufferType(tensor);
  if (place.offset == 0 && place.root.getType() == type)
    return place.root;
  return ViewOp::create(b, loc, type, place.root, place.offset);
}

CommandOp CommandBuilder::command(Location loc, StringRef name, ValueRange ins, ValueRange outs,
                                  ArrayRef<NamedAttribute> params) {
  ++numCommands;
  return CommandOp::create(b, loc, name, ins, outs, b.getDictionaryAttr(params));
}

void CommandBuilder::copy(Location loc, Value in, Value out, StridedCopy move) {
  if (llvm::is_contained(move.dims, 0))
    return;
  move.simplify();
  ++numCopies;
  SmallVector<NamedAttribute> params{param("dims", move.dims), param("in_strides", move.inStrides),
                                     param("out_strides", move.outStrides)};
  if (move.inOffset)
    params.push_back(param("in_offset", move.inOffset));
  if (move.outOffset)
    params.push_back(param("out_offset", move.outOffset));
  command(loc, "copy", in, out, params);
}

void CommandBuilder::copyWhole(Location loc, Value in, Value out) {
  int64_t count = cast<MemRefType>(out.getType()).getNumElements();
  copy(loc, in, out, {{count}, {1}, {1}, 0, 0});
}

void CommandBuilder::fill(Location loc, Value out, Attribute value) {
  if (cast<MemRefType>(out.getType()).getNumElements() == 0)
    return;
  NamedAttribute attr = param("value", int64_t(0));
  if (auto real = dyn_cast<FloatAttr>(value)) {
    attr = param("value", real.getValueAsDouble());
  } else {
    auto integer = cast<IntegerAttr>(value);
    bool isUnsigned = integer.getType().isInteger(1) || integer.getType().isUnsignedInteger();
    attr = param("value", isUnsigned ? static_cast<int64_t>(integer.getValue().getZExtValue())
                                     : integer.getValue().getSExtValue());
  }
  command(loc, "fill", {}, out, attr);
}
