// The smallest user of the dialect out of the tree: builds a grid and prints it.
#include "comm/IR/CommOps.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/MLIRContext.h"
#include "mlir/IR/Verifier.h"

using namespace mlir;

int main() {
  MLIRContext context;
  context.loadDialect<comm::CommDialect>();
  OpBuilder builder(&context);
  OwningOpRef<ModuleOp> module(ModuleOp::create(builder.getUnknownLoc()));
  builder.setInsertionPointToEnd(module->getBody());
  comm::GridOp::create(builder, builder.getUnknownLoc(), "grid", builder.getStrArrayAttr({"tp"}), ArrayRef<int64_t>{2});
  module->print(llvm::outs());
  return failed(verify(*module));
}
