//===- SplitCase.cpp - one module, whole and split, interpreted -----------===//
#include "SplitCase.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include <random>

using namespace mlir;
using namespace mlir::comm;

MLIRContext &commtest::sharedContext() {
  static MLIRContext *context = [] {
    DialectRegistry registry;
    registry.insert<CommDialect, arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect, math::MathDialect,
                    tensor::TensorDialect>();
    auto *made = new MLIRContext(registry, MLIRContext::Threading::DISABLED);
    made->loadAllAvailableDialects();
    return made;
  }();
  return *context;
}

static HostTensor randomTensor(RankedTensorType type, std::mt19937 &engine) {
  HostTensor out = HostTensor::zeros(type);
  for (double &x : out.floats)
    x = engine() % 1000;
  for (int64_t &x : out.ints)
    x = engine() % 2;
  return out;
}

/// Layout attribute of an argument or result; null: replicated.
static LayoutAttr layoutOf(Attribute attr) { return dyn_cast_or_null<LayoutAttr>(attr); }

std::string commtest::compareSplit(const std::string &text, uint32_t seed, const PartitionOptions &options,
                                   OwningOpRef<ModuleOp> *split, const std::function<void(OpPassManager &)> &more) {
  MLIRContext &context = sharedContext();
  std::string diagnostics;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    diagnostics += diagnostic.str() + "\n";
    return success();
  });
  OwningOpRef<ModuleOp> whole = parseSourceString<ModuleOp>(text, &context),
                        local = parseSourceString<ModuleOp>(text, &context);
  if (!whole)
    return "does not parse: " + diagnostics;
  PassManager manager(&context);
  buildPartitionPhase(manager, options);
  if (more)
    more(manager);
  bool ok = succeeded(manager.run(*local));
  std::string printed;
  llvm::raw_string_ostream(printed) << *local;
  if (!ok)
    return "phase failed: " + diagnostics + printed;
  auto reference = whole->lookupSymbol<func::FuncOp>("main"), function = local->lookupSymbol<func::FuncOp>("main");
  GridOp grid = getGrid(*local);
  int64_t ranks = grid.getNumRanks();
  std::mt19937 engine(seed);
  std::vector<HostTensor> inputs;
  std::vector<std::vector<HostTensor>> shards(ranks);
  for (auto [index, type] : llvm::enumerate(reference.getArgumentTypes())) {
    inputs.push_back(randomTensor(cast<RankedTensorType>(type), engine));
    for (int64_t rank = 0; rank < ranks; ++rank)
      shards[rank].push_back(takeShard(inputs.back(), layoutOf(function.getArgAttr(index, kLayoutAttr)), grid, rank));
  }
  InterpreterOptions standIns;
  standIns.integerStandIns = true;
  auto expected = interpret(reference, {inputs}, standIns);
  if (failed(expected))
    return "unsplit run failed: " + diagnostics + text;
  auto got = interpret(function, shards, standIns);
  if (failed(got))
    return "split run failed: " + diagnostics + printed;
  for (auto [index, type] : llvm::enumerate(reference.getResultTypes())) {
    std::vector<HostTensor> parts;
    for (auto &rank : *got)
      parts.push_back(rank[index]);
    auto put = assemble(parts, cast<RankedTensorType>(type), layoutOf(function.getResultAttr(index, kLayoutAttr)), grid,
                        standIns);
    if (failed(put))
      return "ranks disagree on result " + std::to_string(index) + "\n" + printed;
    if (!(*put == (*expected)[0][index]))
      return "result " + std::to_string(index) + " differs\n" + printed;
  }
  if (split)
    *split = std::move(local);
  return "";
}
