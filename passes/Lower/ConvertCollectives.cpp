//===- ConvertCollectives.cpp - collectives as commands -------------------===//
#include "passes/Lower/Converter.h"

namespace mlir::comm {

Value Converter::communicated(Location loc, Value value) {
  Place place = places.lookup(value);
  if (place.root.getDefiningOp<BufferOp>())
    return use(loc, value);
  Value in = use(loc, value), buffer = commands.allocate(loc, value.getType());
  commands.copyWhole(loc, in, buffer);
  return buffer;
}

SmallVector<Place> Converter::convertCollective(Operation *op, ValueRange results, std::optional<int64_t> token) {
  Location loc = op->getLoc();
  SmallVector<NamedAttribute> params{commands.param("axes", cast<CollectiveOpInterface>(op).getAxesAttr()),
                                     commands.param("plan_id", numCollectives++)};
  StringRef name = op->getName().stripDialect();
  if (auto reduce = dyn_cast<AllReduceOp>(op))
    params.push_back(commands.param("reduce", stringifyReduceKind(reduce.getKind())));
  if (auto scatter = dyn_cast<ReduceScatterOp>(op))
    params.push_back(commands.param("reduce", stringifyReduceKind(scatter.getKind())));
  if (auto permute = dyn_cast<PermuteOp>(op))
    params.push_back(commands.param("shift", static_cast<int64_t>(permute.getShift())));
  if (token) {
    params.push_back(commands.param("collective", name));
    params.push_back(commands.param("token", *token));
  }
  if (auto norm = dyn_cast<ScatterNormGatherOp>(op))
    return convertScatterNorm(norm, results, token ? StringRef("start") : name, params);
  Value in = communicated(loc, op->getOperand(0));
  Place out = resultPlace(loc, results[0], op->getResult(0).getType());
  // The command's shapes: blocks [members, ...] on one side, one block on the other. comm-decompose-collectives left
  // the bytes in this order.
  auto inType = cast<RankedTensorType>(op->getOperand(0).getType()),
       outType = cast<RankedTensorType>(op->getResult(0).getType());
  int64_t members = getGrid(old).getNumShards(cast<CollectiveOpInterface>(op).getAxesAttr());
  auto blocks = [&](RankedTensorType one) {
    return RankedTensorType::get(
        llvm::to_vector(llvm::concat<const int64_t>(ArrayRef<int64_t>(members), one.getShape())), one.getElementType());
  };
  Type commandIn = inType, commandOut = outType;
  if (isa<AllGatherOp>(op))
    commandOut = blocks(inType);
  else if (isa<ReduceScatterOp>(op))
    commandIn = blocks(outType);
  else if (isa<AllToAllOp>(op))
    commandIn = commandOut =
        RankedTensorType::get({members, inType.getNumElements() / members}, inType.getElementType());
  commands.command(loc, token ? StringRef("start") : name, commands.view(loc, {in, 0}, commandIn),
                   commands.view(loc, out, commandOut), params);
  return {out};
}

RankedTensorType Converter::paddedType(ScatterNormGatherOp op) {
  RankedTensorType rows = op.getResidual().getType();
  return RankedTensorType::get({getGrid(old).getNumShards(op.getAxes()), rows.getDimSize(0), rows.getDimSize(1)},
                               rows.getElementType());
}

RankedTensorType Converter::paddedUse(Value value) {
  for (Operation *user : value.getUsers()) {
    if (auto norm = dyn_cast<ScatterNormGatherOp>(user); norm && norm.getInput() == value)
      return paddedType(norm);
    if (std::optional<StridedCopy> move = getMove(user);
        move && move->isContiguous() && user->getOperand(0) == value &&
        getTensorBytes(user->getResult(0).getType()) == getTensorBytes(value.getType()))
      if (RankedTensorType type = paddedUse(user->getResult(0)))
        return type;
  }
  return nullptr;
}

SmallVector<Place> Converter::convertScatterNorm(ScatterNormGatherOp op, ValueRange results, StringRef command,
                                                 SmallVector<NamedAttribute> &params) {
  Location loc = op.getLoc();
  RankedTensorType padded = paddedType(op), rows = op.getResidual().getType();
  params.push_back(commands.param("rows", op.getNumRows()));
  params.push_back(commands.param("epsilon", op.getEpsilon().convertToDouble()));
  params.push_back(commands.param("layer_norm", int64_t(op.getLayerNorm())));
  params.push_back(commands.param("has_bias", int64_t(op.getBias() != nullptr)));
  params.push_back(commands.param("has_norm_bias", int64_t(op.getNormBias() != nullptr)));
  Place place = places.lookup(op.getInput());
  auto root = cast<MemRefType>(place.root.getType());
  SmallVector<Value> ins{place.root};
  if (!place.root.getDefiningOp<BufferOp>() || place.offset + getTensorBytes(padded) > getTensorBytes(root)) {
    ins[0] = commands.allocate(loc, padded);
    commands.copy(loc, use(loc, op.getInput()), ins[0], {{op.getInput().getType().getNumElements()}, {1}, {1}, 0, 0});
    place = {ins[0], 0};
  }
  ins[0] = commands.view(loc, place, padded);
  for (Value operand : op->getOperands().drop_front())
    ins.push_back(use(loc, operand));
  Place normed = resultPlace(loc, results[0], padded), sum = resultPlace(loc, results[1], rows);
  commands.command(loc, command, ins,
                   {commands.view(loc, normed, padded), commands.view(loc, sum, rows), commands.allocate(loc, rows)},
                   params);
  return {normed, sum};
}

} // namespace mlir::comm
