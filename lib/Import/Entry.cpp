//===- Entry.cpp - one entry of a model becomes a function ----------------===//
#include "Entry.h"
#include "OpTable.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/Verifier.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::comm {

void EntryImporter::problem(const char *code, const Twine &what, const Twine &where, const Twine &hint) {
  if (++numProblems <= 20)
    problems.push_back({code, printable(what.str()), printable(where.str()), printable(hint.str())});
}

Location EntryImporter::locOf(const std::string &name) {
  return NameLoc::get(StringAttr::get(module.getContext(), name.empty() ? "?" : name));
}

Type EntryImporter::elementType(int64_t onnxType) {
  MLIRContext *context = module.getContext();
  switch (onnxType) {
  case onnx::Float:
    return Float32Type::get(context);
  case onnx::Float16:
    return Float16Type::get(context);
  case onnx::BFloat16:
    return BFloat16Type::get(context);
  case onnx::Double:
    return Float64Type::get(context);
  case onnx::Int8:
  case onnx::Uint8:
  case onnx::Int4:
  case onnx::Uint4:
  case onnx::Int2:
  case onnx::Uint2:
    return IntegerType::get(context, 8);
  case onnx::Int16:
  case onnx::Uint16:
    return IntegerType::get(context, 16);
  case onnx::Int32:
  case onnx::Uint32:
    return IntegerType::get(context, 32);
  case onnx::Int64:
  case onnx::Uint64:
    return IntegerType::get(context, 64);
  case onnx::Bool:
    return IntegerType::get(context, 1);
  default:
    return nullptr;
  }
}

LogicalResult EntryImporter::checkBudget(ArrayRef<int64_t> shape, Type element, const std::string &where) {
  if (ValueBuilder::bytesWithin(shape, element, model.options.maxTensorBytes))
    return success();
  problem("E304",
          "a value of this shape is above the limit of " + Twine(model.options.maxTensorBytes) + " bytes, or of " +
              Twine(ValueBuilder::kMaxRank) + " dimensions",
          where);
  return failure();
}

bool EntryImporter::addArguments() {
  SmallVector<Type> types;
  for (const onnx::ValueInfo *input : arguments) {
    Type element = input->isTensor ? elementType(input->dataType) : nullptr;
    if (!element) {
      problem("E401", "element type " + onnx::nameOf(input->dataType) + " is not supported",
              "graph input '" + input->name + "'");
      continue;
    }
    if (mlir::failed(checkBudget(shapes[input->name], element, "graph input '" + input->name + "'")))
      continue;
    types.push_back(RankedTensorType::get(shapes[input->name], element));
  }
  if (types.size() != arguments.size())
    return false;
  function = func::FuncOp::create(locOf(model.model.graph.name), options.entryName,
                                  FunctionType::get(module.getContext(), types, {}));
  function->setAttr(kEntryAttr, UnitAttr::get(module.getContext()));
  Block *block = function.addEntryBlock();
  builder = std::make_unique<OpBuilder>(OpBuilder::atBlockEnd(block));
  for (auto [index, input] : llvm::enumerate(arguments)) {
    function.setArgAttr(index, kNameAttr, builder->getStringAttr(input->name));
    block->getArgument(index).setLoc(locOf(input->name));
    values[input->name] = block->getArgument(index);
    if (NodeContext::isUnsignedType(input->dataType)) {
      markUnsigned(input->name);
      function.setArgAttr(index, kUnsignedAttr, builder->getUnitAttr());
    }
    if (unsigned bits = NodeContext::narrowBits(input->dataType))
      markNarrow(input->name, bits);
    if (!fixed.count(input->name))
      continue;
    DenseElementsAttr value = valueOf(*input, cast<RankedTensorType>(types[index]));
    if (!value) {
      problem("E214", "the value given for this input is not of its type and shape",
              "graph input '" + input->name + "'");
      return false;
    }
    function.setArgAttr(index, kFixedAttr, value);
    values[input->name] = arith::ConstantOp::create(*builder, locOf(input->name), value);
  }
  return true;
}

