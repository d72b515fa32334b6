//===- LocalCase.cpp - a module of form local, before and after passes ----===//
#include "LocalCase.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Pass/PassRegistry.h"
#include "mlir/Transforms/Passes.h"
#include "passes/Lower/Passes.h"
#include "passes/Optimize/Passes.h"
#include "passes/Schedule/Passes.h"
#include <cmath>
#include <random>

using namespace mlir;
using namespace mlir::comm;

namespace {
MLIRContext &sharedContext() {
  static MLIRContext *context = [] {
    registerOptimizePasses();
    registerSchedulePasses();
    registerLowerPasses();
    registerCanonicalizerPass();
    registerCSEPass();
    DialectRegistry registry;
    registry.insert<CommDialect, arith::ArithDialect, func::FuncDialect, linalg::LinalgDialect, math::MathDialect,
                    tensor::TensorDialect>();
    auto *made = new MLIRContext(registry, MLIRContext::Threading::DISABLED);
    made->loadAllAvailableDialects();
    return made;
  }();
  return *context;
}

std::string type(std::initializer_list<int64_t> shape) {
  std::string text = "tensor<";
  for (int64_t size : shape)
    text += std::to_string(size) + "x";
  return text + "f64>";
}

/// Small integers; the same on all ranks for names that begin with r.
HostTensor makeInput(RankedTensorType type, bool replicated, uint32_t seed, int64_t rank) {
  std::mt19937 engine(seed * 7919 + (replicated ? 0 : static_cast<uint32_t>(rank) + 1));
  HostTensor out = HostTensor::zeros(type);
  for (double &x : out.floats)
    x = static_cast<double>(engine() % 7) - 3;
  for (int64_t &x : out.ints)
    x = engine() % 2;
  return out;
}

std::string compare(const HostTensor &expected, const HostTensor &got, bool exact) {
  for (int64_t i = 0; i < expected.size(); ++i) {
    double a = expected.floats[i], b = got.floats[i];
    if (exact ? a != b : !(std::abs(a - b) <= 1e-9 * (1 + std::abs(a))))
      return "element " + std::to_string(i) + " is " + std::to_string(b) + ", not " + std::to_string(a);
  }
  return "";
}
} // namespace

std::string commtest::Decoder::module() const {
  constexpr int64_t heads = 2, depth = 3, hidden = 5, inner = 4;
  int64_t b = batch, s = tokens, t = past + tokens, h = hidden;
  std::string x = type({b, s, h}), q = type({b, s, heads * depth}), four = type({b, heads, s, depth}),
              wide = type({b, s, heads, depth}), cache = type({b, heads, past, depth}),
              full = type({b, heads, t, depth}), mlp = type({b, s, inner}), vector = type({h});
  std::string body, arguments = "%r0: " + x + ", %rg: " + vector, results, types;
  int next = 0;
  auto name = [&] { return "%v" + std::to_string(next++); };
  auto weight = [&](std::initializer_list<int64_t> shape) {
    std::string w = "%w" + std::to_string(next++);
    arguments += ", " + w + ": " + type(shape);
    return w;
  };
  auto line = [&](const std::string &text) {
    std::string v = name();
    body += "  " + v + " = " + text + "\n";
    return v;
  };
  auto matmul = [&](const std::string &a, const std::string &at, std::initializer_list<int64_t> shape,
                    const std::string &out) {
    return line("comm.matmul " + a + ", " + weight(shape) + " : " + at + ", " + type(shape) + " -> " + out);
  };
  auto norm = [&](const std::string &v) {
    return layerNorm
               ? line("comm.layer_norm " + v + ", %rg bias %rg : " + vector + " epsilon 1.0e-5 : " + x + ", " + vector)
               : line("comm.rms_norm " + v + ", %rg epsilon 1.0e-5 : " + x + ", " + vector);
  };
  std::string sum = "%r0";
  auto reduce = [&](std::string v) {
    std::string f = type({b * s, h});
    if (flat) // reshapes around the reduction must not stop anything
      v = line("tensor.collapse_shape " + v + " [[0, 1], [2]] : " + x + " into " + f);
    v = line("comm.all_reduce sum " + v + " over @grid[\"tp\"] : " + (flat ? f : x));
    if (flat)
      v = line("tensor.expand_shape " + v + " [[0, 1], [2]] output_shape [" + std::to_string(b) + ", " +
               std::to_string(s) + ", " + std::to_string(h) + "] : " + f + " into " + x);
    if (bias) {
      std::string e = line("tensor.empty() : " + x);
      std::string wideBias =
          line("linalg.broadcast ins(%rg : " + vector + ") outs(" + e + " : " + x + ") dimensions = [0, 1]");
      v = line("arith.addf " + v + ", " + wideBias + " : " + x);
    }
    sum = line("arith.addf " + sum + ", " + v + " : " + x);
    return norm(sum);
  };
  std::string normed = norm(sum);
  for (int64_t layer = 0; layer < layers; ++layer) {
    std::string parts[3];
    for (std::string &part : parts) {
      std::string v = matmul(normed, x, {h, heads * depth}, q);
      v = line("tensor.expand_shape " + v + " [[0], [1], [2, 3]] output_shape [" + std::to_string(b) + ", " +
               std::to_string(s) + ", " + std::to_string(heads) + ", " + std::to_string(depth) + "] : " + q + " into " +
               wide);
      std::string e = line("tensor.empty() : " + four);
      part = line("linalg.transpose ins(" + v + " : " + wide + ") outs(" + e + " : " + four +
                  ") permutation = [0, 2, 1, 3]");
    }
    if (past > 0)
      for (int i : {1, 2}) {
        std::string p = "%r" + std::to_string(++next);
        arguments += ", " + p + ": " + cache;
        parts[i] = line("tensor.concat dim(2) " + p + ", " + parts[i] + " : (" + cache + ", " + four + ") -> " + full);
        results += ", " + parts[i];
        types += ", " + full;
      }
    std::string a = line("comm.attention " + parts[0] + ", " + parts[1] + ", " + parts[2] + " scale 1.0" +
                         (causal ? " causal " + std::to_string(past) : "") + " : " + four + ", " + full + ", " + full +
                         " -> " + four);
    std::string e = line("tensor.empty() : " + wide);
    a = line("linalg.transpose ins(" + a + " : " + four + ") outs(" + e + " : " + wide +
             ") permutation = [0, 2, 1, 3]");
    a = line("tensor.collapse_shape " + a + " [[0], [1], [2, 3]] : " + wide + " into " + q);
    normed = reduce(matmul(a, q, {heads * depth, h}, x));
    std::string u = matmul(normed, x, {h, inner}, mlp);
    u = line("comm.silu " + u + " : " + mlp);
    normed = reduce(matmul(u, mlp, {inner, h}, x));
  }
  if (returnsSum) {
    results += ", " + sum;
    types += ", " + x;
  }
  return "comm.grid @grid [\"tp\"] = [" + std::to_string(ranks) + "]\nfunc.func @main(" + arguments + ") -> (" + x +
         types + ") {\n" + body + "  return " + normed + results + " : " + x + types + "\n}\n";
}

