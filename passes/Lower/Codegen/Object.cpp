//===- Object.cpp - loops to one relocatable object -----------------------===//
// Math on scalars becomes polynomials, innermost loops carry an explicit vector width, LLVM optimises at O3 without any
// library, and the object must not import. The width and interleave are the same for every ISA level, so that sums have
// one order everywhere.
//===----------------------------------------------------------------------===//
#include "Internal.h"
#include "mlir/Conversion/Passes.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Math/Transforms/Passes.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/GreedyPatternRewriteDriver.h"
#include "mlir/Transforms/Passes.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/IR/LLVMContext.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Object/ObjectFile.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Support/TargetSelect.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/TargetParser/Triple.h"

using namespace mlir;
using namespace mlir::comm;

namespace {
constexpr int64_t kVectorWidth = 16;
const char *kLoopAnnotation = "llvm.loop_annotation";

bool isReassociated(Operation *op) {
  auto math = dyn_cast<arith::ArithFastMathInterface>(op);
  auto flags = math ? math.getFastMathFlagsAttr() : nullptr;
  return flags && bitEnumContainsAny(flags.getValue(), arith::FastMathFlags::reassoc);
}

/// x y + z in one rounding, with products on the left first. Written out, so that an element has the same bits wherever
/// LLVM computes it: in a vector, in the rest behind the vectors, in a range of columns. Sums are left to LLVM, which
/// knows them in this form only.
template <class Op> struct ContractProduct : OpRewritePattern<Op> {
  using OpRewritePattern<Op>::OpRewritePattern;
  LogicalResult matchAndRewrite(Op op, PatternRewriter &rewriter) const override {
    if (isReassociated(op) || !op.getType().isF32())
      return failure();
    auto product = [](Value v) {
      auto mul = v.getDefiningOp<arith::MulFOp>();
      return mul && mul->hasOneUse() ? mul : arith::MulFOp();
    };
    auto negated = [&](Value v) { return arith::NegFOp::create(rewriter, op.getLoc(), v).getResult(); };
    constexpr bool minus = std::is_same_v<Op, arith::SubFOp>;
    if (arith::MulFOp mul = product(op.getLhs())) {
      Value rest = minus ? negated(op.getRhs()) : op.getRhs();
      rewriter.replaceOpWithNewOp<math::FmaOp>(op, mul.getLhs(), mul.getRhs(), rest);
      return success();
    }
    if (arith::MulFOp mul = product(op.getRhs())) {
      Value left = minus ? negated(mul.getLhs()) : mul.getLhs();
      rewriter.replaceOpWithNewOp<math::FmaOp>(op, left, mul.getRhs(), op.getLhs());
      return success();
    }
    return failure();
  }
};

/// No sign of zero, and what the loops ask for; NaN and infinity keep their meaning. No reassociation but of sums: it
/// would divide every element by what the row is multiplied with the reciprocal of. No reciprocals: a quotient that is
/// rounded to an integer next must be the right one.
void setFastMath(ModuleOp module) {
  auto add = [&](arith::ArithFastMathInterface op, arith::FastMathFlags flags) {
    if (auto given = op.getFastMathFlagsAttr())
      flags = flags | given.getValue();
    op->setAttr(op.getFastMathAttrName(), arith::FastMathFlagsAttr::get(module.getContext(), flags));
  };
  module.walk([&](arith::ArithFastMathInterface op) {
    if (isa<arith::ExtFOp, arith::TruncFOp>(op.getOperation()))
      return;
    add(op, arith::FastMathFlags::nsz);
    if (!isReassociated(op))
      return;
    add(op, arith::FastMathFlags::contract);
    for (Value operand : op->getOperands())
      if (auto mul = operand.getDefiningOp<arith::MulFOp>())
        add(mul, arith::FastMathFlags::contract);
  });
}

int64_t constantTrip(scf::ForOp loop) {
  auto bound = [](Value value) -> std::optional<int64_t> {
    APInt x;
    return matchPattern(value, m_ConstantInt(&x)) ? std::optional<int64_t>(x.getSExtValue()) : std::nullopt;
  };
  auto low = bound(loop.getLowerBound()), high = bound(loop.getUpperBound());
  return low && high ? *high - *low : -1;
}

/// Sums take turns in enough registers to hide the latency of an addition, unless the rest of the body hides it.
bool isShortSum(scf::ForOp loop) {
  auto computes = [](Operation &op) { return isa<arith::ArithFastMathInterface>(op); };
  return loop.getNumResults() > 0 && llvm::count_if(*loop.getBody(), computes) <= 12;
}

void annotateLoops(ModuleOp module) {
  MLIRContext *context = module.getContext();
  auto flag = [&](bool on) { return BoolAttr::get(context, on); };
  auto number = [&](int64_t x) { return IntegerAttr::get(IntegerType::get(context, 32), x); };
  module.walk([&](scf::ForOp loop) {
    if (loop.getBody()->walk([](scf::ForOp) { return WalkResult::interrupt(); }).wasInterrupted())
      return;
    int64_t trip = constantTrip(loop), width = kVectorWidth, interleave = 2;
    while (trip >= 0 && width > std::max<int64_t>(trip, 1))
      width /= 2;
    if (isShortSum(loop))
      interleave = 4;
    while (trip >= 0 && interleave > 1 && (trip % (width * interleave) != 0 || trip / (width * interleave) < 2))
      interleave /= 2;
    // No unrolling before vectors are formed; after that, short loops are laid out whole.
    auto noUnroll = LLVM::LoopUnrollAttr::get(context, flag(true), {}, {}, {}, {}, {}, {});
    LLVM::LoopAnnotationAttr asVectors;
    if (trip > width && trip <= 4 * width)
      asVectors = LLVM::LoopAnnotationAttr::get(context, {}, {}, {},
                                                LLVM::LoopUnrollAttr::get(context, {}, {}, {}, flag(true), {}, {}, {}),
                                                {}, {}, {}, {}, {}, {}, /*mustProgress=*/flag(true), {}, {}, {}, {});
    auto vectorize = LLVM::LoopVectorizeAttr::get(context, flag(false), {}, {}, number(width), asVectors, {}, {});
    auto annotation = LLVM::LoopAnnotationAttr::get(context, {}, vectorize,
                                                    LLVM::LoopInterleaveAttr::get(context, number(interleave)),
                                                    noUnroll, {}, {}, {}, {}, {}, {},
                                                    /*mustProgress=*/flag(true), {}, {}, {}, {});
    loop->setAttr(kLoopAnnotation, annotation);
  });
}

/// log10 has no upstream expansion.
struct ExpandLog10 : OpRewritePattern<math::Log10Op> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::Log10Op op, PatternRewriter &rewriter) const override {
    Value log = math::LogOp::create(rewriter, op.getLoc(), op.getOperand());
    Value scale =
        arith::ConstantOp::create(rewriter, op.getLoc(), rewriter.getFloatAttr(op.getType(), 0.43429448190325182765));
    rewriter.replaceOpWithNewOp<arith::MulFOp>(op, log, scale);
    return success();
  }
};

