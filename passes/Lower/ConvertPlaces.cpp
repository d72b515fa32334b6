//===- ConvertPlaces.cpp - which buffer a value lies in -------------------===//
#include "passes/Lower/Converter.h"

namespace mlir::comm {

Value Converter::wholeSource(Value value) {
  while (Operation *def = value.getDefiningOp()) {
    std::optional<StridedCopy> move = getMove(def);
    if (!move || !move->isContiguous() ||
        cast<RankedTensorType>(def->getOperand(0).getType()).getNumElements() !=
            cast<RankedTensorType>(value.getType()).getNumElements())
      break;
    value = def->getOperand(0);
  }
  return value;
}

bool Converter::isCommunicated(Value value) {
  return llvm::any_of(value.getUsers(), [&](Operation *user) {
    if (isa<CollectiveOpInterface>(user))
      return true;
    std::optional<StridedCopy> move = getMove(user);
    return move && move->isContiguous() && user->getOperand(0) == value && isCommunicated(user->getResult(0));
  });
}

void Converter::chooseOutputs() {
  for (auto [index, value] : llvm::enumerate(block.getTerminator()->getOperands())) {
    Value source = wholeSource(value);
    Operation *def = source.getDefiningOp();
    if (!def || isa<WeightOp, arith::ConstantOp, WaitOp, CollectiveOpInterface>(def) || isCommunicated(source) ||
        inOutput.count(source))
      continue;
    if (std::optional<StridedCopy> move = getMove(def); move && move->isContiguous())
      continue; // a part of another buffer
    inOutput[source] = output(index);
    written.insert(index);
  }
}

void Converter::chooseConcats() {
  for (auto concat : block.getOps<tensor::ConcatOp>()) {
    RankedTensorType type = concat.getResultType();
    if (!llvm::all_of(type.getShape().take_front(concat.getDim()), [](int64_t d) { return d == 1; }))
      continue; // parts are not contiguous
    int64_t offset = 0;
    // What two parts show lies outside: a copy inside of one buffer would overlap itself.
    DenseMap<Value, int64_t> shown;
    for (Value input : concat.getInputs())
      ++shown[shownBy(input)];
    for (Value input : concat.getInputs()) {
      Value source = wholeSource(input);
      Operation *def = source.getDefiningOp();
      std::optional<StridedCopy> move = def ? getMove(def) : std::nullopt;
      bool owns = def && !isa<WeightOp, arith::ConstantOp>(def) && !(move && move->isContiguous());
      if (owns && shown.lookup(shownBy(input)) == 1 && !isCommunicated(source) && !inOutput.count(source))
        inConcat.insert({source, {concat.getResult(), offset}});
      offset += getTensorBytes(input.getType());
    }
  }
}

Value Converter::shownBy(Value value) {
  while (Operation *def = value.getDefiningOp()) {
    std::optional<StridedCopy> move = getMove(def);
    if (!move || !move->isContiguous())
      break;
    value = def->getOperand(0);
  }
  return value;
}

std::optional<Place> Converter::concatPlace(Location loc, Value value) {
  auto it = inConcat.find(value);
  if (it == inConcat.end())
    return std::nullopt;
  auto [concat, offset] = it->second;
  if (!places.count(concat))
    define(loc, concat);
  Place place = places.lookup(concat);
  return Place{place.root, place.offset + offset};
}

Place Converter::resultPlace(Location loc, Value value, Type type) {
  if (getTensorBytes(type) == getTensorBytes(value.getType()))
    if (std::optional<Place> place = concatPlace(loc, value); place && place->root.getDefiningOp<BufferOp>())
      return *place;
  return {commands.allocate(loc, type), 0};
}

Value Converter::define(Location loc, Value value) {
  if (std::optional<Place> place = concatPlace(loc, value)) {
    places[value] = *place;
    return use(loc, value);
  }
  Value buffer = inOutput.lookup(value);
  if (!buffer) {
    RankedTensorType padded = paddedUse(value);
    buffer = commands.allocate(loc, padded ? padded : cast<RankedTensorType>(value.getType()));
  }
  places[value] = {buffer, 0};
  return commands.view(loc, places[value], value.getType());
}

} // namespace mlir::comm
