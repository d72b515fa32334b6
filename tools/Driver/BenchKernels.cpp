//===- BenchKernels.cpp - native kernels that commc bench measures --------===//
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include "passes/Lower/Codegen/Codegen.h"
#include "tools/Driver/Cost.h"
#include "llvm/Support/FormatVariadic.h"

using namespace commc;
using namespace mlir;
using namespace mlir::comm;

/// One loop nest of each kind: what stands between products, and what follows a reduction.
static std::string textOf(llvm::StringRef kind, int64_t rows, int64_t columns) {
  std::string type = llvm::formatv("tensor<{0}x{1}xf32>", rows, columns),
              row = llvm::formatv("tensor<{0}xf32>", columns);
  if (kind == "loop")
    return llvm::formatv("func.func @f(%x: {0}, %y: {0}) {{\n"
                         "  %r = comm.fused ins(%x, %y : {0}, {0}) -> {0} {{\n  ^bb0(%a: {0}, %b: {0}):\n"
                         "    %s = comm.silu %a : {0}\n    %m = arith.mulf %s, %b : {0}\n    comm.yield %m : {0}\n  }\n"
                         "  return\n}",
                         type);
  return llvm::formatv(
      "func.func @f(%x: {0}, %y: {0}, %w: {1}) {{\n"
      "  %r:2 = comm.fused ins(%x, %y, %w : {0}, {0}, {1}) -> {0}, {0} {{\n"
      "  ^bb0(%a: {0}, %b: {0}, %g: {1}):\n    %s = arith.addf %a, %b : {0}\n"
      "    %n = comm.rms_norm %s, %g epsilon 1.0e-5 : {0}, {1}\n    comm.yield %n, %s : {0}, {0}\n  }\n"
      "  return\n}",
      type, row);
}

bool commc::compileBenchKernels(std::vector<BenchKernel> &kernels, std::vector<::comm::exe::NativeObject> &objects,
                                std::string &error) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<CommDialect, func::FuncDialect, arith::ArithDialect, math::MathDialect, linalg::LinalgDialect,
                      tensor::TensorDialect>();
  std::vector<OwningOpRef<ModuleOp>> modules;
  std::vector<KernelSource> sources;
  for (BenchKernel &kernel : kernels) {
    modules.push_back(parseSourceString<ModuleOp>(textOf(kernel.kind, kernel.rows, kernel.columns), &context));
    FusedOp fused;
    if (modules.back())
      modules.back()->walk([&](FusedOp op) { fused = op; });
    if (!fused || !canCompileKernel(fused.getBody().front(), &error)) {
      error = "the kernel '" + kernel.kind + "' cannot be compiled" + (error.empty() ? "" : ": " + error);
      return false;
    }
    kernel.symbol = kernel.kind + "_" + std::to_string(kernel.rows);
    kernel.iterations = getKernelIterations(fused.getBody().front());
    sources.push_back({kernel.symbol, &fused.getBody().front()});
  }
  auto compiled = compileKernels(sources, {});
  if (failed(compiled)) {
    error = "the kernels cannot be compiled";
    return false;
  }
  objects = std::move(*compiled);
  return true;
}
