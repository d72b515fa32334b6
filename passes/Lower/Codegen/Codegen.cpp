//===- Codegen.cpp - fused groups become native code ----------------------===//
#include "Codegen.h"
#include "Internal.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"

using namespace mlir;
using namespace mlir::comm;

/// What registers can compute without a library: f64 has few polynomials.
static bool checkScalarTypes(Block &body, std::string &why) {
  for (Operation &op : body.without_terminator())
    for (Type type : op.getResultTypes()) {
      Type element = getElementTypeOrSelf(type);
      bool library = isa<math::MathDialect>(op.getDialect()) &&
                     !isa<math::SqrtOp, math::AbsFOp, math::AbsIOp, math::FloorOp, math::CeilOp, math::TruncOp,
                          math::RoundEvenOp, math::CopySignOp, math::FmaOp, math::IsNaNOp, math::IsInfOp,
                          math::IsFiniteOp, math::ExpOp, math::LogOp, math::PowFOp>(op);
      bool named = isa<GeluOp>(op);
      if (element.isF64() && (library || named)) {
        why = (op.getName().getStringRef() + " on f64 needs a math library").str();
        return false;
      }
      if (isa<arith::RemFOp>(op) && element.isF64()) {
        why = "the remainder of f64 needs a math library";
        return false;
      }
    }
  return true;
}

namespace {
/// A scratch module that holds decomposed copies.
struct Scratch {
  explicit Scratch(MLIRContext *context)
      : module(ModuleOp::create(UnknownLoc::get(context))), builder(OpBuilder::atBlockEnd(module->getBody())) {}
  OwningOpRef<ModuleOp> module;
  OpBuilder builder;
};
} // namespace

static FailureOr<codegen::LoopPlan> planBody(Block &body, Scratch &scratch, func::FuncOp &copy, StringRef name,
                                             std::string &why) {
  if (body.empty() || !isa<YieldOp>(body.back())) {
    why = "the body does not end in comm.yield";
    return failure();
  }
  if (!checkScalarTypes(body, why))
    return failure();
  copy = codegen::decomposedCopy(body, name, scratch.builder);
  return codegen::planLoops(copy, why);
}

bool mlir::comm::canCompileKernel(Block &body, std::string *why) {
  std::string reason;
  Scratch scratch(body.getParentOp()->getContext());
  func::FuncOp copy;
  bool ok = succeeded(planBody(body, scratch, copy, "probe", reason));
  if (why)
    *why = reason;
  return ok;
}

static int64_t iterationsOf(const codegen::LoopPlan &plan, func::FuncOp copy) {
  if (!plan.outer.empty())
    return plan.sizes[plan.outer[0]];
  bool reduces = llvm::any_of(copy.getBody().front(), [](Operation &op) { return isa<linalg::ReduceOp>(op); });
  return reduces ? 1 : plan.sizes[plan.inner[0]];
}

int64_t mlir::comm::getKernelIterations(Block &body) {
  std::string why;
  Scratch scratch(body.getParentOp()->getContext());
  func::FuncOp copy;
  FailureOr<codegen::LoopPlan> plan = planBody(body, scratch, copy, "probe", why);
  return succeeded(plan) ? iterationsOf(*plan, copy) : 0;
}

/// A level with AVX512_BF16 differs from the one without in how results are rounded.
static bool storesBF16(ArrayRef<KernelSource> kernels) {
  return llvm::any_of(kernels, [](const KernelSource &kernel) {
    return llvm::any_of(kernel.body->getTerminator()->getOperandTypes(),
                        [](Type type) { return getElementTypeOrSelf(type).isBF16(); });
  });
}

FailureOr<std::vector<::comm::exe::NativeObject>> mlir::comm::compileKernels(ArrayRef<KernelSource> kernels,
                                                                             const CodegenOptions &options) {
  std::vector<::comm::exe::NativeObject> objects;
  if (kernels.empty())
    return objects;
  MLIRContext *context = kernels[0].body->getParentOp()->getContext();
  DialectRegistry registry;
  registerBuiltinDialectTranslation(registry);
  registerLLVMDialectTranslation(registry);
  context->appendDialectRegistry(registry);
  context->loadDialect<LLVM::LLVMDialect, scf::SCFDialect, func::FuncDialect, arith::ArithDialect, math::MathDialect,
                       linalg::LinalgDialect, tensor::TensorDialect>();
  Scratch scratch(context);
  OwningOpRef<ModuleOp> emitted(ModuleOp::create(UnknownLoc::get(context)));
  for (const KernelSource &kernel : kernels) {
    std::string why;
    func::FuncOp copy;
    FailureOr<codegen::LoopPlan> plan = planBody(*kernel.body, scratch, copy, kernel.symbol, why);
    if (failed(plan))
      return kernel.body->getParentOp()->emitError("cannot compile kernel '") << kernel.symbol << "': " << why;
    if (failed(codegen::emitLoops(*emitted, copy, *plan, kernel.symbol)))
      return failure();
    // Also by columns, so that it can follow a product column by column.
    if (FailureOr<codegen::LoopPlan> columns = codegen::planColumns(copy);
        succeeded(columns) && failed(codegen::emitLoops(*emitted, copy, *columns, kernel.symbol)))
      return failure();
  }
  bool narrows = storesBF16(kernels);
  for (const std::string &isa : options.isaLevels) {
    if (!narrows && StringRef(isa).contains("bf16"))
      continue;
    FailureOr<std::vector<uint8_t>> object = codegen::compileObject(*emitted, isa);
    if (failed(object))
      return failure();
    objects.push_back({isa, std::move(*object)});
  }
  return objects;
}
