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
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "commc pass driver\n", registry));
}
