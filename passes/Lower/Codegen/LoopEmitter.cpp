//===- LoopEmitter.cpp - a planned body as loops over pointers ------------===//
// One pass over the rows: for each row, one loop per reduction in program order, then one loop that stores the results.
// What a row needs once is computed before its loops. 16-bit floats live in memory only; registers hold f32. Buffers
// never alias, so results already stored are read back instead of computed again.
//===----------------------------------------------------------------------===//
#include "Internal.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::codegen;

namespace {
/// Temporary rows on the stack: at most this many bytes in total.
constexpr int64_t kMaxRowBytes = 64 << 10;

Type registerType(Type element) {
  return element.isF16() || element.isBF16() ? Float32Type::get(element.getContext()) : element;
}
Type memoryType(Type element) {
  MLIRContext *context = element.getContext();
  if (element.isInteger(1))
    return IntegerType::get(context, 8);
  return element.isBF16() ? IntegerType::get(context, 16) : element;
}
bool isExpensive(Operation *op) {
  return isa_and_nonnull<math::MathDialect>(op->getDialect()) || isa<arith::DivFOp>(op);
}

class Emitter {
public:
  Emitter(func::FuncOp source, const LoopPlan &plan, OpBuilder &builder)
      : source(source), plan(plan), b(builder), loc(source.getLoc()) {
    for (unsigned dim : plan.inner)
      innerMask |= uint64_t(1) << dim;
    full = (uint64_t(1) << plan.sizes.size()) - 1;
    index.resize(plan.sizes.size());
  }

  /// Body of the inner function: pointers of inputs and outputs, begin, end.
  LogicalResult run(Block *entry) {
    b.setInsertionPointToStart(entry);
    Block &body = source.getBody().front();
    unsigned inputs = body.getNumArguments(), outputs = body.getTerminator()->getNumOperands();
    for (unsigned i = 0; i < inputs; ++i)
      pointers[body.getArgument(i)] = entry->getArgument(i);
    for (unsigned i = 0; i < outputs; ++i)
      outputPointers.push_back(entry->getArgument(inputs + i));
    begin = entry->getArgument(inputs + outputs);
    end = entry->getArgument(inputs + outputs + 1);
    if (plan.byColumns) {
      first = entry->getArgument(inputs + outputs + 2);
      last = entry->getArgument(inputs + outputs + 3);
    }
    zero = constantInt(0);
    one = constantInt(1);
    planTemporaries(body);
    if (plan.isRotary)
      emitRotary(cast<RotaryOp>(body.front()));
    else
      emitOuter(0);
    b.setInsertionPointToEnd(entry);
    LLVM::ReturnOp::create(b, loc, ValueRange{});
    return success();
  }

private:
  Value constantInt(int64_t x) { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(x)); }

  //===--- memory ---------------------------------------------------------===//

  /// Row-major strides of a value with dimensions `mask`, as a linear index of the current loops.
  Value linearIndex(uint64_t mask) {
    Value linear = zero;
    int64_t stride = 1;
    for (int64_t dim = static_cast<int64_t>(plan.sizes.size()) - 1; dim >= 0; --dim) {
      if (!(mask >> dim & 1))
        continue;
      Value term = index[dim];
      if (stride != 1)
        term = arith::MulIOp::create(b, loc, term, constantInt(stride));
      linear = arith::AddIOp::create(b, loc, linear, term);
      stride *= plan.sizes[dim];
    }
    return linear;
  }

