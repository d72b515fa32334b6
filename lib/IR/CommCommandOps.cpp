//===- CommCommandOps.cpp - verifiers of kernels, buffers and commands ----===//
#include "comm/IR/CommOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"
#include "llvm/ADT/StringSet.h"
#include "llvm/ADT/StringSwitch.h"

using namespace mlir;
using namespace mlir::comm;

#define GET_OP_CLASSES
#include "comm/IR/CommCommandOps.cpp.inc"

bool comm::isBufferType(Type type) {
  auto memref = dyn_cast<MemRefType>(type);
  return memref && memref.hasStaticShape() && memref.getLayout().isIdentity() && !memref.getMemorySpace();
}

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

LogicalResult FusedOp::verifyRegions() {
  Block &block = getBody().front();
  if (block.getArgumentTypes() != getInputs().getTypes())
    return emitOpError("C1: expected block arguments of the types of the inputs");
  auto yield = dyn_cast<YieldOp>(block.getTerminator());
  if (!yield || yield.getValues().getTypes() != getOutputs().getTypes())
    return emitOpError("C2: expected comm.yield of the result types");
  return success();
}

LogicalResult KernelOp::verifyRegions() {
  Block &block = getBody().front();
  if (block.empty() || !isa<YieldOp>(block.back()))
    return emitOpError("C1: expected a body that ends in comm.yield");
  if (IntegerAttr count = getIterationsAttr(); count && count.getInt() < 1)
    return emitOpError("C2: expected at least one iteration, got ") << count.getInt();
  return success();
}

static KernelOp lookupKernel(Operation *op, SymbolTableCollection &symbols, FlatSymbolRefAttr name) {
  auto kernel = symbols.lookupNearestSymbolFrom<KernelOp>(op, name);
  if (!kernel)
    op->emitOpError("C1: there is no kernel ") << name;
  return kernel;
}

/// C2 of call and launch: shapes and element types, whether in tensors or in memrefs.
static LogicalResult verifyOperands(Operation *op, TypeRange got, TypeRange expected, StringRef what) {
  if (got.size() != expected.size())
    return op->emitOpError("C2: expected ") << expected.size() << " " << what << ", got " << got.size();
  for (auto [index, types] : llvm::enumerate(llvm::zip_equal(got, expected))) {
    auto have = cast<ShapedType>(std::get<0>(types)), want = cast<ShapedType>(std::get<1>(types));
    if (have.getShape() != want.getShape() || have.getElementType() != want.getElementType())
      return op->emitOpError("C2: ") << what << " " << index << " is " << have << ", the kernel has " << want;
  }
  return success();
}

LogicalResult CallKernelOp::verifySymbolUses(SymbolTableCollection &symbols) {
  KernelOp kernel = lookupKernel(*this, symbols, getKernelAttr());
  return success(kernel && succeeded(verifyOperands(*this, getInputs().getTypes(), kernel.getInputTypes(), "inputs")) &&
                 succeeded(verifyOperands(*this, getOutputs().getTypes(), kernel.getOutputTypes(), "outputs")));
}

LogicalResult LaunchOp::verifySymbolUses(SymbolTableCollection &symbols) {
  KernelOp kernel = lookupKernel(*this, symbols, getKernelAttr());
  return success(kernel && succeeded(verifyOperands(*this, getInputs().getTypes(), kernel.getInputTypes(), "inputs")) &&
                 succeeded(verifyOperands(*this, getOutputs().getTypes(), kernel.getOutputTypes(), "outputs")));
}

//===----------------------------------------------------------------------===//
// Blocks of shards
//===----------------------------------------------------------------------===//

static LogicalResult verifyBlocks(Operation *op, SymbolTableCollection &symbols, FlatSymbolRefAttr gridName,
                                  ArrayAttr axes, RankedTensorType whole, RankedTensorType blocks, int64_t dim,
                                  int64_t grain) {
  auto grid = symbols.lookupNearestSymbolFrom<GridOp>(op, gridName);
  if (!grid)
    return op->emitOpError("C1: there is no grid ") << gridName;
  llvm::StringSet<> seen;
  for (Attribute attr : axes) {
    StringRef axis = cast<StringAttr>(attr).getValue();
    if (grid.getAxisSize(axis) == 0)
      return op->emitOpError("C1: grid ") << gridName << " has no axis \"" << axis << "\"";
    if (!seen.insert(axis).second)
      return op->emitOpError("C1: axis \"") << axis << "\" is named twice";
  }
  if (dim < 0 || dim >= whole.getRank() || grain < 1 || whole.getDimSize(dim) % grain != 0)
    return op->emitOpError("C2: dimension ") << dim << " in blocks of " << grain << " does not fit " << whole;
  int64_t shards = grid.getNumShards(axes);
  SmallVector<int64_t> shape{shards};
  llvm::append_range(shape, whole.getShape());
  shape[dim + 1] = getLocalSize(whole.getDimSize(dim), grain, shards);
  if (blocks.getShape() != ArrayRef<int64_t>(shape) || blocks.getElementType() != whole.getElementType())
    return op->emitOpError("C3: expected the shards of ") << whole << " to be [" << shape << "], got " << blocks;
  return success();
}