Value EntryImporter::lookup(const std::string &name) {
  auto found = values.find(name);
  if (found != values.end())
    return found->second;
  auto initializer = model.initializers.find(name);
  if (initializer == model.initializers.end())
    return nullptr;
  OpBuilder::InsertionGuard guard(*builder);
  builder->setInsertionPointToStart(&function.front());
  Value value = tensorValue(*initializer->second, name);
  if (value && NodeContext::isUnsignedType(initializer->second->dataType))
    markUnsigned(name);
  if (unsigned bits = NodeContext::narrowBits(initializer->second->dataType))
    markNarrow(name, bits);
  if (value)
    values[name] = value;
  else
    failed.insert(name);
  return value;
}

/// Zeros and numbers of which one added to a score hides it: what a mask of attention is made of.
/// `whole`: both kinds must be there.
static bool isMask(DenseElementsAttr data, bool whole) {
  bool zeros = false, hidden = false;
  for (const APFloat &x : data.getValues<APFloat>()) {
    if (!x.isZero() && (!x.isNegative() || x.convertToDouble() > -9900))
      return false;
    (x.isZero() ? zeros : hidden) = true;
  }
  return !whole || (zeros && hidden);
}

/// Packed 4- and 2-bit integers, lowest bits first, as one byte each.
Value EntryImporter::narrowValue(const onnx::Tensor &tensor, Location loc) {
  unsigned bits = NodeContext::narrowBits(tensor.dataType);
  bool isUnsigned = NodeContext::isUnsignedType(tensor.dataType);
  ValueBuilder b(*builder, loc, model.options.maxTensorBytes);
  Type i8 = builder->getIntegerType(8);
  auto packed = RankedTensorType::get({tensor.bytes}, i8);
  Value bytes;
  if (tensor.file.empty() || tensor.bytes <= ValueBuilder::kMaxFoldedElements)
    bytes = b.constant(DenseElementsAttr::getFromRawBuffer(packed, model.bytesOf(tensor)));
  else
    bytes = WeightOp::create(*builder, loc, packed, tensor.name, tensor.file, tensor.offset, packed, ArrayAttr(),
                             LayoutAttr());
  SmallVector<Value> parts;
  auto by = [&](unsigned count) { return b.splatLike(bytes, count); };
  for (unsigned shift = 0; shift < 8; shift += bits) { // to the top, then down again with or without sign
    Value top = b.create<arith::ShLIOp>(bytes, by(8 - bits - shift));
    Value number =
        isUnsigned ? b.create<arith::ShRUIOp>(top, by(8 - bits)) : b.create<arith::ShRSIOp>(top, by(8 - bits));
    parts.push_back(b.reshape(number, {tensor.bytes, 1}));
  }
  int64_t count = tensor.bytes * static_cast<int64_t>(8 / bits);
  Value all = tensor.bytes ? b.reshape(b.concat(parts, 1), {count}) : bytes;
  Value value = b.reshape(b.sliceDim(all, 0, 0, tensor.getNumElements()), tensor.dims);
  if (b.fits())
    return value;
  problem(b.getMisfit().code, b.getMisfit().what, "tensor '" + tensor.name + "'");
  return nullptr;
}

Value EntryImporter::storedValue(const std::string &name, RankedTensorType type) {
  auto found = model.initializers.find(name);
  if (found == model.initializers.end() || found->second->file.empty() || getTensorBytes(type) != found->second->bytes)
    return nullptr;
  const onnx::Tensor &tensor = *found->second;
  OpBuilder::InsertionGuard guard(*builder);
  builder->setInsertionPointToStart(&function.front());
  return WeightOp::create(*builder, locOf(name), type, name, tensor.file, tensor.offset, type, ArrayAttr(),
                          LayoutAttr());
}

