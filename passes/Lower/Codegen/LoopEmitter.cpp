//===- LoopEmitter.cpp - a planned body as loops over pointers ------------===//
// One pass over the rows: for each row, one loop per reduction in program order, then one loop that stores the results.
// What a row needs once is computed before its loops. Buffers never alias, so results already stored are read back
// instead of computed again.
//===----------------------------------------------------------------------===//
#include "Internal.h"
#include "comm/Executable/KernelSymbols.h"
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
      emitLoneRotary(cast<RotaryOp>(body.front()));
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

  Value load(Value pointer, Value linear, Type element) { return loadElement(b, loc, pointer, linear, element); }
  void store(Value x, Value pointer, Value linear, Type element) { storeElement(b, loc, x, pointer, linear, element); }

  //===--- rows that are kept ---------------------------------------------===//

  /// What a reduction computes and a later loop needs again is kept, when it is expensive or read from more than one
  /// buffer: where a result will lie, which the cache has to hold anyway, or in a row on the stack.
  void planTemporaries(Block &body) {
    int64_t rowSize = 1, bytes = 0;
    for (unsigned dim : plan.inner)
      rowSize *= plan.sizes[dim];
    for (Operation &op : body.without_terminator()) {
      if (plan.isRotary || op.getNumResults() != 1 || plan.masks.lookup(op.getResult(0)) != full || !isWorthARow(op))
        continue;
      Type element = registerType(getElementTypeOrSelf(op.getResult(0).getType()));
      int64_t size = rowSize * getElementBytes(element);
      if (llvm::is_contained(body.getTerminator()->getOperands(), op.getResult(0)))
        continue;
      if (Value host = findHost(body.getTerminator(), element)) {
        temporaries[op.getResult(0)] = host;
        hosted.insert(op.getResult(0));
        continue;
      }
      if (bytes + size > kMaxRowBytes)
        continue;
      bytes += size;
      auto pointer = LLVM::LLVMPointerType::get(b.getContext());
      temporaries[op.getResult(0)] = LLVM::AllocaOp::create(b, loc, pointer, element, constantInt(rowSize), 64);
    }
  }

  /// A result of this type that only the last loop writes, and that keeps nothing else until then.
  Value findHost(Operation *terminator, Type element) {
    for (OpOperand &operand : terminator->getOpOperands()) {
      Value pointer = outputPointers[operand.getOperandNumber()];
      bool taken = llvm::any_of(temporaries, [&](const auto &entry) { return entry.second == pointer; });
      if (!taken && maskOf(operand) == full && operand.get().hasOneUse() &&
          getElementTypeOrSelf(operand.get().getType()) == element)
        return pointer;
    }
    return Value();
  }
  Value rowIndex(Value kept) { return linearIndex(hosted.contains(kept) ? full : innerMask); }

  bool isWorthARow(Operation &op) {
    auto isReduce = [](Operation *user) { return isa<linalg::ReduceOp>(user); };
    if (isExpensive(&op))
      return llvm::any_of(op.getUsers(), isReduce) && !op.getResult(0).hasOneUse();
    llvm::SmallPtrSet<Operation *, 4> users(op.user_begin(), op.user_end());
    llvm::SmallPtrSet<Value, 4> buffers;
    collectBuffers(op.getResult(0), buffers);
    return users.size() > 1 && buffers.size() > 1 &&
           llvm::any_of(users, [&](Operation *user) { return isReduce(user) || feedsReduce(user, 2); });
  }
  /// Through at most `depth` elementwise ops.
  static bool feedsReduce(Operation *op, int depth) {
    return llvm::any_of(op->getUsers(), [&](Operation *user) {
      return isa<linalg::ReduceOp>(user) || (depth > 1 && feedsReduce(user, depth - 1));
    });
  }
  /// Buffers and rows that are read for one element of `value`.
  void collectBuffers(Value value, llvm::SmallPtrSetImpl<Value> &buffers) {
    Operation *def = value.getDefiningOp();
    if (!def || temporaries.contains(value)) {
      buffers.insert(value);
      return;
    }
    if (!isa<linalg::ReduceOp, arith::ConstantOp, tensor::EmptyOp>(def) && buffers.size() < 2)
      for (OpOperand &operand : def->getOpOperands())
        if (maskOf(operand) & innerMask)
          collectBuffers(operand.get(), buffers);
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
        return load(row, rowIndex(value), registerType(element));
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

  /// The largest of magnitudes: they compare as integers, NaN above all, in one instruction instead of three.
  bool comparesMagnitudes(linalg::ReduceOp reduce) {
    auto splat = cast<SplatElementsAttr>(cast<arith::ConstantOp>(reduce.getInits()[0].getDefiningOp()).getValue());
    return isa<arith::MaximumFOp>(reduce.getCombiner().front().front()) &&
           isa_and_nonnull<math::AbsFOp>(reduce.getInputs()[0].getDefiningOp()) &&
           registerType(splat.getElementType()).isF32() && !splat.getSplatValue<APFloat>().isNegative();
  }

  void emitReduce(linalg::ReduceOp reduce) {
    innerMemo.clear();
    Operation &combiner = reduce.getCombiner().front().front();
    Type type = registerType(getElementTypeOrSelf(reduce.getResult(0).getType()));
    rowLoop = nullptr;
    bool asIntegers = comparesMagnitudes(reduce);
    auto seen = [&](Value x, Type as) { return asIntegers ? arith::BitcastOp::create(b, loc, as, x).getResult() : x; };
    Value init = seen(pull(reduce->getOpOperand(1)), b.getI32Type());
    ValueRange results = emitInner(0, init, [&](ValueRange accumulators) -> SmallVector<Value> {
      Value x = seen(pull(reduce->getOpOperand(0)), b.getI32Type());
      keepRows();
      if (asIntegers)
        return {arith::MaxSIOp::create(b, loc, x, accumulators[0])};
      return {combine(combiner, x, accumulators[0], type)};
    });
    b.setInsertionPointAfter(rowLoop);
    rowMemo[{reduce.getResult(0), plan.masks.lookup(reduce.getResult(0))}] = seen(results[0], type);
    commitKept();
    rowLoop = nullptr;
  }

  Value combine(Operation &combiner, Value x, Value accumulator, Type type) {
    OperationState state(loc, combiner.getName());
    state.addOperands({x, accumulator});
    state.addTypes(type);
    Operation *combined = b.create(state);
    if (auto sum = dyn_cast<arith::ArithFastMathInterface>(combined)) { // lanes and registers have sums of their own
      auto given = cast<arith::ArithFastMathInterface>(combiner).getFastMathFlagsAttr();
      auto flags = arith::FastMathFlags::reassoc | (given ? given.getValue() : arith::FastMathFlags::none);
      sum->setAttr(sum.getFastMathAttrName(), arith::FastMathFlagsAttr::get(b.getContext(), flags));
    }
    return combined->getResult(0);
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
          store(scalar, row, rowIndex(key.first), registerType(element));
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
      SmallVector<Value> scalars; // all before the first is stored: a result's place may keep what another one needs
      for (unsigned number : inLoop)
        scalars.push_back(pull(terminator->getOpOperand(number)));
      for (auto [number, scalar] : llvm::zip_equal(inLoop, scalars))
        store(scalar, outputPointers[number], linearIndex(full),
              getElementTypeOrSelf(terminator->getOperand(number).getType()));
      return {};
    });
    b.setInsertionPointAfter(rowLoop);
    rowLoop = nullptr;
  }

  void emitLoneRotary(RotaryOp op) {
    emitRotary(b, op, plan,
               {pointers[op.getInput()], pointers[op.getCos()], pointers[op.getSin()], outputPointers[0], begin, end});
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
  llvm::SmallDenseSet<Value> stored, hosted; ///< hosted: their temporaries are places of results
  SmallVector<std::pair<Value, Value>> kept;
  Operation *rowLoop = nullptr; ///< the innermost-loop nest being written; row values go before it
};
} // namespace

LogicalResult codegen::emitLoops(ModuleOp module, func::FuncOp source, const LoopPlan &plan, StringRef kernel) {
  std::string symbol = (kernel + (plan.byColumns ? ::comm::exe::columnsSuffix : "")).str();
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