LogicalResult PackShardsOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyBlocks(*this, symbols, getGridAttr(), getAxes(), cast<RankedTensorType>(getInput().getType()),
                      cast<RankedTensorType>(getType()), getDim(), getGrain());
}
LogicalResult UnpackShardsOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return verifyBlocks(*this, symbols, getGridAttr(), getAxes(), cast<RankedTensorType>(getType()),
                      cast<RankedTensorType>(getInput().getType()), getDim(), getGrain());
}

//===----------------------------------------------------------------------===//
// Buffers
//===----------------------------------------------------------------------===//

LogicalResult BufferOp::verify() {
  if (IntegerAttr offset = getOffsetAttr(); offset && offset.getInt() < 0)
    return emitOpError("C1: offset must not be negative, got ") << offset.getInt();
  return success();
}

LogicalResult ViewOp::verify() {
  int64_t offset = getOffset(), size = getTensorBytes(getType()), whole = getTensorBytes(getSource().getType());
  if (offset < 0 || size > whole || offset > whole - size)
    return emitOpError("C1: bytes ") << offset << " to " << offset + size << " are not inside the " << whole
                                     << " bytes of the source";
  if (getType().getElementType() != getSource().getType().getElementType())
    return emitOpError("C2: expected elements of ")
           << getSource().getType().getElementType() << ", got " << getType().getElementType();
  return success();
}

LogicalResult DataOp::verify() {
  ShapedType value = getValue().getShapedType();
  if (value.getShape() != getType().getShape() || value.getElementType() != getType().getElementType())
    return emitOpError("C1: the value is ") << value << ", the result " << getType();
  return success();
}

LogicalResult LoadedWeightOp::verify() {
  if (getOffsetAttr().getInt() < 0)
    return emitOpError("C1: offset must not be negative, got ") << getOffsetAttr().getInt();
  if (cast<RankedTensorType>(getStored()).getElementType() != getType().getElementType())
    return emitOpError("C2: stored ") << getStored() << ", loaded " << getType();
  return success();
}

//===----------------------------------------------------------------------===//
// Commands
//===----------------------------------------------------------------------===//

namespace {
/// A row of docs/reference/commands.md. `params`: "name:kind" separated by spaces; kinds i, f, s, I (ints), S
/// (strings), n (int or float); a leading '?' marks one that may be missing.
struct CommandRow {
  const char *name;
  unsigned minInputs, maxInputs, outputs;
  const char *params;
  unsigned moreOutputs = 0; ///< that it may have
};
} // namespace

static const CommandRow kCommands[] = {
    {"copy", 1, 1, 1, "dims:I in_strides:I out_strides:I ?in_offset:i ?out_offset:i"},
    {"fill", 0, 0, 1, "value:n"},
    {"shard_copy", 1, 1, 1, "dim:i axes:S ?grain:i ?shift:i"},
    {"pack_shards", 1, 1, 1, "dim:i axes:S ?grain:i"},
    {"unpack_shards", 1, 1, 1, "dim:i axes:S ?grain:i ?rotated:i"},
    {"rank_mask", 1, 1, 1, "axes:S"},
    {"matmul", 2, 2, 1, "?transpose_a:i ?transpose_b:i ?precision:s"},
    {"quantized_matmul", 3, 4, 1, "bits:i block:i ?signed:i ?k_major:i ?int8:i"},
    {"attention", 3, 5, 1, "scale:f ?causal:i ?causal_offset:i ?softcap:f has_mask:i has_lengths:i ?precision:s"},
    {"embedding", 2, 2, 1, "vocab:i axes:S ?grain:i"},
    {"expert_matmul", 3, 3, 1, "experts:i axes:S ?grain:i ?transpose:i"},
    {"gather", 2, 2, 1, "axis:i"},
    {"gather_nd", 2, 2, 1, "?batch_dims:i"},
    {"gather_elements", 2, 2, 1, "axis:i"},
    {"scatter_nd", 3, 3, 1, "kind:s"},
    {"top_k", 1, 1, 1, "largest:i"},
    {"all_reduce", 1, 1, 1, "reduce:s axes:S plan_id:i"},
    {"reduce_scatter", 1, 1, 1, "reduce:s axes:S plan_id:i"},
    {"all_gather", 1, 1, 1, "axes:S plan_id:i"},
    {"all_to_all", 1, 1, 1, "axes:S plan_id:i"},
    {"broadcast", 1, 1, 1, "axes:S root:i plan_id:i"},
    {"permute", 1, 1, 1, "axes:S shift:i plan_id:i"},
    {"scatter_norm_gather", 3, 5, 3, "rows:i epsilon:f layer_norm:i has_bias:i has_norm_bias:i axes:S plan_id:i"},
    {"start", 1, 5, 1,
     "collective:s token:i axes:S plan_id:i ?reduce:s ?root:i ?shift:i ?rows:i ?epsilon:f ?layer_norm:i ?has_bias:i "
     "?has_norm_bias:i",
     2},
    {"wait", 0, 0, 0, "token:i"},
};