/// Round to nearest even in integers: arith.truncf would call a library on CPUs without the instruction.
struct ExpandRoundToBF16 : OpRewritePattern<arith::BitcastOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::BitcastOp op, PatternRewriter &rewriter) const override {
    auto rounding = op.getIn().getDefiningOp<arith::TruncFOp>();
    if (!rounding || !rounding.getType().isBF16() || !rounding.getIn().getType().isF32())
      return rewriter.notifyMatchFailure(op, "not the bits of an f32 rounded to bf16");
    Location loc = op.getLoc();
    auto c = [&](int64_t v) -> Value {
      return arith::ConstantOp::create(rewriter, loc, rewriter.getI32IntegerAttr(static_cast<int32_t>(v)));
    };
    Value bits = arith::BitcastOp::create(rewriter, loc, rewriter.getI32Type(), rounding.getIn());
    Value odd = arith::AndIOp::create(rewriter, loc, arith::ShRUIOp::create(rewriter, loc, bits, c(16)), c(1));
    Value rounded = arith::AddIOp::create(rewriter, loc, bits, arith::AddIOp::create(rewriter, loc, odd, c(0x7fff)));
    Value magnitude = arith::AndIOp::create(rewriter, loc, bits, c(0x7fffffff));
    Value isNaN = arith::CmpIOp::create(rewriter, loc, arith::CmpIPredicate::ugt, magnitude, c(0x7f800000));
    Value quiet = arith::OrIOp::create(rewriter, loc, bits, c(0x400000));
    Value chosen = arith::SelectOp::create(rewriter, loc, isNaN, quiet, rounded);
    rewriter.replaceOpWithNewOp<arith::TruncIOp>(op, op.getType(),
                                                 arith::ShRUIOp::create(rewriter, loc, chosen, c(16)));
    return success();
  }
};