int64_t commtest::countOps(ModuleOp module, StringRef name) {
  int64_t count = 0;
  module.walk([&](Operation *op) { count += op->getName().getStringRef() == name; });
  return count;
}

std::string commtest::compareLocal(const std::string &text, const std::string &pipeline, uint32_t seed,
                                   OwningOpRef<ModuleOp> *after) {
  MLIRContext &context = sharedContext();
  std::string diagnostics;
  ScopedDiagnosticHandler handler(&context, [&](Diagnostic &diagnostic) {
    diagnostics += diagnostic.str() + "\n";
    return success();
  });
  auto before = parseSourceString<ModuleOp>(text, &context), changed = parseSourceString<ModuleOp>(text, &context);
  if (!before || !changed)
    return "does not parse: " + diagnostics + text;
  PassManager manager(&context);
  if (failed(parsePassPipeline(pipeline, manager)) || failed(manager.run(*changed)))
    return "the passes failed: " + diagnostics + text;
  std::string printed;
  llvm::raw_string_ostream(printed) << *changed;
  auto source = before->lookupSymbol<func::FuncOp>("main"), target = changed->lookupSymbol<func::FuncOp>("main");
  int64_t ranks = getGrid(*before).getNumRanks();
  // Whether an argument is the same on all ranks stands in its name, which only the text has.
  SmallVector<bool> replicated;
  StringRef signature = StringRef(text).split("@main(").second.split(") ->").first;
  SmallVector<StringRef> names;
  signature.split(names, '%', -1, false);
  for (StringRef one : names)
    replicated.push_back(one.starts_with("r"));
  std::vector<std::vector<HostTensor>> inputs(ranks);
  for (auto [index, argument] : llvm::enumerate(source.getArgumentTypes()))
    for (int64_t rank = 0; rank < ranks; ++rank)
      inputs[rank].push_back(makeInput(cast<RankedTensorType>(argument), replicated[index], seed + index, rank));
  for (bool exact : {true, false}) {
    InterpreterOptions options;
    options.integerStandIns = exact;
    auto expected = interpret(source, inputs, options), got = interpret(target, inputs, options);
    if (failed(expected) || failed(got))
      return "it does not run: " + diagnostics + printed;
    for (int64_t rank = 0; rank < ranks; ++rank)
      for (size_t i = 0; i < (*expected)[rank].size(); ++i)
        if (std::string why = compare((*expected)[rank][i], (*got)[rank][i], exact); !why.empty())
          return (exact ? "stand-ins: rank " : "real numbers: rank ") + std::to_string(rank) + ", result " +
                 std::to_string(i) + ": " + why + "\n" + printed;
  }
  if (after)
    *after = std::move(changed);
  return "";
}