/// Weights stay in the file; integers (shapes, positions), single numbers and masks come in, so that shape arithmetic
/// folds and what a mask hides is known.
Value EntryImporter::tensorValue(const onnx::Tensor &tensor, const std::string &name) {
  Type element = elementType(tensor.dataType);
  if (!element) {
    problem("E401", "element type " + onnx::nameOf(tensor.dataType) + " is not supported", "tensor '" + name + "'");
    return nullptr;
  }
  if (NodeContext::narrowBits(tensor.dataType))
    return narrowValue(tensor, locOf(name));
  auto type = RankedTensorType::get(tensor.dims, element);
  ArrayRef<char> bytes = model.bytesOf(tensor);
  bool small =
      isa<FloatType>(element) ? type.getNumElements() <= 1 : type.getNumElements() <= ValueBuilder::kMaxFoldedElements;
  Location loc = locOf(name);
  constexpr int64_t kMaxMaskElements = 1 << 22, kFirst = 16; // up to 2048 queries and keys
  if (isa<FloatType>(element) && type.getRank() >= 2 && type.getNumElements() > kFirst &&
      type.getNumElements() <= kMaxMaskElements) {
    // A few elements tell other weights.
    auto first = RankedTensorType::get({kFirst}, element);
    small = isMask(DenseElementsAttr::getFromRawBuffer(first,
                                                       bytes.take_front(bytes.size() / type.getNumElements() * kFirst)),
                   false) &&
            isMask(DenseElementsAttr::getFromRawBuffer(type, bytes), true);
  } else if (isa<FloatType>(element) && type.getRank() >= 2 && type.getNumElements() > 1) {
    small = type.getNumElements() <= kFirst && isMask(DenseElementsAttr::getFromRawBuffer(type, bytes), true);
  }
  if (small || tensor.file.empty()) {
    if (element.isInteger(1)) {
      SmallVector<bool> bools(bytes.size());
      for (size_t i = 0; i < bytes.size(); ++i)
        bools[i] = bytes[i] != 0;
      return arith::ConstantOp::create(*builder, loc, DenseElementsAttr::get(type, bools));
    }
    if (type.getNumElements() == 0)
      return arith::ConstantOp::create(*builder, loc, DenseElementsAttr::get(type, ArrayRef<Attribute>{}));
    return arith::ConstantOp::create(*builder, loc, DenseElementsAttr::getFromRawBuffer(type, bytes));
  }
  auto weight =
      WeightOp::create(*builder, loc, type, name, tensor.file, tensor.offset, type, ArrayAttr(), LayoutAttr());
  return splitHalves(tensor, weight);
}

/// Rotary tables often hold the same half twice along the last dimension. Said as a concatenation, form `global` shows
/// it without reading the weight again.
Value EntryImporter::splitHalves(const onnx::Tensor &tensor, WeightOp weight) {
  constexpr int64_t kMaxBytes = 64 << 20;
  auto uses = model.numUses.find(tensor.name), others = model.numUsesNotMul.find(tensor.name);
  if (tensor.dims.size() < 2 || tensor.dims.back() % 2 || tensor.bytes > kMaxBytes || uses == model.numUses.end() ||
      others->second != 0)
    return weight;
  ArrayRef<char> bytes = model.bytesOf(tensor);
  size_t row = static_cast<size_t>(tensor.dims.back() * getElementBytes(weight.getType().getElementType())),
         half = row / 2;
  bool varies = false;
  for (size_t start = 0; start < bytes.size(); start += row) {
    if (bytes.slice(start, half) != bytes.slice(start + half, half))
      return weight;
    varies |= bytes.slice(start, half) != bytes.slice(0, half) || !llvm::all_equal(bytes.slice(start, half));
  }
  if (!varies)
    return weight;
  SmallVector<int64_t> shape(tensor.dims.begin(), tensor.dims.end());
  shape.back() /= 2;
  auto type = RankedTensorType::get(shape, weight.getType().getElementType());
  auto slice = SliceAttr::get(builder->getContext(), static_cast<int64_t>(shape.size()) - 1, 0, shape.back());
  weight.setSlicesAttr(builder->getArrayAttr({slice}));
  weight.getResult().setType(type);
  builder->setInsertionPointAfter(weight);
  return tensor::ConcatOp::create(*builder, weight.getLoc(), static_cast<int64_t>(shape.size()) - 1,
                                  ValueRange{weight, weight});
}

void EntryImporter::wantConstant(Value value) {
  constexpr size_t kMaxOps = 10000;
  SmallVector<Value> queue = {value};
  llvm::SmallPtrSet<Operation *, 16> seen;
  while (!queue.empty() && seen.size() < kMaxOps) {
    Value next = queue.pop_back_val();
    if (!next) // an input that is left out
      continue;
    if (auto argument = dyn_cast<BlockArgument>(next))
      wanted.insert(arguments[argument.getArgNumber()]->name);
    else if (seen.insert(next.getDefiningOp()).second)
      llvm::append_range(queue, next.getDefiningOp()->getOperands());
  }
}

