//===- TensorOps.cpp - linalg and tensor ops on host tensors --------------===//
#include "Internal.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::detail;

static Result one(HostTensor tensor) {
  SmallVector<HostTensor> out;
  out.push_back(std::move(tensor));
  return out;
}

static RankedTensorType resultType(Operation *op) { return cast<RankedTensorType>(op->getResult(0).getType()); }

static HostTensor reshaped(const HostTensor &in, RankedTensorType type) {
  HostTensor out = in;
  out.type = type;
  return out;
}

/// result[i] = source[map(i)] with one source stride per result dimension.
static HostTensor strided(const HostTensor &source, RankedTensorType type, ArrayRef<int64_t> strides, int64_t offset) {
  HostTensor out = HostTensor::zeros(type);
  int64_t at = 0;
  forEachIndex(type.getShape(),
               [&](ArrayRef<int64_t> index) { copyElement(out, at++, source, offset + dot(index, strides)); });
  return out;
}

static Result transpose(linalg::TransposeOp op, const HostTensor &in) {
  SmallVector<int64_t> source = stridesOf(in.type.getShape()), strides;
  for (int64_t dim : op.getPermutation())
    strides.push_back(source[dim]);
  return one(strided(in, resultType(op), strides, 0));
}

static Result broadcast(linalg::BroadcastOp op, const HostTensor &in) {
  SmallVector<int64_t> source = stridesOf(in.type.getShape()), strides;
  RankedTensorType type = resultType(op);
  for (int64_t dim = 0, from = 0; dim < type.getRank(); ++dim)
    strides.push_back(llvm::is_contained(op.getDimensions(), dim) ? 0 : source[from++]);
  return one(strided(in, type, strides, 0));
}

/// The combiner is a chain of scalar ops on (element, accumulator).
static FailureOr<Scalar> runCombiner(Block &body, Scalar element, Scalar accumulator, bool standIns) {
  llvm::SmallDenseMap<Value, Scalar> values;
  values[body.getArgument(0)] = element;
  values[body.getArgument(1)] = accumulator;
  for (Operation &inner : body.without_terminator()) {
    SmallVector<Scalar> operands;
    for (Value operand : inner.getOperands()) {
      if (!values.count(operand))
        return failure();
      operands.push_back(values[operand]);
    }
    FailureOr<Scalar> result = evaluateScalar(&inner, operands, standIns);
    if (failed(result))
      return failure();
    values[inner.getResult(0)] = *result;
  }
  return values.lookup(body.getTerminator()->getOperand(0));
}

static Result reduce(linalg::ReduceOp op, ArrayRef<HostTensor> in, bool standIns) {
  if (op.getInputs().size() != 1)
    return failure();
  HostTensor out = in[1]; // the init
  out.type = resultType(op);
  SmallVector<int64_t> outStrides = stridesOf(out.type.getShape()), strides;
  for (int64_t dim = 0, to = 0; dim < in[0].type.getRank(); ++dim)
    strides.push_back(llvm::is_contained(op.getDimensions(), dim) ? 0 : outStrides[to++]);
  int64_t at = 0;
  bool ok = true;
  forEachIndex(in[0].type.getShape(), [&](ArrayRef<int64_t> index) {
    int64_t to = dot(index, strides);
    Scalar element, accumulator;
    (in[0].isFloat() ? (void)(element.f = in[0].floats[at]) : (void)(element.i = in[0].ints[at]));
    (out.isFloat() ? (void)(accumulator.f = out.floats[to]) : (void)(accumulator.i = out.ints[to]));
    ++at;
    FailureOr<Scalar> combined = runCombiner(op.getCombiner().front(), element, accumulator, standIns);
    if (failed(combined))
      ok = false;
    else
      (out.isFloat() ? (void)(out.floats[to] = combined->f) : (void)(out.ints[to] = combined->i));
  });
  return ok ? one(std::move(out)) : Result(failure());
}

