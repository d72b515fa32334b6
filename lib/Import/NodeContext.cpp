//===- NodeContext.cpp - what an operator's lowering sees -----------------===//
#include "NodeContext.h"
#include "Entry.h"

namespace mlir::comm {

Value NodeContext::in(size_t index) const { return has(index) ? entry.lookup(node.inputs[index]) : Value(); }

bool NodeContext::isUnsigned(size_t index) const { return has(index) && entry.isUnsigned(node.inputs[index]); }
bool NodeContext::isUnsignedType(int64_t onnxType) {
  return onnxType == onnx::Uint8 || onnxType == onnx::Uint16 || onnxType == onnx::Uint32 || onnxType == onnx::Uint64 ||
         onnxType == onnx::Uint4 || onnxType == onnx::Uint2;
}
unsigned NodeContext::narrowBits(int64_t onnxType) {
  bool four = onnxType == onnx::Uint4 || onnxType == onnx::Int4,
       two = onnxType == onnx::Uint2 || onnxType == onnx::Int2;
  return four ? 4 : two ? 2 : 0;
}
unsigned NodeContext::bitsOf(size_t index) const { return has(index) ? entry.narrowBits(node.inputs[index]) : 0; }
Value NodeContext::widened(size_t index, Type element) {
  Type before = b.unsignedElement;
  b.unsignedElement = isUnsigned(index) ? ValueBuilder::elementOf(in(index)) : Type();
  Value value = b.castTo(in(index), element);
  b.unsignedElement = before;
  return value;
}

Value NodeContext::stored(size_t index, ArrayRef<int64_t> shape) {
  auto type = RankedTensorType::get(shape, ValueBuilder::elementOf(in(index)));
  Value weight = entry.storedValue(node.inputs[index], type);
  return weight ? weight : b.reshape(in(index), shape);
}

LogicalResult NodeContext::fail(const Twine &what, const char *code) {
  if (b.fits()) // else this only follows from what did not
    entry.problem(code, what, node.describe());
  return failure();
}

FailureOr<SmallVector<int64_t>> NodeContext::constantInts(size_t index, const char *what) {
  if (auto values = ValueBuilder::getConstantInts(in(index)))
    return *values;
  entry.wantConstant(in(index));
  return fail(Twine(what) + " is not known at compile time (input '" +
              (has(index) ? node.inputs[index] : std::string("absent")) + "')");
}

FailureOr<double> NodeContext::constantScalar(size_t index, const char *what) {
  if (auto value = ValueBuilder::getSplat(in(index)))
    return *value;
  entry.wantConstant(in(index));
  return fail(Twine(what) + " is not known at compile time");
}

FailureOr<int64_t> NodeContext::constantInt(size_t index, const char *what) {
  FailureOr<double> number = constantScalar(index, what);
  if (failed(number))
    return failure();
  if (!(*number >= -0x1p53 && *number <= 0x1p53))
    return fail(Twine(what) + " is not a possible integer", "E313");
  return static_cast<int64_t>(*number);
}

int64_t NodeContext::getInt(const char *name, int64_t fallback) const {
  const onnx::Attribute *attribute = node.find(name);
  return attribute ? attribute->i : fallback;
}
double NodeContext::getFloat(const char *name, double fallback) const {
  const onnx::Attribute *attribute = node.find(name);
  return attribute ? attribute->f : fallback;
}
std::string NodeContext::getString(const char *name, const char *fallback) const {
  const onnx::Attribute *attribute = node.find(name);
  return attribute ? attribute->s : fallback;
}
SmallVector<int64_t> NodeContext::getInts(const char *name) const {
  const onnx::Attribute *attribute = node.find(name);
  return attribute ? SmallVector<int64_t>(attribute->ints.begin(), attribute->ints.end()) : SmallVector<int64_t>();
}

LogicalResult NodeContext::setOut(size_t index, Value value) {
  if (!b.fits())
    return failure();
  if (!wants(index))
    return success();
  Type element = ValueBuilder::elementOf(value);
  bool inherits = b.unsignedElement && element == b.unsignedElement;
  if (isa<IntegerType>(element) && !element.isInteger(1) && resultUnsigned.value_or(inherits))
    entry.markUnsigned(node.outputs[index]);
  unsigned bits = 0;
  for (size_t i = 0; i < numInputs() && bits == 0; ++i)
    bits = bitsOf(i);
  if (element.isInteger(8) && resultBits.value_or(bits))
    entry.markNarrow(node.outputs[index], resultBits.value_or(bits));
  return entry.define(node, node.outputs[index], value);
}
void NodeContext::markAppended(size_t output, size_t past) {
  if (wants(output) && has(past))
    entry.appended[node.outputs[output]] = node.inputs[past];
}
void NodeContext::markAlias(size_t output, size_t input) {
  if (wants(output) && has(input))
    entry.aliases[node.outputs[output]] = node.inputs[input];
}

LogicalResult NodeContext::needInputs(size_t atLeast, size_t atMost) {
  bool good = numInputs() <= atMost && !node.outputs.empty();
  for (size_t i = 0; i < atLeast; ++i)
    good &= has(i);
  return good ? success()
              : fail("expected " + Twine(atLeast) + " to " + Twine(atMost) + " inputs and an output, got " +
                     Twine(numInputs()));
}
LogicalResult NodeContext::needPresent(size_t index) {
  return has(index) ? success() : fail("input " + Twine(index) + " is left out", "E313");
}
LogicalResult NodeContext::needFloat(size_t index) {
  if (failed(needPresent(index)))
    return failure();
  return ValueBuilder::isFloat(in(index)) ? success() : fail("input " + Twine(index) + " is not floating-point");
}
LogicalResult NodeContext::needRank(size_t index, int64_t expected) {
  if (failed(needPresent(index)))
    return failure();
  return rank(index) == expected
             ? success()
             : fail("input " + Twine(index) + ": expected rank " + Twine(expected) + ", got " + Twine(rank(index)));
}
LogicalResult NodeContext::needSameElement(size_t a, size_t b) {
  if (failed(needPresent(a)) || failed(needPresent(b)))
    return failure();
  return ValueBuilder::elementOf(in(a)) == ValueBuilder::elementOf(in(b))
             ? success()
             : fail("inputs " + Twine(a) + " and " + Twine(b) + " differ in element type");
}

FailureOr<int64_t> NodeContext::axis(int64_t value, int64_t rank) {
  if (value < -rank || value >= rank)
    return fail("axis " + Twine(value) + " is outside a tensor of rank " + Twine(rank));
  return value < 0 ? value + rank : value;
}
FailureOr<SmallVector<int64_t>> NodeContext::axes(ArrayRef<int64_t> list, int64_t rank) {
  SmallVector<int64_t> result;
  for (int64_t value : list) {
    FailureOr<int64_t> wrapped = axis(value, rank);
    if (failed(wrapped))
      return failure();
    if (llvm::is_contained(result, *wrapped))
      return fail("axis " + Twine(value) + " stands twice");
    result.push_back(*wrapped);
  }
  llvm::sort(result);
  return result;
}

static std::string shapeText(ArrayRef<int64_t> shape) {
  std::string text;
  for (int64_t size : shape)
    text += (text.empty() ? "" : ", ") + std::to_string(size);
  return "[" + text + "]";
}

LogicalResult NodeContext::needBroadcast(Value a, Value b) {
  SmallVector<int64_t> shape;
  if (!ValueBuilder::broadcastShapes(ValueBuilder::shapeOf(a), ValueBuilder::shapeOf(b), shape))
    return fail("shapes " + shapeText(ValueBuilder::shapeOf(a)) + " and " + shapeText(ValueBuilder::shapeOf(b)) +
                    " do not broadcast",
                "E313");
  return needBudget(shape, ValueBuilder::elementOf(a));
}
LogicalResult NodeContext::needBroadcastTo(Value a, ArrayRef<int64_t> target) {
  SmallVector<int64_t> shape;
  if (!ValueBuilder::broadcastShapes(ValueBuilder::shapeOf(a), target, shape) || ArrayRef<int64_t>(shape) != target)
    return fail("shape " + shapeText(ValueBuilder::shapeOf(a)) + " does not broadcast to " + shapeText(target), "E313");
  return needBudget(shape, ValueBuilder::elementOf(a));
}
LogicalResult NodeContext::needListed(int64_t count) {
  return count <= ValueBuilder::kMaxListed ? success() : fail("a table of " + Twine(count) + " numbers", "E304");
}
LogicalResult NodeContext::needBudget(ArrayRef<int64_t> shape, Type element) {
  if (!b.fits())
    return failure();
  return entry.checkBudget(shape, element, node.describe());
}

Type NodeContext::elementType(int64_t onnxType) {
  Type type = entry.elementType(onnxType);
  if (!type)
    (void)fail("element type " + onnx::nameOf(static_cast<int>(onnxType)) + " is not supported", "E401");
  return type;
}
Value NodeContext::tensorValue(const onnx::Tensor &tensor, const std::string &name) {
  return entry.tensorValue(tensor, name);
}

} // namespace mlir::comm