  Value load(Value pointer, Value linear, Type element) {
    Type memory = memoryType(element);
    Value address = LLVM::GEPOp::create(b, loc, pointer.getType(), memory, pointer, ArrayRef<LLVM::GEPArg>{linear});
    Value x = LLVM::LoadOp::create(b, loc, memory, address);
    if (element.isInteger(1))
      return arith::TruncIOp::create(b, loc, element, x);
    if (element.isBF16()) {
      Value wide = arith::ExtUIOp::create(b, loc, b.getI32Type(), x);
      wide = arith::ShLIOp::create(b, loc, wide, arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(16)));
      return arith::BitcastOp::create(b, loc, b.getF32Type(), wide);
    }
    return element.isF16() ? Value(arith::ExtFOp::create(b, loc, b.getF32Type(), x)) : x;
  }

  void store(Value x, Value pointer, Value linear, Type element) {
    if (element.isInteger(1))
      x = arith::ExtUIOp::create(b, loc, b.getI8Type(), x);
    else if (element.isBF16())
      x = roundToBF16(x);
    else if (element.isF16())
      x = arith::TruncFOp::create(b, loc, element, x);
    Value address =
        LLVM::GEPOp::create(b, loc, pointer.getType(), memoryType(element), pointer, ArrayRef<LLVM::GEPArg>{linear});
    LLVM::StoreOp::create(b, loc, x, address);
  }

  /// Round to nearest even in integers: arith.truncf would call a library on CPUs without the instruction.
  Value roundToBF16(Value x) {
    auto c = [&](int64_t v) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(v)).getResult(); };
    Value bits = arith::BitcastOp::create(b, loc, b.getI32Type(), x);
    Value odd = arith::AndIOp::create(b, loc, arith::ShRUIOp::create(b, loc, bits, c(16)), c(1));
    Value rounded = arith::AddIOp::create(b, loc, bits, arith::AddIOp::create(b, loc, odd, c(0x7fff)));
    Value magnitude = arith::AndIOp::create(b, loc, bits, c(0x7fffffff));
    Value isNaN = arith::CmpIOp::create(b, loc, arith::CmpIPredicate::ugt, magnitude, c(0x7f800000));
    Value quiet = arith::OrIOp::create(b, loc, bits, c(0x400000));
    Value chosen = arith::SelectOp::create(b, loc, isNaN, quiet, rounded);
    return arith::TruncIOp::create(b, loc, b.getI16Type(), arith::ShRUIOp::create(b, loc, chosen, c(16)));
  }

  //===--- rows that are kept ---------------------------------------------===//

  /// Expensive values that a reduction computes and a later loop needs again get a row on the stack.
  void planTemporaries(Block &body) {
    int64_t rowSize = 1, bytes = 0;
    for (unsigned dim : plan.inner)
      rowSize *= plan.sizes[dim];
    for (Operation &op : body.without_terminator()) {
      if (plan.isRotary || op.getNumResults() != 1 || !isExpensive(&op) || plan.masks.lookup(op.getResult(0)) != full)
        continue;
      bool feedsReduce = llvm::any_of(op.getUsers(), [](Operation *user) { return isa<linalg::ReduceOp>(user); });
      Type element = registerType(getElementTypeOrSelf(op.getResult(0).getType()));
      int64_t size = rowSize * getElementBytes(element);
      if (!feedsReduce || op.getResult(0).hasOneUse() ||
          llvm::is_contained(body.getTerminator()->getOperands(), op.getResult(0)) || bytes + size > kMaxRowBytes)
        continue;
      bytes += size;
      auto pointer = LLVM::LLVMPointerType::get(b.getContext());
      temporaries[op.getResult(0)] = LLVM::AllocaOp::create(b, loc, pointer, element, constantInt(rowSize), 64);
    }
  }

  //===--- values ---------------------------------------------------------===//

  uint64_t maskOf(OpOperand &operand) {
    if (isa<BlockArgument>(operand.get()))
      return plan.argumentMasks.lookup({operand.getOwner(), operand.getOperandNumber()});
    return plan.masks.lookup(operand.get());
  }

  /// The scalar of an operand at the current indices.
  Value pull(OpOperand &operand) {
    Value value = operand.get();
    uint64_t mask = maskOf(operand);
    Operation *def = value.getDefiningOp();
    if (def && isa<arith::ConstantOp>(def)) {
      Attribute splat = cast<SplatElementsAttr>(cast<arith::ConstantOp>(def).getValue()).getSplatValue<Attribute>();
      if (auto f = dyn_cast<FloatAttr>(splat)) {
        Type type = registerType(f.getType());
        return arith::ConstantOp::create(b, loc, type, b.getFloatAttr(type, f.getValueAsDouble()));
      }
      return arith::ConstantOp::create(b, loc, cast<TypedAttr>(splat));
    }
    bool perRow = (mask & innerMask) == 0;
    auto &memo = perRow ? rowMemo : innerMemo;
    auto key = std::pair(value, mask);
    if (auto it = memo.find(key); it != memo.end())
      return it->second;
    OpBuilder::InsertionGuard guard(b);
    if (perRow && rowLoop)
      b.setInsertionPoint(rowLoop);
    Value result = compute(value, mask);
    memo[key] = result;
    return result;
  }

  Value compute(Value value, uint64_t mask) {
    Type element = getElementTypeOrSelf(value.getType());
    if (Value pointer = pointers.lookup(value))
      return load(pointer, linearIndex(mask), element);
    if (stored.contains(value)) {
      if (Value row = temporaries.lookup(value))
        return load(row, linearIndex(innerMask), registerType(element));
      return load(storedAt[value], linearIndex(mask), element);
    }
    Operation *op = value.getDefiningOp();
    if (isa<linalg::BroadcastOp>(op))
      return pull(op->getOpOperand(0));
    SmallVector<Value> operands;
    for (OpOperand &operand : op->getOpOperands())
      operands.push_back(pull(operand));
    return scalarOp(op, operands);
  }

  /// The scalar form of an elementwise op. Casts between floats that share a register type vanish.
  Value scalarOp(Operation *op, ArrayRef<Value> operands) {
    Type type = registerType(getElementTypeOrSelf(op->getResult(0).getType()));
    if (isa<arith::ExtFOp, arith::TruncFOp>(op) && operands[0].getType() == type)
      return operands[0];
    if (isa<arith::ExtFOp, arith::TruncFOp>(op)) {
      bool widens = type.getIntOrFloatBitWidth() > operands[0].getType().getIntOrFloatBitWidth();
      return widens ? Value(arith::ExtFOp::create(b, loc, type, operands[0]))
                    : Value(arith::TruncFOp::create(b, loc, type, operands[0]));
    }
    OperationState state(loc, op->getName());
    state.addOperands(operands);
    state.addTypes(type);
    state.propertiesAttr = op->getPropertiesAsAttribute();
    return b.create(state)->getResult(0);
  }

  //===--- loops ----------------------------------------------------------===//

  scf::ForOp loop(Value from, Value to, ValueRange init = {}) {
    return scf::ForOp::create(b, loc, from, to, one, init);
  }

  void emitOuter(unsigned depth) {
    if (depth == plan.outer.size()) {
      emitRow();
      return;
    }
    unsigned dim = plan.outer[depth];
    scf::ForOp forOp = depth == 0 ? loop(begin, end) : loop(zero, constantInt(plan.sizes[dim]));
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(forOp.getBody());
    index[dim] = forOp.getInductionVar();
    emitOuter(depth + 1);
  }

  /// Loops over the inner dimensions around `body(accumulators) -> accumulators`.
  ValueRange emitInner(unsigned depth, ValueRange init, function_ref<SmallVector<Value>(ValueRange)> body) {
    unsigned dim = plan.inner[depth];
    // Without outer loops the kernel's range is the first inner one, unless a reduction needs it whole.
    bool ranged = plan.outer.empty() && depth == 0 && !hasReduce;
    scf::ForOp forOp = plan.byColumns ? loop(first, last, init)
                       : ranged       ? loop(begin, end, init)
                                      : loop(zero, constantInt(plan.sizes[dim]), init);
    if (depth == 0)
      rowLoop = forOp;
    OpBuilder::InsertionGuard guard(b);
    b.setInsertionPointToStart(forOp.getBody());
    index[dim] = forOp.getInductionVar();
    SmallVector<Value> next;
    if (depth + 1 == plan.inner.size())
      next = body(forOp.getRegionIterArgs());
    else
      llvm::append_range(next, emitInner(depth + 1, forOp.getRegionIterArgs(), body));
    if (!init.empty())
      scf::YieldOp::create(b, loc, next);
    return forOp.getResults();
  }

  void emitRow() {
    rowMemo.clear();
    stored.clear();
    storedAt.clear();
    Block &body = source.getBody().front();
    for (Operation &op : body.without_terminator())
      if (auto reduce = dyn_cast<linalg::ReduceOp>(op))
        emitReduce(reduce);
    emitResults(body.getTerminator());
    rowLoop = nullptr;
  }

  void emitReduce(linalg::ReduceOp reduce) {
    innerMemo.clear();
    Operation &combiner = reduce.getCombiner().front().front();
    Type type = registerType(getElementTypeOrSelf(reduce.getResult(0).getType()));
    rowLoop = nullptr;
    Value init = pull(reduce->getOpOperand(1));
    ValueRange results = emitInner(0, init, [&](ValueRange accumulators) -> SmallVector<Value> {
      Value x = pull(reduce->getOpOperand(0));
      keepRows();
      OperationState state(loc, combiner.getName());
      state.addOperands({x, accumulators[0]});
      state.addTypes(type);
      Operation *combined = b.create(state);
      return {combined->getResult(0)};
    });
    rowMemo[{reduce.getResult(0), plan.masks.lookup(reduce.getResult(0))}] = results[0];
    commitKept();
    b.setInsertionPointAfter(rowLoop);
    rowLoop = nullptr;
  }

  /// Inside a reduction's loop: values computed here that a later loop needs are written to their row or to their
  /// result buffer.
  void keepRows() {
    Operation *terminator = source.getBody().front().getTerminator();
    // Copy: storing does not add memo entries, but keep the iteration independent of it.
    SmallVector<std::pair<std::pair<Value, uint64_t>, Value>> seen(innerMemo.begin(), innerMemo.end());
    for (Operation &op : source.getBody().front().without_terminator()) {
      for (auto &[key, scalar] : seen) {
        if (op.getNumResults() != 1 || key.first != op.getResult(0) || stored.contains(key.first) || key.second != full)
          continue;
        Type element = getElementTypeOrSelf(key.first.getType());
        if (Value row = temporaries.lookup(key.first)) {
          store(scalar, row, linearIndex(innerMask), registerType(element));
          kept.push_back({key.first, Value()});
          continue;
        }
        for (auto [number, value] : llvm::enumerate(terminator->getOperands()))
          if (value == key.first && registerType(element) == element) {
            store(scalar, outputPointers[number], linearIndex(full), element);
            kept.push_back({key.first, outputPointers[number]});
            break;
          }
      }
    }
  }
  void commitKept() {
    for (auto &[value, pointer] : kept) {
      stored.insert(value);
      if (pointer)
        storedAt[value] = pointer;
    }
    kept.clear();
  }

  void emitResults(Operation *terminator) {
    innerMemo.clear();
    rowLoop = nullptr;
    SmallVector<unsigned> inLoop;
    for (OpOperand &operand : terminator->getOpOperands()) {
      uint64_t mask = maskOf(operand);
      unsigned number = operand.getOperandNumber();
      if (mask == full) {
        // Written by a reduction's loop already, to this very buffer.
        if (stored.contains(operand.get()) && storedAt.lookup(operand.get()) == outputPointers[number])
          continue;
        inLoop.push_back(number);
        continue;
      }
      store(pull(operand), outputPointers[number], linearIndex(mask), getElementTypeOrSelf(operand.get().getType()));
    }
    if (inLoop.empty())
      return;
    emitInner(0, {}, [&](ValueRange) -> SmallVector<Value> {
      for (unsigned number : inLoop) {
        OpOperand &operand = terminator->getOpOperand(number);
        store(pull(operand), outputPointers[number], linearIndex(full), getElementTypeOrSelf(operand.get().getType()));
      }
      return {};
    });
    b.setInsertionPointAfter(rowLoop);
    rowLoop = nullptr;
  }

  //===--- rotary ---------------------------------------------------------===//

  void emitRotary(RotaryOp op) {
    auto x = pointers[op.getInput()], cos = pointers[op.getCos()], sin = pointers[op.getSin()];
    Type element = op.getType().getElementType();
    int64_t heads = plan.sizes[1], length = plan.sizes[2], depth = plan.sizes[3],
            half = op.getCos().getType().getDimSize(2);
    bool perBatch = op.getCos().getType().getDimSize(0) != 1;
    auto mulAdd = [&](Value a, int64_t factor, Value c) {
      return arith::AddIOp::create(b, loc, arith::MulIOp::create(b, loc, a, constantInt(factor)), c).getResult();
    };
    Value batch = zero;
    if (plan.outer[0] == 0) {
      scf::ForOp batches = loop(begin, end);
      b.setInsertionPointToStart(batches.getBody());
      batch = batches.getInductionVar();
    }
    scf::ForOp head = plan.outer[0] == 0 ? loop(zero, constantInt(heads)) : loop(begin, end);
    b.setInsertionPointToStart(head.getBody());
    scf::ForOp token = loop(zero, constantInt(length));
    b.setInsertionPointToStart(token.getBody());
    Value row =
        mulAdd(mulAdd(mulAdd(batch, heads, head.getInductionVar()), length, token.getInductionVar()), depth, zero);
    Value angle = perBatch ? mulAdd(batch, length, token.getInductionVar()) : token.getInductionVar();
    angle = mulAdd(angle, half, zero);
    scf::ForOp pair = loop(zero, constantInt(half));
    {
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(pair.getBody());
      Value j = pair.getInductionVar();
      Value first = op.getInterleaved() ? mulAdd(j, 2, row) : arith::AddIOp::create(b, loc, row, j).getResult();
      Value second = arith::AddIOp::create(b, loc, first, constantInt(op.getInterleaved() ? 1 : half));
      Value at = arith::AddIOp::create(b, loc, angle, j);
      Value a = load(x, first, element), c = load(x, second, element), cosine = load(cos, at, element),
            sine = load(sin, at, element);
      auto mul = [&](Value p, Value q) { return arith::MulFOp::create(b, loc, p, q).getResult(); };
      store(arith::SubFOp::create(b, loc, mul(a, cosine), mul(c, sine)), outputPointers[0], first, element);
      store(arith::AddFOp::create(b, loc, mul(c, cosine), mul(a, sine)), outputPointers[0], second, element);
    }
    if (2 * half < depth) {
      scf::ForOp rest = loop(constantInt(2 * half), constantInt(depth));
      OpBuilder::InsertionGuard guard(b);
      b.setInsertionPointToStart(rest.getBody());
      Value at = arith::AddIOp::create(b, loc, row, rest.getInductionVar());
      store(load(x, at, element), outputPointers[0], at, element);
    }
  }

