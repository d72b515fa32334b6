//===- Passes.td - checks between phases ----------------------------------===//
#ifndef PASSES_VERIFY_PASSES_TD
#define PASSES_VERIFY_PASSES_TD
include "mlir/Pass/PassBase.td"

def VerifyFormPass : Pass<"comm-verify-form", "::mlir::ModuleOp"> {
  let summary = "list every op that the form does not allow";
  let description = [{
    Stands after each phase. `global`: whole tensors, no communication. `local`: one rank's tensors, collectives as values. `async`: also start and wait; orders rise
    in block order and every token is waited exactly once, in the same block. `command`: buffers, commands and launches only. In all value forms types are static
    tensors and a function is one block. Reports every illegal op before it fails.
    Example: test/passes/Verify/verify-form.mlir
  }];
  let options = [Option<"form", "form", "std::string", "\"global\"", "global, local, async or command">];
  let statistics = [Statistic<"numChecked", "num-checked", "ops looked at">];
}
#endif
