//===- Diagnostics.cpp - MLIR diagnostics as errors of commc --------------===//
#include "tools/Driver/Diagnostics.h"
#include "mlir/IR/Location.h"
#include "tools/Driver/Options.h"
#include "llvm/ADT/StringExtras.h"

using namespace commc;

static std::string nodeName(mlir::Location loc) {
  std::string name;
  loc->walk([&](mlir::Location inner) {
    if (auto named = mlir::dyn_cast<mlir::NameLoc>(inner)) {
      name = "node '" + named.getName().str() + "'";
      return mlir::WalkResult::interrupt();
    }
    return mlir::WalkResult::advance();
  });
  return name;
}

DiagnosticPrinter::DiagnosticPrinter(mlir::MLIRContext *context, bool verbose)
    : handler(context, [this, verbose](mlir::Diagnostic &diagnostic) {
        if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error)
          print(diagnostic, verbose);
        return mlir::success();
      }) {}

void DiagnosticPrinter::print(mlir::Diagnostic &diagnostic, bool verbose) {
  // "[E501] what" or "error[E501]: what"; the first digit of a code is the exit code.
  std::string text = diagnostic.str(), code = "E101", what = text;
  if (llvm::StringRef(text).starts_with("error[E"))
    text.erase(0, 5);
  if (text.size() > 6 && text[0] == '[' && text[1] == 'E' && text.find(']') != std::string::npos) {
    code = text.substr(1, text.find(']') - 1);
    what = llvm::StringRef(text).substr(text.find(']') + 1).ltrim(": ").str();
  }
  bool internal = code[1] == '1';
  if (!sawError)
    exitCode = internal ? int(kInternal) : code[1] - '0';
  sawError = true;
  printError(code, internal ? "internal: " + what : what, nodeName(diagnostic.getLocation()),
             internal ? "--explain, and report the model's structure: this is a defect of commc" : "");
  if (verbose)
    for (mlir::Diagnostic &note : diagnostic.getNotes())
      llvm::errs() << "  note: " << note.str() << "\n";
}