public:
  bool hasReduce = false;

private:
  func::FuncOp source;
  const LoopPlan &plan;
  OpBuilder &b;
  Location loc;
  uint64_t innerMask = 0, full = 0;
  SmallVector<Value> index; ///< induction variable per dimension
  Value begin, end, zero, one;
  Value first, last; ///< columns
  DenseMap<Value, Value> pointers, temporaries, storedAt;
  SmallVector<Value> outputPointers;
  DenseMap<std::pair<Value, uint64_t>, Value> rowMemo, innerMemo;
  llvm::SmallDenseSet<Value> stored;
  SmallVector<std::pair<Value, Value>> kept;
  Operation *rowLoop = nullptr; ///< the innermost-loop nest being written; row values go before it
};
} // namespace

LogicalResult codegen::emitLoops(ModuleOp module, func::FuncOp source, const LoopPlan &plan, StringRef kernel) {
  std::string symbol = (kernel + (plan.byColumns ? "_columns" : "")).str();
  OpBuilder b = OpBuilder::atBlockEnd(module.getBody());
  Location loc = source.getLoc();
  MLIRContext *context = b.getContext();
  auto pointer = LLVM::LLVMPointerType::get(context);
  auto nothing = LLVM::LLVMVoidType::get(context);
  Type i64 = b.getI64Type();
  unsigned buffers = source.getNumArguments() + source.getNumResults();

  // The loops take their buffers as noalias arguments; the exported function only unpacks the array.
  SmallVector<Type> types(buffers, pointer);
  SmallVector<Type> ranges(plan.byColumns ? 4 : 2, i64);
  types.append(ranges);
  auto inner = LLVM::LLVMFuncOp::create(b, loc, symbol + "_loops", LLVM::LLVMFunctionType::get(nothing, types),
                                        LLVM::Linkage::Internal);
  for (unsigned i = 0; i < buffers; ++i)
    inner.setArgAttr(i, LLVM::LLVMDialect::getNoAliasAttrName(), b.getUnitAttr());
  Block *entry = inner.addEntryBlock(b);
  {
    OpBuilder::InsertionGuard guard(b);
    Emitter emitter(source, plan, b);
    emitter.hasReduce = llvm::any_of(source.getBody().front(), [](Operation &op) { return isa<linalg::ReduceOp>(op); });
    if (failed(emitter.run(entry)))
      return failure();
  }
  SmallVector<Type> outerTypes = {pointer};
  outerTypes.append(ranges);
  auto outer = LLVM::LLVMFuncOp::create(b, loc, symbol, LLVM::LLVMFunctionType::get(nothing, outerTypes));
  Block *block = outer.addEntryBlock(b);
  b.setInsertionPointToStart(block);
  SmallVector<Value> arguments;
  for (unsigned i = 0; i < buffers; ++i) {
    Value address = LLVM::GEPOp::create(b, loc, pointer, pointer, block->getArgument(0),
                                        ArrayRef<LLVM::GEPArg>{static_cast<int32_t>(i)});
    arguments.push_back(LLVM::LoadOp::create(b, loc, pointer, address));
  }
  llvm::append_range(arguments, block->getArguments().drop_front());
  LLVM::CallOp::create(b, loc, inner, arguments);
  LLVM::ReturnOp::create(b, loc, ValueRange{});
  return success();
}
