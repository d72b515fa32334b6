//===- comm-opt.cpp - run passes on text IR -------------------------------===//
#include "comm/IR/CommOps.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "passes/Import/Passes.h"
#include "passes/Lower/Passes.h"
#include "passes/Optimize/Passes.h"
#include "passes/Partition/Passes.h"
#include "passes/Schedule/Passes.h"
#include "passes/Verify/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  registry.insert<mlir::comm::CommDialect>();
  mlir::registerAllPasses();
  mlir::comm::registerVerifyPasses();
  mlir::comm::registerImportPasses();
  mlir::comm::registerPartitionPasses();
  mlir::comm::registerOptimizePasses();
  mlir::comm::registerSchedulePasses();
  mlir::comm::registerLowerPasses();
  // Functions one after the other: passes append their remarks to the module around them.
  llvm::SmallVector<char *> arguments(argv, argv + argc);
  char serial[] = "--mlir-disable-threading";
  if (llvm::none_of(arguments,
                    [](const char *text) { return llvm::StringRef(text).contains("mlir-disable-threading"); }))
    arguments.insert(arguments.begin() + 1, serial);
  return mlir::asMainReturnCode(
      mlir::MlirOptMain(static_cast<int>(arguments.size()), arguments.data(), "commc pass driver\n", registry));
}
