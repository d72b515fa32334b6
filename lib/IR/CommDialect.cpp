//===- CommDialect.cpp - registration, attributes, discardable attributes -===//
#include "comm/IR/CommExpertOps.h"
#include "comm/IR/CommOps.h"
#include "comm/IR/Precision.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/TypeSwitch.h"

using namespace mlir;
using namespace mlir::comm;

#include "comm/IR/CommDialect.cpp.inc"
#include "comm/IR/CommEnums.cpp.inc"
#include "comm/IR/CommInterfaces.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "comm/IR/CommAttrs.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "comm/IR/CommTypes.cpp.inc"

void CommDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "comm/IR/CommAttrs.cpp.inc"
      >();
  addTypes<
#define GET_TYPEDEF_LIST
#include "comm/IR/CommTypes.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "comm/IR/CommModelOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "comm/IR/CommExpertOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "comm/IR/CommCollectiveOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "comm/IR/CommAsyncOps.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "comm/IR/CommCommandOps.cpp.inc"
      >();
}

SmallVector<Type> TokenType::getResults() const {
  SmallVector<Type> types{getResult()};
  llvm::append_range(types, getOthers());
  return types;
}

//===----------------------------------------------------------------------===//
// #comm.layout
//===----------------------------------------------------------------------===//

LogicalResult LayoutAttr::verify(function_ref<InFlightDiagnostic()> emitError, ArrayAttr splits, ArrayAttr partial,
                                 DenseI64ArrayAttr grain) {
  llvm::StringSet<> seen;
  auto addAxes = [&](Attribute list) -> LogicalResult {
    auto axes = dyn_cast_or_null<ArrayAttr>(list);
    if (!axes)
      return emitError() << "expected a list of axis names per dimension";
    for (Attribute axis : axes) {
      auto name = dyn_cast<StringAttr>(axis);
      if (!name || name.empty())
        return emitError() << "expected axis names, got " << axis;
      if (!seen.insert(name.getValue()).second)
        return emitError() << "axis \"" << name.getValue() << "\" is used twice";
    }
    return success();
  };
  for (Attribute dim : splits)
    if (failed(addAxes(dim)))
      return failure();
  if (partial && failed(addAxes(partial)))
    return failure();
  if (grain && static_cast<size_t>(grain.size()) != splits.size())
    return emitError() << "expected one grain per dimension (" << splits.size() << "), got " << grain.size();
  if (grain && llvm::any_of(grain.asArrayRef(), [](int64_t g) { return g < 1; }))
    return emitError() << "grain must be at least 1";
  return success();
}

LayoutAttr LayoutAttr::replicated(MLIRContext *context, int64_t rank) {
  SmallVector<Attribute> dims(rank, ArrayAttr::get(context, {}));
  return LayoutAttr::get(context, ArrayAttr::get(context, dims), nullptr, nullptr);
}

static SmallVector<StringRef> names(ArrayAttr list) {
  SmallVector<StringRef> out;
  if (list)
    for (Attribute axis : list)
      out.push_back(cast<StringAttr>(axis).getValue());
  return out;
}

SmallVector<StringRef> LayoutAttr::getAxes(int64_t dim) const { return names(cast<ArrayAttr>(getSplits()[dim])); }
SmallVector<StringRef> LayoutAttr::getPartialAxes() const { return names(getPartial()); }
int64_t LayoutAttr::getGrainOf(int64_t dim) const { return getGrain() ? getGrain()[dim] : 1; }
bool LayoutAttr::isReplicated() const {
  return (!getPartial() || getPartial().empty()) &&
         llvm::all_of(getSplits(), [](Attribute dim) { return cast<ArrayAttr>(dim).empty(); });
}

//===----------------------------------------------------------------------===//
// Discardable attributes
//===----------------------------------------------------------------------===//

static LogicalResult verifyPrecision(Operation *op, Attribute attr) {
  auto name = dyn_cast<StringAttr>(attr);
  bool fits = name && (isa<MatmulOp>(op) ? name == kBF16 || name == kF16 : isa<AttentionOp>(op) && name == kBF16);
  if (!fits)
    return op->emitError(
               "'comm.precision' is \"bf16\" on comm.matmul and comm.attention or \"f16\" on comm.matmul, got ")
           << attr;
  if (!getElementTypeOrSelf(op->getResult(0)).isF32())
    return op->emitError("'comm.precision' is for f32 operands, the result is ") << op->getResult(0).getType();
  return success();
}

