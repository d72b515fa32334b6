//===- Codegen.h - fused groups become native code --------------*- C++ -*-===//
// linalg-level bodies -> loops -> LLVM -> one relocatable object without imports per ISA level. See docs/decisions and
// the kernel ABI in comm/Executable/Executable.h.
//===----------------------------------------------------------------------===//
#ifndef PASSES_LOWER_CODEGEN_CODEGEN_H
#define PASSES_LOWER_CODEGEN_CODEGEN_H
#include "comm/Executable/Executable.h"
#include "mlir/IR/Block.h"
#include "mlir/Support/LLVM.h"
#include <string>
#include <vector>

namespace mlir::comm {

/// One kernel: a block on static tensors, ended by comm.yield. Block arguments are the input buffers, yielded values
/// the output buffers; no output buffer may overlap another buffer. What a body may hold: see canCompileKernel.
struct KernelSource {
  std::string symbol;
  Block *body = nullptr;
};

/// The last level is left out when no kernel has a result of bf16.
struct CodegenOptions {
  std::vector<std::string> isaLevels = {"x86-64-v3", "x86-64-v4", "x86-64-v4+avx512bf16"};
};

/// True when one loop nest computes the body: elementwise arith and math ops, linalg.broadcast, linalg.reduce,
/// comm.rms_norm, layer_norm, softmax, gelu, silu and splat constants, all on one iteration space (every value has a
/// subset of its dimensions, in one order; all reductions reduce the same dimensions, and every result that is not
/// reduced has all of them); or a lone comm.rotary on block arguments. Otherwise false and a reason in `why`.
bool canCompileKernel(Block &body, std::string *why = nullptr);

/// Iterations of the outermost loop: what `begin` and `end` of the kernel count. The body must be one that
/// canCompileKernel accepts.
int64_t getKernelIterations(Block &body);

/// Compiles all kernels for every ISA level. Emits an error at the kernel's location and fails when one cannot be
/// compiled or would need an import. Deterministic.
FailureOr<std::vector<::comm::exe::NativeObject>> compileKernels(ArrayRef<KernelSource> kernels,
                                                                 const CodegenOptions &options);

} // namespace mlir::comm
#endif
