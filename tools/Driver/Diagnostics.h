//===- Diagnostics.h - MLIR diagnostics as errors of commc ------*- C++ -*-===//
#ifndef TOOLS_DRIVER_DIAGNOSTICS_H
#define TOOLS_DRIVER_DIAGNOSTICS_H
#include "mlir/IR/Diagnostics.h"
#include <string>
namespace commc {
/// While it lives, errors of the context are printed in the form of commc. A diagnostic may begin with its own code,
/// "[E501] ..."; others are internal errors: by then the model has been accepted.
class DiagnosticPrinter {
public:
  DiagnosticPrinter(mlir::MLIRContext *context, bool verbose);
  /// Exit code of the first error; 1 when there was none.
  int getExitCode() const { return exitCode; }

private:
  void print(mlir::Diagnostic &diagnostic, bool verbose);
  mlir::ScopedDiagnosticHandler handler;
  int exitCode = 1;
  bool sawError = false;
};
} // namespace commc
#endif