static LogicalResult verifyLayoutOn(Operation *op, Type type, Attribute attr) {
  auto layout = dyn_cast<LayoutAttr>(attr);
  if (!layout)
    return op->emitError("'comm.layout' must be a #comm.layout, got ") << attr;
  auto tensor = dyn_cast<ShapedType>(type);
  if (!tensor || !tensor.hasRank() || tensor.getRank() != layout.getRank())
    return op->emitError("'comm.layout' describes ") << layout.getRank() << " dimensions, but the value is " << type;
  return success();
}

LogicalResult CommDialect::verifyOperationAttribute(Operation *op, NamedAttribute attr) {
  if (attr.getName() == kEntryAttr)
    return isa<func::FuncOp>(op) ? success() : LogicalResult(op->emitError("'comm.entry' belongs on a function"));
  if (attr.getName() == kPrecisionAttr)
    return verifyPrecision(op, attr.getValue());
  if (attr.getName() != kLayoutAttr)
    return success();
  if (op->getNumResults() == 1)
    return verifyLayoutOn(op, op->getResult(0).getType(), attr.getValue());
  auto list = dyn_cast<ArrayAttr>(attr.getValue());
  if (!list || list.size() != op->getNumResults())
    return op->emitError("'comm.layout' on an op with ")
           << op->getNumResults() << " results must be an array of as many #comm.layout";
  for (auto [result, layout] : llvm::zip_equal(op->getResults(), list))
    if (failed(verifyLayoutOn(op, result.getType(), layout)))
      return failure();
  return success();
}

static LogicalResult verifyPortAttribute(Operation *op, Type type, NamedAttribute attr) {
  if (attr.getName() == kLayoutAttr)
    return verifyLayoutOn(op, type, attr.getValue());
  if ((attr.getName() == kNameAttr || attr.getName() == kStateAttr) && !isa<StringAttr>(attr.getValue()))
    return op->emitError() << attr.getName() << " must be a string";
  return success();
}

LogicalResult CommDialect::verifyRegionArgAttribute(Operation *op, unsigned, unsigned arg, NamedAttribute attr) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  return function ? verifyPortAttribute(op, function.getArgumentTypes()[arg], attr) : success();
}
LogicalResult CommDialect::verifyRegionResultAttribute(Operation *op, unsigned, unsigned result, NamedAttribute attr) {
  auto function = dyn_cast<FunctionOpInterface>(op);
  return function ? verifyPortAttribute(op, function.getResultTypes()[result], attr) : success();
}

//===----------------------------------------------------------------------===//
// Helpers
//===----------------------------------------------------------------------===//

int64_t comm::getElementBytes(Type type) {
  if (type.isInteger(1))
    return 1;
  return type.isIntOrFloat() ? llvm::divideCeil(type.getIntOrFloatBitWidth(), 8) : 8;
}

int64_t comm::getTensorBytes(Type type) {
  auto shaped = dyn_cast<ShapedType>(type);
  return shaped && shaped.hasStaticShape() ? shaped.getNumElements() * getElementBytes(shaped.getElementType()) : 0;
}

bool comm::hasReplicatedBlocks(int64_t size, int64_t grain, int64_t shards) {
  int64_t blocks = grain > 0 ? size / grain : size;
  return blocks > 0 && blocks < shards && shards % blocks == 0;
}

int64_t comm::getLocalSize(int64_t size, int64_t grain, int64_t shards) {
  if (hasReplicatedBlocks(size, grain, shards))
    return grain;
  return llvm::divideCeil(grain > 0 ? size / grain : size, shards) * grain;
}

ShardBlock comm::getShardBlock(int64_t size, int64_t grain, int64_t shards, int64_t shard) {
  int64_t local = getLocalSize(size, grain, shards);
  if (hasReplicatedBlocks(size, grain, shards))
    return {shard * (size / grain) / shards * grain, grain, grain};
  int64_t start = std::min(shard * local, size);
  return {start, std::min(local, size - start), local};
}

GridOp comm::getGrid(Operation *op) {
  auto module = isa<ModuleOp>(op) ? cast<ModuleOp>(op) : op->getParentOfType<ModuleOp>();
  if (!module)
    return nullptr;
  auto grids = module.getOps<GridOp>();
  return grids.empty() ? nullptr : *grids.begin();
}
