//===- Siblings.h - entries that run smaller inputs -------------*- C++ -*-===//
#ifndef TOOLS_DRIVER_SIBLINGS_H
#define TOOLS_DRIVER_SIBLINGS_H
#include "mlir/IR/BuiltinOps.h"
#include "passes/Pipeline.h"
#include "tools/Driver/Options.h"

namespace mlir::comm {
class OnnxModel;
}
namespace commc {
/// Makes every entry of several sizes of a symbol run the sizes between it and the next smaller one, where that is
/// shown to be right; what stands in its way is a warning. `module` has passed the phase import. False: a pass failed
/// and said so.
bool padEntries(const Options &options, const mlir::comm::OnnxModel &model, mlir::ModuleOp module,
                const mlir::comm::PipelineOptions &pipeline);
} // namespace commc
#endif
