//===- ConvertToCommands.cpp - values become buffers, ops commands --------===//
// Matches   every function of form async whose groups are outlined
// Rewrites  arguments and results -> memref arguments; values -> comm.buffer, comm.view; ops -> comm.command,
// comm.launch Skips     nothing; ops without a command are listed as errors
//===----------------------------------------------------------------------===//
#include "mlir/IR/Matchers.h"
#include "passes/Lower/CommandBuilder.h"
#include "passes/Lower/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::comm {
#define GEN_PASS_DEF_CONVERTTOCOMMANDSPASS
#include "passes/Lower/Passes.h.inc"
namespace {

StringRef reduceName(ReduceKind kind) { return stringifyReduceKind(kind); }

class Converter {
public:
  Converter(func::FuncOp function, int64_t maxDataBytes)
      : old(function), block(function.getBody().front()), builder(function.getContext()), commands(builder),
        maxDataBytes(maxDataBytes) {}

  LogicalResult run() {
    createFunction();
    chooseOutputs();
    chooseConcats();
    bool failed = false;
    for (Operation &op : block.without_terminator())
      if (mlir::failed(convert(&op))) {
        failed = true;
        for (Value result : op.getResults()) // what follows is checked all the same
          if (isa<RankedTensorType>(result.getType()) && !places.count(result))
            places[result] = {commands.allocate(op.getLoc(), result.getType()), 0};
      }
    if (failed) {
      fresh.erase();
      return failure();
    }
    copyOutputs();
    func::ReturnOp::create(builder, block.getTerminator()->getLoc());
    old.erase();
    return success();
  }

  int64_t numViews = 0;
  const CommandBuilder &counts() const { return commands; }

private:
  /// Inputs, then outputs, each with the attributes of its argument or result.
  void createFunction() {
    SmallVector<Type> types;
    SmallVector<DictionaryAttr> attrs;
    for (unsigned i = 0; i < old.getNumArguments(); ++i) {
      types.push_back(commands.bufferType(old.getArgument(i).getType()));
      DictionaryAttr given = old.getArgAttrDict(i);
      attrs.push_back(given ? given : builder.getDictionaryAttr({}));
    }
    for (unsigned i = 0; i < old.getNumResults(); ++i) {
      types.push_back(commands.bufferType(old.getResultTypes()[i]));
      DictionaryAttr given = old.getResultAttrDict(i);
      NamedAttrList list(given ? given : builder.getDictionaryAttr({}));
      list.set(kOutputAttr, builder.getUnitAttr());
      attrs.push_back(list.getDictionary(old.getContext()));
    }
    builder.setInsertionPoint(old);
    fresh = func::FuncOp::create(builder, old.getLoc(), old.getName(), builder.getFunctionType(types, {}));
    fresh.setVisibility(old.getVisibility());
    fresh->setDiscardableAttrs(old->getDiscardableAttrDictionary());
    fresh.setAllArgAttrs(attrs);
    Block *body = fresh.addEntryBlock();
    builder.setInsertionPointToStart(body);
    for (auto [index, argument] : llvm::enumerate(old.getArguments()))
      places[argument] = {body->getArgument(index), 0};
  }
  Value output(unsigned index) { return fresh.getArgument(old.getNumArguments() + index); }

