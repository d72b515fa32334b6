//===- VerifyForm.cpp - list every op that the form does not allow --------===//
#include "comm/IR/CommExpertOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "passes/Verify/Passes.h"
#include "llvm/ADT/StringSwitch.h"

namespace mlir::comm {
#define GEN_PASS_DEF_VERIFYFORMPASS
#include "passes/Verify/Passes.h.inc"

namespace {
enum class Form { Global, Local, Async, Command, Unknown };

Form parseForm(StringRef name) {
  return llvm::StringSwitch<Form>(name)
      .Case("global", Form::Global)
      .Case("local", Form::Local)
      .Case("async", Form::Async)
      .Case("command", Form::Command)
      .Default(Form::Unknown);
}

bool isUpstreamValueOp(Operation *op) {
  return isa<arith::ArithDialect, math::MathDialect, tensor::TensorDialect>(op->getDialect()) ||
         isa<linalg::TransposeOp, linalg::BroadcastOp, linalg::ReduceOp, linalg::FillOp>(op);
}
bool isModelOp(Operation *op) { return isa<WeightOp>(op) || isa<ShardingRuleOpInterface>(op); }
bool isRankOp(Operation *op) { return isa<CollectiveOpInterface, ShardSliceOp, RankMaskOp, UnpackShardsOp>(op); }
bool isCommandOp(Operation *op) { return isa<BufferOp, ViewOp, DataOp, LoadedWeightOp, CommandOp, LaunchOp>(op); }

/// Why `op` is illegal in `form`; empty when it is legal.
std::string illegal(Operation *op, Form form) {
  if (form == Form::Command)
    return isCommandOp(op) || isa<func::ReturnOp>(op) ? "" : "only buffers, commands and launches are left";
  if (isa<func::ReturnOp>(op) || isUpstreamValueOp(op))
    return "";
  if (auto weight = dyn_cast<WeightOp>(op); weight && form == Form::Global && weight.getLayoutAttr())
    return "tensors are still whole, but this weight is split";
  if (auto embedding = dyn_cast<EmbeddingOp>(op); embedding && form == Form::Global && embedding.getVocab())
    return "tensors are still whole, but this table is split";
  if (auto experts = dyn_cast<ExpertMatmulOp>(op); experts && form == Form::Global && experts.getExperts())
    return "tensors are still whole, but these experts are split";
  if (isModelOp(op))
    return "";
  if (isRankOp(op))
    return form == Form::Global ? "there is no communication before tensors are split" : "";
  if (isa<StartOp, WaitOp, FusedOp>(op))
    return form == Form::Async ? "" : "start, wait and fused groups belong to form async";
  return "the form does not know this op";
}

struct VerifyForm : impl::VerifyFormPassBase<VerifyForm> {
  using VerifyFormPassBase::VerifyFormPassBase;

  void runOnOperation() override {
    Form wanted = parseForm(form);
    if (wanted == Form::Unknown) {
      getOperation().emitError("comm-verify-form: unknown form '") << form << "'; use global, local, async or command";
      return signalPassFailure();
    }
    bool ok = true;
    for (Operation &top : getOperation().getBody()->getOperations()) {
      if (auto function = dyn_cast<func::FuncOp>(top))
        ok &= check(function, wanted);
      else if (!isa<GridOp, KernelOp>(top)) {
        top.emitError("'") << form << "' does not allow this op here";
        ok = false;
      }
    }
    if (!ok)
      signalPassFailure();
  }

private:
  bool check(func::FuncOp function, Form wanted) {
    if (!llvm::hasSingleElement(function.getBody())) {
      function.emitError("'") << form << "' needs functions of one block";
      return false;
    }
    bool ok = true;
    for (Operation &op : function.getBody().front()) {
      ++numChecked;
      std::string why = illegal(&op, wanted);
      if (why.empty() && wanted != Form::Command && !llvm::all_of(op.getResultTypes(), isStatic))
        why = "types must be static tensors";
      if (!why.empty()) {
        op.emitError("'") << form << "' does not allow '" << op.getName() << "': " << why;
        ok = false;
      }
    }
    return wanted == Form::Async ? checkTokens(function) && ok : ok;
  }

  static bool isStatic(Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    return (tensor && tensor.hasStaticShape()) || isa<TokenType>(type);
  }

  static bool checkTokens(func::FuncOp function) {
    bool ok = true;
    int64_t last = -1;
    function.walk([&](StartOp start) {
      int64_t order = start.getOrder();
      if (order <= last) {
        start.emitError("order ") << order << " does not rise above " << last << ", the order of the start before it";
        ok = false;
      }
      last = order;
      int64_t waits = llvm::count_if(start.getToken().getUsers(), [](Operation *user) { return isa<WaitOp>(user); });
      if (waits != 1 || !start.getToken().hasOneUse()) {
        start.emitError("expected the token to be waited exactly once, found ") << waits << " waits";
        ok = false;
      } else if ((*start.getToken().user_begin())->getBlock() != start->getBlock()) {
        start.emitError("the token is waited in another block");
        ok = false;
      }
    });
    return ok;
  }
};
} // namespace
} // namespace mlir::comm
