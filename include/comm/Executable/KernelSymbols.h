//===- KernelSymbols.h - names in native code -------------------*- C++ -*-===//
// Agreed between the code generator and the runtime's loader, beside the kernel ABI in Executable.h.
//===----------------------------------------------------------------------===//
#pragma once

namespace comm::exe {

/// Behind the name of a kernel whose elements need no other column: `void kernel_columns(void *const *buffers, int64_t
/// begin, int64_t end, int64_t first, int64_t last)` computes rows [begin, end) of columns [first, last).
inline constexpr const char *columnsSuffix = "_columns";

} // namespace comm::exe
