//===- comm-opt.cpp - run passes on text IR -------------------------------===//
#include "comm/IR/CommOps.h"
#include "mlir/InitAllDialects.h"
#include "mlir/InitAllExtensions.h"
#include "mlir/InitAllPasses.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "passes/Verify/Passes.h"
#ifdef COMM_HAVE_Import
#include "passes/Import/Passes.h"
#endif
#ifdef COMM_HAVE_Partition
#include "passes/Partition/Passes.h"
#endif
#ifdef COMM_HAVE_Optimize
#include "passes/Optimize/Passes.h"
#endif
#ifdef COMM_HAVE_Schedule
#include "passes/Schedule/Passes.h"
#endif
#ifdef COMM_HAVE_Lower
#include "passes/Lower/Passes.h"
#endif

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  mlir::registerAllDialects(registry);
  mlir::registerAllExtensions(registry);
  registry.insert<mlir::comm::CommDialect>();
  mlir::registerAllPasses();
  mlir::comm::registerVerifyPasses();
#ifdef COMM_HAVE_Import
  mlir::comm::registerImportPasses();
#endif
#ifdef COMM_HAVE_Partition
  mlir::comm::registerPartitionPasses();
#endif
#ifdef COMM_HAVE_Optimize
  mlir::comm::registerOptimizePasses();
#endif
#ifdef COMM_HAVE_Schedule
  mlir::comm::registerSchedulePasses();
#endif
#ifdef COMM_HAVE_Lower
  mlir::comm::registerLowerPasses();
#endif
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "commc pass driver\n", registry));
}