static bool hasKind(Attribute attr, char kind) {
  auto integer = dyn_cast<IntegerAttr>(attr);
  bool isInt = integer && integer.getType().isInteger(64),
       isFloat = isa<FloatAttr>(attr) && cast<FloatAttr>(attr).getType().isF64();
  switch (kind) {
  case 'i':
    return isInt;
  case 'f':
    return isFloat;
  case 'n':
    return isInt || isFloat;
  case 's':
    return isa<StringAttr>(attr);
  case 'I':
    return isa<DenseI64ArrayAttr>(attr);
  default:
    return isa<ArrayAttr>(attr) && llvm::all_of(cast<ArrayAttr>(attr), [](Attribute a) { return isa<StringAttr>(a); });
  }
}

static LogicalResult verifyParams(CommandOp op, StringRef spec) {
  llvm::StringSet<> known;
  SmallVector<StringRef> rows;
  spec.split(rows, ' ');
  for (StringRef row : rows) {
    bool optional = row.consume_front("?");
    auto [name, kind] = row.split(':');
    known.insert(name);
    Attribute attr = op.getParams().get(name);
    if (!attr && !optional)
      return op.emitOpError("C3: \"") << op.getName() << "\" needs the parameter " << name;
    if (attr && !hasKind(attr, kind[0]))
      return op.emitOpError("C3: parameter ") << name << " is of the wrong kind: " << attr;
  }
  for (NamedAttribute param : op.getParams())
    if (!known.contains(param.getName().getValue()))
      return op.emitOpError("C3: \"") << op.getName() << "\" has no parameter " << param.getName().getValue();
  return success();
}

LogicalResult CommandOp::verify() {
  const CommandRow *row = llvm::find_if(kCommands, [&](const CommandRow &r) { return getName() == r.name; });
  if (row == std::end(kCommands))
    return emitOpError("C1: there is no command \"") << getName() << "\"";
  if (getInputs().size() < row->minInputs || getInputs().size() > row->maxInputs ||
      getOutputs().size() < row->outputs || getOutputs().size() > row->outputs + row->moreOutputs)
    return emitOpError("C2: \"") << getName() << "\" takes " << row->minInputs << " to " << row->maxInputs
                                 << " inputs and " << row->outputs << " outputs, got " << getInputs().size() << " and "
                                 << getOutputs().size();
  if (failed(verifyParams(*this, row->params)))
    return failure();
  if (isStart() && !isCollective())
    return emitOpError("C1: \"") << getCollectiveName() << "\" is not a collective";
  bool fused = getCollectiveName() == "scatter_norm_gather";
  if (isStart() && (getInputs().size() < (fused ? 3 : 1) || getInputs().size() > (fused ? 5 : 1) ||
                    getOutputs().size() != (fused ? 3 : 1)))
    return emitOpError("C2: \"") << getCollectiveName() << "\" got " << getInputs().size() << " inputs and "
                                 << getOutputs().size() << " outputs";
  return success();
}

StringRef CommandOp::getCollectiveName() {
  auto name = getParams().getAs<StringAttr>("collective");
  return isStart() && name ? name.getValue() : getName();
}

bool CommandOp::isCollective() {
  return llvm::StringSwitch<bool>(getCollectiveName())
      .Cases({"all_reduce", "reduce_scatter", "all_gather", "all_to_all"}, true)
      .Cases({"broadcast", "permute", "scatter_norm_gather"}, true)
      .Default(false);
}

int64_t CommandOp::getInt(StringRef key, int64_t otherwise) {
  auto value = getParams().getAs<IntegerAttr>(key);
  return value ? value.getInt() : otherwise;
}