  /// The value whose buffer `value` names whole, through reshapes.
  static Value wholeSource(Value value) {
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

  bool isCommunicated(Value value) {
    return llvm::any_of(value.getUsers(), [&](Operation *user) {
      if (isa<CollectiveOpInterface>(user))
        return true;
      std::optional<StridedCopy> move = getMove(user);
      return move && move->isContiguous() && user->getOperand(0) == value && isCommunicated(user->getResult(0));
    });
  }

  /// Results that are computed straight into the output.
  void chooseOutputs() {
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

  /// Values that are computed straight into their place in a concatenation.
  void chooseConcats() {
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

  /// The value whose bytes this one shows, wholly or in part.
  Value shownBy(Value value) {
    while (Operation *def = value.getDefiningOp()) {
      std::optional<StridedCopy> move = getMove(def);
      if (!move || !move->isContiguous())
        break;
      value = def->getOperand(0);
    }
    return value;
  }

  /// Where a value lies that is computed into a concatenation.
  std::optional<Place> concatPlace(Location loc, Value value) {
    auto it = inConcat.find(value);
    if (it == inConcat.end())
      return std::nullopt;
    auto [concat, offset] = it->second;
    if (!places.count(concat))
      define(loc, concat);
    Place place = places.lookup(concat);
    return Place{place.root, place.offset + offset};
  }

  /// A buffer of the arena for a result of a collective: its place in a concatenation, else one of its own.
  Place resultPlace(Location loc, Value value, Type type) {
    if (getTensorBytes(type) == getTensorBytes(value.getType()))
      if (std::optional<Place> place = concatPlace(loc, value); place && place->root.getDefiningOp<BufferOp>())
        return *place;
    return {commands.allocate(loc, type), 0};
  }

  void copyOutputs() {
    for (auto [index, value] : llvm::enumerate(block.getTerminator()->getOperands()))
      if (!written.contains(index))
        commands.copyWhole(value.getLoc(), use(value.getLoc(), value), output(index));
  }

  /// The buffer of a value as an operand.
  Value use(Location loc, Value value) { return commands.view(loc, places.lookup(value), value.getType()); }
  /// A buffer for a value that the next command writes.
  Value define(Location loc, Value value) {
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

  LogicalResult convert(Operation *op) {
    Location loc = op->getLoc();
    if (isa<tensor::EmptyOp>(op) ||
        (op->getNumResults() == 1 && !isa<RankedTensorType, TokenType>(op->getResult(0).getType())))
      return success(isa<tensor::EmptyOp, arith::ConstantOp>(op) || op->use_empty() ||
                     (op->emitError(unknown(op)), false));
    if (op->getNumResults() == 1 && isEmpty(op->getResult(0)) && isMemoryEffectFree(op)) {
      define(loc, op->getResult(0)); // no element: nothing to compute
      return success();
    }
    if (std::optional<StridedCopy> move = getMove(op)) {
      convertMove(op, *move);
      return success();
    }
    return TypeSwitch<Operation *, LogicalResult>(op)
        .Case([&](WeightOp weight) {
          places[weight.getResult()] = {LoadedWeightOp::create(
              builder, loc, commands.bufferType(weight.getType()), weight.getNameAttr(), weight.getFileAttr(),
              weight.getOffsetAttr(), weight.getStoredAttr(), weight.getSlicesAttr(), weight.getLayoutAttr())};
          return success();
        })
        .Case([&](arith::ConstantOp constant) { return convertConstant(constant); })
        .Case([&](CallKernelOp call) {
          SmallVector<Value> ins, outs;
          for (Value input : call.getInputs())
            ins.push_back(use(loc, input));
          for (Value result : call.getOutputs())
            outs.push_back(define(loc, result));
          LaunchOp::create(builder, loc, call.getKernelAttr(), ins, outs);
          ++numLaunches;
          return success();
        })
        .Case([&](StartOp start) {
          Operation *collective = start.getCollective();
          tokens[start.getToken()] = {
              numTokens, convertCollective(collective, (*start.getToken().user_begin())->getResults(), numTokens)};
          ++numTokens;
          return success();
        })
        .Case([&](WaitOp wait) {
          auto [token, made] = tokens.lookup(wait.getToken());
          commands.command(loc, "wait", {}, {}, commands.param("token", token));
          for (auto [result, place] : llvm::zip_equal(wait->getResults(), made))
            places[result] = place;
          return success();
        })
        .Case<AllReduceOp, ReduceScatterOp, AllGatherOp, AllToAllOp, PermuteOp, ScatterNormGatherOp>(
            [&](auto collective) {
              SmallVector<Place> made = convertCollective(collective, collective->getResults(), std::nullopt);
              for (auto [result, place] : llvm::zip_equal(collective->getResults(), made))
                places[result] = place;
              return success();
            })
        .Case([&](tensor::ConcatOp concat) { return convertConcat(concat); })
        .Case([&](tensor::InsertSliceOp insert) { return convertInsert(insert); })
        .Case([&](tensor::PadOp pad) { return convertPad(pad); })
        .Default([&](Operation *other) { return convertSimple(other); });
  }

  static bool isEmpty(Value value) {
    auto type = dyn_cast<RankedTensorType>(value.getType());
    return type && type.getNumElements() == 0;
  }

  static std::string unknown(Operation *op) {
    return ("error[E111]: op '" + op->getName().getStringRef() + "' has no command and belongs to no kernel").str();
  }

  void convertMove(Operation *op, const StridedCopy &move) {
    Value input = op->getOperand(0), result = op->getResult(0);
    Place place = places.lookup(input);
    if (move.isContiguous() && !inOutput.count(result)) {
      auto type = cast<RankedTensorType>(input.getType());
      places[result] = {place.root, place.offset + move.inOffset * getElementBytes(type.getElementType())};
      ++numViews;
      return;
    }
    Value in = use(op->getLoc(), input);
    commands.copy(op->getLoc(), in, define(op->getLoc(), result), move);
  }

  LogicalResult convertConstant(arith::ConstantOp constant) {
    auto value = dyn_cast<DenseElementsAttr>(constant.getValue());
    if (!value)
      return constant.emitError(unknown(constant));
    Location loc = constant.getLoc();
    if (value.isSplat() && getTensorBytes(constant.getType()) > maxDataBytes)
      commands.fill(loc, define(loc, constant.getResult()), value.getSplatValue<Attribute>());
    else
      places[constant.getResult()] = {DataOp::create(builder, loc, commands.bufferType(constant.getType()), value), 0};
    return success();
  }

  /// Collectives see the arena only: what lies elsewhere is copied.
  Value communicated(Location loc, Value value) {
    Place place = places.lookup(value);
    if (place.root.getDefiningOp<BufferOp>())
      return use(loc, value);
    Value in = use(loc, value), buffer = commands.allocate(loc, value.getType());
    commands.copyWhole(loc, in, buffer);
    return buffer;
  }

  /// Where the results lie.
  SmallVector<Place> convertCollective(Operation *op, ValueRange results, std::optional<int64_t> token) {
    Location loc = op->getLoc();
    SmallVector<NamedAttribute> params{commands.param("axes", cast<CollectiveOpInterface>(op).getAxesAttr()),
                                       commands.param("plan_id", numCollectives++)};
    StringRef name = op->getName().stripDialect();
    if (auto reduce = dyn_cast<AllReduceOp>(op))
      params.push_back(commands.param("reduce", reduceName(reduce.getKind())));
    if (auto scatter = dyn_cast<ReduceScatterOp>(op))
      params.push_back(commands.param("reduce", reduceName(scatter.getKind())));
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
          llvm::to_vector(llvm::concat<const int64_t>(ArrayRef<int64_t>(members), one.getShape())),
          one.getElementType());
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

  /// Rows of the fused collective with its fill: as many blocks as ranks.
  RankedTensorType paddedType(ScatterNormGatherOp op) {
    RankedTensorType rows = op.getResidual().getType();
    return RankedTensorType::get({getGrid(old).getNumShards(op.getAxes()), rows.getDimSize(0), rows.getDimSize(1)},
                                 rows.getElementType());
  }

  /// The padded rows that the one user of a value communicates, through reshapes; null when no buffer has to be larger.
  RankedTensorType paddedUse(Value value) {
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

  /// x, residual, weight, [bias], [norm_bias] -> normed, sum, the own normed rows that peers read. Buffers of whole
  /// tensors have room for the fill of the last ranks.
  SmallVector<Place> convertScatterNorm(ScatterNormGatherOp op, ValueRange results, StringRef command,
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

  LogicalResult convertConcat(tensor::ConcatOp op) {
    // Where a part was computed in place, there is a buffer already.
    Value out = places.count(op.getResult()) ? use(op.getLoc(), op.getResult()) : define(op.getLoc(), op.getResult());
    Place whole = places.lookup(op.getResult());
    SmallVector<int64_t> strides = rowMajorStrides(op.getResultType().getShape());
    int64_t offset = 0;
    for (Value input : op.getInputs()) {
      auto type = cast<RankedTensorType>(input.getType());
      Place place = places.lookup(input);
      bool inPlace = inConcat.count(wholeSource(input)) && place.root == whole.root &&
                     place.offset == whole.offset + offset * getElementBytes(type.getElementType());
      if (type.getNumElements() > 0 && !inPlace)
        commands.copy(op.getLoc(), use(op.getLoc(), input), out,
                      {SmallVector<int64_t>(type.getShape()), rowMajorStrides(type.getShape()), strides, 0, offset});
      offset += type.getDimSize(op.getDim()) * strides[op.getDim()];
    }
    return success();
  }

  LogicalResult convertInsert(tensor::InsertSliceOp op) {
    if (op->getNumOperands() != 2)
      return op.emitError(unknown(op));
    Value out = define(op.getLoc(), op.getResult());
    commands.copyWhole(op.getLoc(), use(op.getLoc(), op.getDest()), out);
    SmallVector<int64_t> strides = rowMajorStrides(op.getType().getShape()), outStrides;
    llvm::SmallBitVector dropped = op.getDroppedDims();
    int64_t offset = 0;
    for (int64_t dim = 0; dim < op.getType().getRank(); ++dim) {
      offset += op.getStaticOffset(dim) * strides[dim];
      if (!dropped.test(dim))
        outStrides.push_back(strides[dim] * op.getStaticStride(dim));
    }
    ArrayRef<int64_t> shape = op.getSourceType().getShape();
    commands.copy(op.getLoc(), use(op.getLoc(), op.getSource()), out,
                  {SmallVector<int64_t>(shape), rowMajorStrides(shape), outStrides, 0, offset});
    return success();
  }

  LogicalResult convertPad(tensor::PadOp op) {
    Attribute value;
    Value padding = op.getConstantPaddingValue();
    if (!padding || !matchPattern(padding, m_Constant(&value)) || op->getNumOperands() != 1 ||
        llvm::any_of(op.getStaticLow(), [](int64_t d) { return d < 0; }) ||
        llvm::any_of(op.getStaticHigh(), [](int64_t d) { return d < 0; }))
      return op.emitError(unknown(op));
    Value out = define(op.getLoc(), op.getResult());
    commands.fill(op.getLoc(), out, value);
    SmallVector<int64_t> strides = rowMajorStrides(op.getResultType().getShape());
    int64_t offset = 0;
    for (auto [low, stride] : llvm::zip_equal(op.getStaticLow(), strides))
      offset += low * stride;
    ArrayRef<int64_t> shape = op.getSourceType().getShape();
    commands.copy(op.getLoc(), use(op.getLoc(), op.getSource()), out,
                  {SmallVector<int64_t>(shape), rowMajorStrides(shape), strides, 0, offset});
    return success();
  }

  /// Ops that are one command on their operands.
  LogicalResult convertSimple(Operation *op) {
    using Params = SmallVector<NamedAttribute>;
    auto &c = commands;
    ArrayAttr none = builder.getArrayAttr({});
    StringRef name = op->getName().stripDialect();
    std::optional<Params> params =
        TypeSwitch<Operation *, std::optional<Params>>(op)
            .Case([&](MatmulOp m) {
              return Params{c.param("transpose_a", int64_t(m.getTransposeLhs())),
                            c.param("transpose_b", int64_t(m.getTransposeRhs()))};
            })
            .Case([&](AttentionOp a) {
              return Params{c.param("scale", a.getScale().convertToDouble()),
                            c.param("causal", int64_t(a.isCausal())),
                            c.param("causal_offset", static_cast<int64_t>(a.getCausalOffset().value_or(0))),
                            c.param("softcap", a.getSoftcap().convertToDouble()),
                            c.param("has_mask", int64_t(a.getMask() != nullptr)),
                            c.param("has_lengths", int64_t(a.getLengths() != nullptr))};
            })
            .Case([&](EmbeddingOp e) {
              int64_t rows = cast<RankedTensorType>(e.getTable().getType()).getDimSize(0);
              return Params{c.param("vocab", static_cast<int64_t>(e.getVocab().value_or(rows))),
                            c.param("axes", e.getVocabAxesAttr() ? e.getVocabAxesAttr() : none),
                            c.param("grain", static_cast<int64_t>(e.getGrain()))};
            })
            .Case([&](GatherOp g) { return Params{c.param("axis", static_cast<int64_t>(g.getAxis()))}; })
            .Case([&](GatherNDOp g) { return Params{c.param("batch_dims", static_cast<int64_t>(g.getBatchDims()))}; })
            .Case([&](GatherElementsOp g) { return Params{c.param("axis", static_cast<int64_t>(g.getAxis()))}; })
            .Case([&](RankMaskOp r) { return Params{c.param("axes", r.getAxesAttr())}; })
            .Case<ShardSliceOp, PackShardsOp, UnpackShardsOp>([&](auto s) {
              Params shard{c.param("dim", static_cast<int64_t>(s.getDim())), c.param("axes", s.getAxesAttr()),
                           c.param("grain", static_cast<int64_t>(s.getGrain()))};
              if (auto slice = dyn_cast<ShardSliceOp>(s.getOperation())) {
                name = "shard_copy";
                if (slice.getShift() != 0)
                  shard.push_back(c.param("shift", static_cast<int64_t>(slice.getShift())));
              }
              if (auto unpack = dyn_cast<UnpackShardsOp>(s.getOperation()); unpack && unpack.getRotated())
                shard.push_back(c.param("rotated", int64_t(1)));
              return shard;
            })
            .Default([](Operation *) { return std::nullopt; });
    if (!params)
      return op->emitError(unknown(op));
    SmallVector<Value> ins;
    for (Value operand : op->getOperands())
      ins.push_back(use(op->getLoc(), operand));
    c.command(op->getLoc(), name, ins, define(op->getLoc(), op->getResult(0)), *params);
    return success();
  }

public:
  int64_t numLaunches = 0;

private:
  func::FuncOp old, fresh;
  Block &block;
  OpBuilder builder;
  CommandBuilder commands;
  int64_t maxDataBytes, numCollectives = 0, numTokens = 0;
  DenseMap<Value, Place> places;
  DenseMap<Value, std::pair<Value, int64_t>> inConcat; ///< value -> concatenation, offset in it in bytes
  DenseMap<Value, Value> inOutput;                     ///< value -> output that is its buffer
  llvm::DenseSet<unsigned> written;
  DenseMap<Value, std::pair<int64_t, SmallVector<Place>>> tokens;
};

struct ConvertToCommands : impl::ConvertToCommandsPassBase<ConvertToCommands> {
  using ConvertToCommandsPassBase::ConvertToCommandsPassBase;
  void runOnOperation() override {
    bool failed = false;
    for (func::FuncOp function : llvm::make_early_inc_range(getOperation().getOps<func::FuncOp>())) {
      if (function.isExternal() || !llvm::hasSingleElement(function.getBody())) {
        function.emitError("form async has one block per function");
        failed = true;
        continue;
      }
      Converter converter(function, maxDataBytes);
      if (mlir::failed(converter.run())) {
        failed = true;
        continue;
      }
      numCommands += converter.counts().numCommands + converter.numLaunches;
      numCopies += converter.counts().numCopies;
      numViews += converter.numViews;
    }
    if (failed)
      signalPassFailure();
  }
};
} // namespace
} // namespace mlir::comm