/// "x86-64-v4+avx512bf16": a CPU and what it has besides.
bool roundsToBF16(StringRef isa) { return isa.contains("+avx512bf16"); }

/// A power that becomes an integer: exp(y log x) may end just below the whole number that it is, which would be cut.
void raisePowersToIntegers(ModuleOp module) {
  module.walk([](arith::FPToSIOp op) {
    if (!op.getIn().getType().isF64() || !op.getIn().getDefiningOp<math::PowFOp>())
      return;
    OpBuilder b(op);
    Value above = arith::ConstantOp::create(b, op.getLoc(), b.getF64FloatAttr(1 + 0x1p-45));
    op.getInMutable().assign(arith::MulFOp::create(b, op.getLoc(), op.getIn(), above));
  });
}

LogicalResult lowerMath(ModuleOp module, StringRef isa) {
  raisePowersToIntegers(module);
  RewritePatternSet patterns(module.getContext());
  if (!roundsToBF16(isa))
    patterns.add<ExpandRoundToBF16>(module.getContext());
  patterns.add<ExpandLog10>(module.getContext());
  codegen::populateScalarMathPatterns(patterns);
  auto isUpstream = [](StringRef name) {
    return name != math::RsqrtOp::getOperationName() && name != math::ExpOp::getOperationName() &&
           name != math::Exp2Op::getOperationName();
  };
  math::populateExpansionPatterns(patterns,
                                  {"sinh", "cosh", "tan", "asinh", "acosh", "atanh", "powf", "fpowi", "round"});
  populateMathF32ExpansionPatterns(patterns, isUpstream);
  populateMathPolynomialApproximationPatterns(patterns, isUpstream);
  if (failed(applyPatternsGreedily(module, std::move(patterns))))
    return failure();
  RewritePatternSet contract(module.getContext());
  contract.add<ContractProduct<arith::AddFOp>, ContractProduct<arith::SubFOp>>(module.getContext());
  return applyPatternsGreedily(module, std::move(contract));
}

LogicalResult lowerToLLVMDialect(ModuleOp module, StringRef isa) {
  if (failed(lowerMath(module, isa)))
    return failure();
  setFastMath(module);
  annotateLoops(module);
  PassManager pm(module.getContext());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createSCFToControlFlowPass());
  pm.addPass(createConvertMathToLLVMPass());
  pm.addPass(createArithToLLVMConversionPass());
  pm.addPass(createConvertControlFlowToLLVMPass());
  pm.addPass(createCanonicalizerPass());
  pm.addPass(createCSEPass());
  pm.addPass(createReconcileUnrealizedCastsPass());
  if (failed(pm.run(module)))
    return failure();
  // The annotation travels as a discardable attribute that translation ignores: make it the branch's own.
  auto adopt = [&](auto branch) {
    if (auto annotation = branch->template getAttrOfType<LLVM::LoopAnnotationAttr>(kLoopAnnotation)) {
      branch.setLoopAnnotationAttr(annotation);
      branch->removeAttr(kLoopAnnotation);
    }
  };
  module.walk([&](LLVM::BrOp branch) { adopt(branch); });
  module.walk([&](LLVM::CondBrOp branch) { adopt(branch); });
  return success();
}