namespace {
/// One number of an .npz array. False for a type that no graph input takes.
bool readNumber(StringRef descr, const char *at, double &real, int64_t &integer) {
  auto read = [&](auto number) {
    std::memcpy(&number, at, sizeof(number));
    real = static_cast<double>(number);
    integer = static_cast<int64_t>(number);
    return true;
  };
  StringRef kind = descr.drop_front();
  if (kind == "f2") {
    uint16_t bits;
    std::memcpy(&bits, at, 2);
    real = APFloat(APFloat::IEEEhalf(), APInt(16, bits)).convertToFloat();
    integer = static_cast<int64_t>(real);
    return true;
  }
  return kind == "f4"                   ? read(float())
         : kind == "f8"                 ? read(double())
         : kind == "i8"                 ? read(int64_t())
         : kind == "i4"                 ? read(int32_t())
         : kind == "i2"                 ? read(int16_t())
         : kind == "i1"                 ? read(int8_t())
         : kind == "u8"                 ? read(uint64_t())
         : kind == "u4"                 ? read(uint32_t())
         : kind == "u2"                 ? read(uint16_t())
         : kind == "u1" || kind == "b1" ? read(uint8_t())
                                        : false;
}
} // namespace

/// The given array in the type of the input; null when it does not fit.
DenseElementsAttr EntryImporter::valueOf(const onnx::ValueInfo &input, RankedTensorType type) {
  const InputArray &array = options.inputValues.at(input.name);
  unsigned width = 0;
  if (array.descr.size() != 3 || StringRef(array.descr).drop_front(2).getAsInteger(10, width) ||
      ArrayRef<int64_t>(array.shape) != type.getShape() ||
      array.bytes.size() != static_cast<size_t>(type.getNumElements()) * width)
    return nullptr;
  Type element = type.getElementType();
  SmallVector<Attribute> elements;
  for (int64_t i = 0; i < type.getNumElements(); ++i) {
    double real;
    int64_t integer;
    if (!readNumber(array.descr, array.bytes.data() + i * width, real, integer))
      return nullptr;
    if (auto floatType = dyn_cast<FloatType>(element))
      elements.push_back(FloatAttr::get(floatType, real));
    else
      elements.push_back(IntegerAttr::get(
          element, APInt(64, static_cast<uint64_t>(integer)).sextOrTrunc(element.getIntOrFloatBitWidth())));
  }
  return DenseElementsAttr::get(type, elements);
}

LogicalResult EntryImporter::define(const onnx::Node &node, const std::string &name, Value value) {
  auto type = cast<RankedTensorType>(value.getType());
  if (mlir::failed(checkBudget(type.getShape(), type.getElementType(), node.describe())))
    return failure();
  if (__builtin_add_overflow(totalBytes, getTensorBytes(type), &totalBytes) ||
      totalBytes > model.options.maxTotalBytes) {
    problem("E304",
            "the values of the graph together are above the limit of " + Twine(model.options.maxTotalBytes) + " bytes",
            node.describe());
    return failure();
  }
  values[name] = value;
  return success();
}

bool EntryImporter::addNodes(const std::vector<onnx::Node> &nodes) {
  bool good = true;
  for (const onnx::Node &node : nodes) {
    auto poison = [&] {
      for (const std::string &output : node.outputs)
        failed.insert(output);
      good = false;
    };
    bool ready = true;
    for (const std::string &input : node.inputs)
      ready &= input.empty() || (!failed.count(input) && lookup(input));
    if (!ready) { // its own message, or that of its producer, is there already
      poison();
      continue;
    }
    if (onnx::isControl(node)) {
      if (!addControl(node))
        poison();
      continue;
    }
    Location loc = locOf(node.name.empty() && !node.outputs.empty() ? node.outputs[0] : node.name);
    ValueBuilder valueBuilder(*builder, loc, model.options.maxTensorBytes);
    NodeContext context(*this, node, valueBuilder);
    for (const std::string &input : node.inputs)
      if (!input.empty() && isUnsigned(input) && !valueBuilder.unsignedElement)
        valueBuilder.unsignedElement = ValueBuilder::elementOf(lookup(input));
    int problemsBefore = numProblems;
    LogicalResult lowered = OpTable::get().find(node)(context);
    if (!valueBuilder.fits()) {
      problem(valueBuilder.getMisfit().code, valueBuilder.getMisfit().what, node.describe());
      lowered = failure();
    }
    if (mlir::failed(lowered)) {
      if (numProblems == problemsBefore)
        problem("E402", "an input of this operator is left out, or has a form that is not supported", node.describe());
      poison();
      continue;
    }
    for (const std::string &output : node.outputs)
      if (!output.empty() && !values.count(output)) {
        problem("E402", "output '" + output + "' of this operator is not supported", node.describe());
        poison();
        break;
      }
  }
  return good;
}

