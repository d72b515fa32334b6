//===- Explain.cpp - why the compiler did what it did ---------------------===//
#include "comm/Analysis/Explain.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"

using namespace mlir;

std::string comm::getSiteName(Operation *op) {
  std::string name;
  op->getLoc()->walk([&](Location loc) {
    if (auto named = dyn_cast<NameLoc>(loc)) {
      name = named.getName().str();
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return name.empty() ? op->getName().getStringRef().str() : name;
}

void comm::explain(Operation *op, StringRef area, const Twine &text) {
  auto module = isa<ModuleOp>(op) ? cast<ModuleOp>(op) : op->getParentOfType<ModuleOp>();
  if (!module)
    return;
  SmallVector<Attribute> lines;
  if (auto old = module->getAttrOfType<ArrayAttr>(kExplainAttr))
    llvm::append_range(lines, old);
  std::string site = isa<ModuleOp>(op) ? "" : getSiteName(op) + ": ";
  lines.push_back(StringAttr::get(op->getContext(), area + "  " + site + text));
  module->setAttr(kExplainAttr, ArrayAttr::get(op->getContext(), lines));
}

std::vector<std::string> comm::getExplanations(Operation *module) {
  std::vector<std::string> out;
  if (auto lines = module->getAttrOfType<ArrayAttr>(kExplainAttr))
    for (Attribute line : lines)
      out.push_back(cast<StringAttr>(line).getValue().str());
  return out;
}