StringRef featuresOf(StringRef isa) { return roundsToBF16(isa) ? "+avx512bf16" : ""; }

std::unique_ptr<llvm::TargetMachine> createTarget(StringRef isa) {
  static const bool once = [] {
    llvm::InitializeNativeTarget();
    llvm::InitializeNativeTargetAsmPrinter();
    return true;
  }();
  (void)once;
  std::string error;
  llvm::Triple triple("x86_64-unknown-linux-gnu");
  const llvm::Target *target = llvm::TargetRegistry::lookupTarget(triple, error);
  if (!target)
    return nullptr;
  return std::unique_ptr<llvm::TargetMachine>(
      target->createTargetMachine(triple, isa.split('+').first, featuresOf(isa), llvm::TargetOptions(),
                                  llvm::Reloc::PIC_, llvm::CodeModel::Small, llvm::CodeGenOptLevel::Aggressive));
}

void optimise(llvm::Module &module, llvm::TargetMachine &target, StringRef isa) {
  module.setDataLayout(target.createDataLayout());
  module.setTargetTriple(target.getTargetTriple());
  for (llvm::Function &function : module) {
    function.addFnAttr("target-cpu", isa.split('+').first);
    if (!featuresOf(isa).empty())
      function.addFnAttr("target-features", featuresOf(isa));
    function.addFnAttr("prefer-vector-width", isa.starts_with("x86-64-v4") ? "512" : "256");
    function.addFnAttr("no-builtins");
    function.addFnAttr(llvm::Attribute::NoUnwind);
  }
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager components;
  llvm::ModuleAnalysisManager modules;
  llvm::TargetLibraryInfoImpl library(target.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  llvm::PassBuilder builder(&target);
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(components);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, components, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O3).run(module, modules);
}

/// Name of an undefined symbol of the object; empty when there is none.
std::string findImport(ArrayRef<uint8_t> bytes) {
  llvm::MemoryBufferRef buffer(StringRef(reinterpret_cast<const char *>(bytes.data()), bytes.size()), "kernels");
  auto object = llvm::object::ObjectFile::createObjectFile(buffer);
  if (!object) {
    llvm::consumeError(object.takeError());
    return "(unreadable object)";
  }
  for (const llvm::object::SymbolRef &symbol : (*object)->symbols()) {
    auto flags = symbol.getFlags();
    auto name = symbol.getName();
    bool undefined = flags && (*flags & llvm::object::SymbolRef::SF_Undefined);
    if (!flags)
      llvm::consumeError(flags.takeError());
    if (!name)
      llvm::consumeError(name.takeError());
    else if (undefined && !name->empty())
      return name->str();
  }
  return "";
}
} // namespace

FailureOr<std::vector<uint8_t>> codegen::compileObject(ModuleOp source, StringRef isa) {
  OwningOpRef<ModuleOp> module(cast<ModuleOp>(source->clone()));
  if (failed(lowerToLLVMDialect(*module, isa)))
    return source.emitError("fused kernels could not be lowered to LLVM");
  auto target = createTarget(isa);
  if (!target)
    return source.emitError("this LLVM has no x86-64 target");
  llvm::LLVMContext context;
  context.setDiagnosticHandlerCallBack(
      [](const llvm::DiagnosticInfo *, void *) {}); // "loop not vectorised" is not news to users
  auto translated = translateModuleToLLVMIR(*module, context, "comm_kernels");
  if (!translated)
    return source.emitError("fused kernels could not be translated to LLVM IR");
  optimise(*translated, *target, isa);
  llvm::SmallVector<char, 0> bytes;
  llvm::raw_svector_ostream stream(bytes);
  llvm::legacy::PassManager emit;
  if (target->addPassesToEmitFile(emit, stream, nullptr, llvm::CodeGenFileType::ObjectFile))
    return source.emitError("this LLVM cannot write objects");
  emit.run(*translated);
  std::vector<uint8_t> object(bytes.begin(), bytes.end());
  std::string import = findImport(object);
  if (!import.empty())
    return source.emitError("fused kernels would import '") << import << "', which executables may not";
  return object;
}
