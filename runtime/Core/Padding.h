//===- Padding.h - calls smaller than the entry they run in -----*- C++ -*-===//
// An entry says which dimensions of its inputs and outputs may be smaller in a call (Port::pads) and by how much
// (Entry::pads). Inputs are filled up on the right with zeros, outputs are cut.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm-c/runtime.h"
#include "comm/Executable/Executable.h"
#include "runtime/Transport/Transport.h"

namespace comm::rt {

/// The sizes that the symbols of an entry have in one call.
struct CallSizes {
  std::vector<int64_t> sizes; ///< by number in Entry::pads
  bool exact = true;          ///< all are those of the entry
};
/// Reads them from the tensors that a caller gives for inputs of `program`, by name; inputs that are missing or have
/// nothing to do with a symbol say nothing. Tensors that contradict each other or are out of range are an error.
Status readSizes(const exe::Entry &, const exe::Program &, const comm_tensor *inputs, int32_t count, CallSizes &out);
/// Shape of an input or output in a call.
exe::Shape shapeIn(const CallSizes &, const exe::Port &);
/// Inputs that a caller gives; those behind them are sizes that the session fills in.
size_t visibleInputs(const exe::Entry &, const exe::Program &);
/// Every input that a caller gives is there, in the shape that it has in the call.
Status checkShapes(const exe::Entry &, const CallSizes &, const comm_tensor *inputs, int32_t count);
/// The smallest entry that these tensors fit, one of exactly their shapes first; -1: none.
int32_t entryFor(const exe::Executable &, const comm_tensor *inputs, int32_t count);

/// Copies `from`, of shape `small`, to the beginning of every dimension of `to`, of shape `large`. Everything else
/// becomes zero, or with `poison` NaN where there is one.
void padInto(const exe::Shape &small, const exe::Shape &large, exe::DType, const void *from, void *to, bool poison);
/// The reverse.
void cutFrom(const exe::Shape &large, const exe::Shape &small, int64_t width, const void *from, void *to);

} // namespace comm::rt