std::string EntryImporter::rootOf(std::string name) const {
  for (auto found = aliases.find(name); found != aliases.end(); found = aliases.find(name))
    name = found->second;
  return name;
}

/// A cache: a graph output that is a graph input with something appended. The pair is found from what the nodes do,
/// never from names.
void EntryImporter::markStates() {
  std::map<std::string, size_t> argumentOf;
  for (auto [index, input] : llvm::enumerate(arguments))
    argumentOf[input->name] = index;
  std::set<size_t> taken;
  for (auto [index, output] : llvm::enumerate(model.model.graph.outputs)) {
    auto past = appended.find(rootOf(output.name));
    if (past == appended.end())
      continue;
    auto argument = argumentOf.find(rootOf(past->second));
    if (argument == argumentOf.end() || !taken.insert(argument->second).second)
      continue;
    StringAttr name = builder->getStringAttr(argument->first);
    function.setArgAttr(argument->second, kStateAttr, name);
    function.setResultAttr(index, kStateAttr, name);
  }
}

bool EntryImporter::finish() {
  SmallVector<Value> results;
  SmallVector<Type> types;
  for (const onnx::ValueInfo &output : model.model.graph.outputs) {
    Value value = lookup(output.name);
    if (!value)
      return false;
    results.push_back(value);
    types.push_back(value.getType());
  }
  func::ReturnOp::create(*builder, locOf("return"), results);
  function.setType(FunctionType::get(module.getContext(), function.getArgumentTypes(), types));
  for (auto [index, output] : llvm::enumerate(model.model.graph.outputs)) {
    function.setResultAttr(index, kNameAttr, builder->getStringAttr(output.name));
    if (isUnsigned(output.name))
      function.setResultAttr(index, kUnsignedAttr, builder->getUnitAttr());
  }
  markStates();
  for (Operation &op : llvm::make_early_inc_range(llvm::reverse(function.front())))
    if (isOpTriviallyDead(&op))
      op.erase();
  return true;
}

void EntryImporter::listUnsupported(const std::vector<onnx::Node> &nodes) {
  for (const onnx::Node &node : nodes) {
    if (!onnx::isControl(node) && !OpTable::get().find(node))
      problem("E401", node.qualifiedOp() + " is not supported", node.describe(),
              "commc check lists everything that is not supported");
    for (const onnx::Attribute &attribute : node.attributes)
      if (attribute.graph && onnx::isControl(node))
        listUnsupported(attribute.graph->nodes);
  }
}

LogicalResult EntryImporter::run(ModuleOp target) {
  module = target;
  MLIRContext *context = module.getContext();
  context->loadDialect<CommDialect, arith::ArithDialect, math::MathDialect, linalg::LinalgDialect,
                       tensor::TensorDialect, func::FuncDialect>();
  listUnsupported(model.model.graph.nodes);
  if (module.lookupSymbol(options.entryName))
    problem("E313", "there is an entry '" + options.entryName + "' already");
  if (numProblems || !resolveShapes())
    return failure();
  // Whatever a builder would say on the console belongs into the list.
  std::string diagnostics;
  ScopedDiagnosticHandler handler(context, [&](Diagnostic &diagnostic) {
    diagnostics += (diagnostics.empty() ? "" : "; ") + diagnostic.str();
    return success();
  });
  bool good = addArguments() && addNodes(model.model.graph.nodes) && finish() && numProblems == 0;
  if (good && mlir::failed(verify(function))) {
    problem("E319", "the imported entry is not valid IR: " + diagnostics);
    good = false;
  }
  if (!good) {
    if (function)
      function->erase();
    if (numProblems == 0)
      problem("E319", "the import failed without a reason: " + diagnostics);
    return failure();
  }
  module.push_back(function);
  return success();
}

} // namespace mlir::comm
