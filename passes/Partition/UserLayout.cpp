//===- UserLayout.cpp - layouts that the user asks for ---------------------===//
#include "comm/Analysis/Explain.h"
#include "comm/Analysis/Layout.h"
#include "mlir/AsmParser/AsmParser.h"
#include "mlir/IR/Diagnostics.h"
#include "passes/Partition/Passes.h"

using namespace mlir;
using namespace mlir::comm;

/// Parses "*,tp+dp,partial:ep"; null and a sentence when it is wrong.
static LayoutAttr parseLayout(MLIRContext *context, StringRef text, std::string &error) {
  if (text.starts_with("#")) {
    ScopedDiagnosticHandler quiet(context, [](Diagnostic &) { return success(); });
    auto attr = dyn_cast_or_null<LayoutAttr>(parseAttribute(text, context));
    if (!attr)
      error = "'" + text.str() + "' is not a #comm.layout";
    return attr;
  }
  SmallVector<StringRef> parts;
  text.split(parts, ',');
  SmallVector<Attribute> dims;
  ArrayAttr partial;
  for (StringRef part : parts) {
    part = part.trim();
    bool isPartial = part.consume_front("partial:");
    SmallVector<StringRef> names;
    if (part != "*")
      part.split(names, '+');
    SmallVector<Attribute> axes;
    for (StringRef name : names) {
      if (name.empty()) {
        error = "layout '" + text.str() + "' has an empty axis name; write * for a dimension that is not split";
        return {};
      }
      axes.push_back(StringAttr::get(context, name));
    }
    if (isPartial)
      partial = ArrayAttr::get(context, axes);
    else
      dims.push_back(ArrayAttr::get(context, axes));
  }
  std::string message;
  auto emitError = [&] { return emitRemark(UnknownLoc::get(context)); };
  ScopedDiagnosticHandler handler(context, [&](Diagnostic &diagnostic) {
    message = diagnostic.str();
    return success();
  });
  auto attr = LayoutAttr::getChecked(emitError, context, ArrayAttr::get(context, dims), partial, DenseI64ArrayAttr());
  if (!attr)
    error = "layout '" + text.str() + "': " + message;
  return attr;
}

bool comm::applyUserLayout(func::FuncOp function, StringRef name, StringRef text, std::string &error) {
  LayoutAttr layout = parseLayout(function.getContext(), text, error);
  if (!layout)
    return false;
  GridAxes grid = GridAxes::get(getGrid(function));
  bool found = false;
  auto fits = [&](Type type) {
    auto tensor = dyn_cast<RankedTensorType>(type);
    if (tensor && toLayout(layout, tensor, grid))
      return true;
    std::string shown;
    llvm::raw_string_ostream(shown) << type;
    error = "layout '" + text.str() + "' does not fit '" + name.str() + "', which is " + shown +
            ", or names an axis that the grid does not have";
    return false;
  };
  auto matches = [&](StringAttr attr) { return attr && attr.getValue() == name; };
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (matches(function.getArgAttrOfType<StringAttr>(i, kNameAttr))) {
      if (!fits(function.getArgumentTypes()[i]))
        return false;
      function.setArgAttr(i, kLayoutAttr, layout);
      found = true;
    }
  for (unsigned i = 0; i < function.getNumResults(); ++i)
    if (matches(function.getResultAttrOfType<StringAttr>(i, kNameAttr))) {
      if (!fits(function.getResultTypes()[i]))
        return false;
      function.setResultAttr(i, kLayoutAttr, layout);
      found = true;
    }
  // A node may have become several ops; its value is the last one's.
  Operation *last = nullptr;
  if (!found)
    function.walk([&](Operation *op) {
      if (op->getParentOp() == function && op->getNumResults() == 1 && getSiteName(op) == name)
        last = op;
    });
  if (last) {
    if (!fits(last->getResult(0).getType()))
      return false;
    last->setAttr(kLayoutAttr, layout);
    found = true;
  }
  if (!found)
    error = "there is no value called '" + name.str() + "'";
  return found;
}