static Result extractSlice(tensor::ExtractSliceOp op, const HostTensor &in) {
  if (op->getNumOperands() != 1) // dynamic offsets, sizes or strides
    return failure();
  SmallVector<int64_t> source = stridesOf(in.type.getShape()), strides;
  llvm::SmallBitVector dropped = op.getDroppedDims();
  int64_t offset = 0;
  for (int64_t dim = 0; dim < in.type.getRank(); ++dim) {
    int64_t start = op.getStaticOffset(dim), last = start + (op.getStaticSize(dim) - 1) * op.getStaticStride(dim);
    if (op.getStaticSize(dim) > 0 && (std::min(start, last) < 0 || std::max(start, last) >= in.type.getDimSize(dim)))
      return failure();
    offset += start * source[dim];
    if (!dropped.test(dim))
      strides.push_back(source[dim] * op.getStaticStride(dim));
  }
  return one(strided(in, resultType(op), strides, offset));
}

static Result concat(tensor::ConcatOp op, ArrayRef<HostTensor> in) {
  HostTensor out = HostTensor::zeros(resultType(op));
  SmallVector<int64_t> strides = stridesOf(out.type.getShape());
  int64_t base = 0;
  for (const HostTensor &part : in) {
    int64_t at = 0;
    forEachIndex(part.type.getShape(),
                 [&](ArrayRef<int64_t> index) { copyElement(out, base + dot(index, strides), part, at++); });
    base += part.type.getDimSize(op.getDim()) * strides[op.getDim()];
  }
  return one(std::move(out));
}

static Result constant(arith::ConstantOp op, bool standIns) {
  auto dense = dyn_cast<DenseElementsAttr>(op.getValue());
  if (!dense)
    return failure();
  HostTensor out = HostTensor::fromAttr(dense);
  if (standIns)
    for (double &x : out.floats)
      x = static_cast<double>(toField(x));
  return one(std::move(out));
}

static bool isElementwise(Operation *op) {
  return op->getNumResults() == 1 && isa<RankedTensorType>(op->getResult(0).getType()) && knowsScalar(op);
}

static Result elementwise(Operation *op, ArrayRef<HostTensor> in, bool standIns) {
  HostTensor out = HostTensor::zeros(resultType(op));
  SmallVector<Scalar> operands(in.size());
  for (int64_t i = 0, n = out.size(); i < n; ++i) {
    for (auto [scalar, tensor] : llvm::zip_equal(operands, in)) {
      int64_t at = tensor.size() == n ? i : 0; // a scalar condition of select
      (tensor.isFloat() ? (void)(scalar.f = tensor.floats[at]) : (void)(scalar.i = tensor.ints[at]));
    }
    FailureOr<Scalar> value = evaluateScalar(op, operands, standIns);
    if (failed(value))
      return failure();
    (out.isFloat() ? (void)(out.floats[i] = value->f) : (void)(out.ints[i] = value->i));
  }
  return one(std::move(out));
}

bool comm::detail::knowsTensorOp(Operation *op) {
  if (auto constant = dyn_cast<arith::ConstantOp>(op))
    return isa<DenseElementsAttr>(constant.getValue()) && isa<RankedTensorType>(constant.getType());
  return isa<linalg::TransposeOp, linalg::BroadcastOp, linalg::ReduceOp, tensor::EmptyOp, tensor::ExpandShapeOp,
             tensor::CollapseShapeOp, tensor::ExtractSliceOp, tensor::ConcatOp, tensor::CastOp>(op) ||
         isElementwise(op);
}

Result comm::detail::evaluateTensorOp(Operation *op, ArrayRef<HostTensor> in, const InterpreterOptions &options) {
  bool standIns = options.integerStandIns;
  return TypeSwitch<Operation *, Result>(op)
      .Case([&](arith::ConstantOp c) { return constant(c, standIns); })
      .Case([&](linalg::TransposeOp t) { return transpose(t, in[0]); })
      .Case([&](linalg::BroadcastOp b) { return broadcast(b, in[0]); })
      .Case([&](linalg::ReduceOp r) { return reduce(r, in, standIns); })
      .Case([&](tensor::EmptyOp e) { return one(HostTensor::zeros(resultType(e))); })
      .Case<tensor::ExpandShapeOp, tensor::CollapseShapeOp, tensor::CastOp>(
          [&](auto r) { return one(reshaped(in[0], resultType(r))); })
      .Case([&](tensor::ExtractSliceOp s) { return extractSlice(s, in[0]); })
      .Case([&](tensor::ConcatOp c) { return concat(c, in); })
      .Default([&](Operation *other) -> Result {
        return isElementwise(other) ? elementwise(other, in, standIns) : Result(failure());
      });
}
