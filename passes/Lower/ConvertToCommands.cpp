//===- ConvertToCommands.cpp - values become buffers, ops commands --------===//
// Matches   every function of form async whose groups are outlined
// Rewrites  arguments and results -> memref arguments; values -> comm.buffer, comm.view; ops -> comm.command, launches
// Skips     nothing; ops without a command are listed as errors
//===----------------------------------------------------------------------===//
#include "comm/IR/CommExpertOps.h"
#include "comm/IR/Precision.h"
#include "passes/Lower/Converter.h"
#include "passes/Lower/Passes.h"
#include "llvm/ADT/TypeSwitch.h"

namespace mlir::comm {
#define GEN_PASS_DEF_CONVERTTOCOMMANDSPASS
#include "passes/Lower/Passes.h.inc"

LogicalResult Converter::run() {
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

void Converter::createFunction() {
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

LogicalResult Converter::convert(Operation *op) {
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

bool Converter::isEmpty(Value value) {
  auto type = dyn_cast<RankedTensorType>(value.getType());
  return type && type.getNumElements() == 0;
}

std::string Converter::unknown(Operation *op) {
  return ("error[E111]: op '" + op->getName().getStringRef() + "' has no command and belongs to no kernel").str();
}

LogicalResult Converter::convertSimple(Operation *op) {
  using Params = SmallVector<NamedAttribute>;
  auto &c = commands;
  ArrayAttr none = builder.getArrayAttr({});
  StringRef name = op->getName().stripDialect();
  auto withPrecision = [&](Operation *product, Params params) {
    if (StringRef precision = getPrecision(product); !precision.empty())
      params.push_back(c.param("precision", precision));
    return params;
  };
  std::optional<Params> params =
      TypeSwitch<Operation *, std::optional<Params>>(op)
          .Case([&](MatmulOp m) {
            return withPrecision(m, {c.param("transpose_a", int64_t(m.getTransposeLhs())),
                                     c.param("transpose_b", int64_t(m.getTransposeRhs()))});
          })
          .Case([&](QuantizedMatmulOp q) {
            return Params{c.param("bits", static_cast<int64_t>(q.getBits())),
                          c.param("block", static_cast<int64_t>(q.getBlock())),
                          c.param("signed", int64_t(q.getIsSigned())), c.param("k_major", int64_t(q.getKMajor())),
                          c.param("int8", int64_t(q.getInt8()))};
          })
          .Case([&](AttentionOp a) {
            return withPrecision(a, {c.param("scale", a.getScale().convertToDouble()),
                                     c.param("causal", int64_t(a.isCausal())),
                                     c.param("causal_offset", static_cast<int64_t>(a.getCausalOffset().value_or(0))),
                                     c.param("softcap", a.getSoftcap().convertToDouble()),
                                     c.param("has_mask", int64_t(a.getMask() != nullptr)),
                                     c.param("has_lengths", int64_t(a.getLengths() != nullptr))});
          })
          .Case([&](EmbeddingOp e) {
            int64_t rows = cast<RankedTensorType>(e.getTable().getType()).getDimSize(0);
            return Params{c.param("vocab", static_cast<int64_t>(e.getVocab().value_or(rows))),
                          c.param("axes", e.getVocabAxesAttr() ? e.getVocabAxesAttr() : none),
                          c.param("grain", static_cast<int64_t>(e.getGrain()))};
          })
          .Case([&](ExpertMatmulOp e) {
            int64_t held = cast<RankedTensorType>(e.getWeights().getType()).getDimSize(0);
            return Params{c.param("experts", static_cast<int64_t>(e.getExperts().value_or(held))),
                          c.param("axes", e.getExpertAxesAttr() ? e.getExpertAxesAttr() : none),
                          c.param("grain", static_cast<int64_t>(e.getGrain())),
                          c.param("transpose", int64_t(e.getTranspose()))};
          })
          .Case([&](GatherOp g) { return Params{c.param("axis", static_cast<int64_t>(g.getAxis()))}; })
          .Case([&](GatherNDOp g) { return Params{c.param("batch_dims", static_cast<int64_t>(g.getBatchDims()))}; })
          .Case([&](GatherElementsOp g) { return Params{c.param("axis", static_cast<int64_t>(g.getAxis()))}; })
          .Case([&](ScatterNDOp s) { return Params{c.param("kind", stringifyScatterKind(s.getKind()))}; })
          .Case([&](TopKOp t) { return Params{c.param("largest", int64_t(t.getLargest()))}; })
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

void Converter::copyOutputs() {
  for (auto [index, value] : llvm::enumerate(block.getTerminator()->getOperands()))
    if (!written.contains(index))
      commands.copyWhole(value.getLoc(), use(value.getLoc(), value), output(index));
}

namespace {
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
