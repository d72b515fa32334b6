//===- NativeObject.h - loads the native code of an executable --*- C++ -*-===//
// An own loader for relocatable ELF objects (x86-64) that import nothing. It bounds-checks every field; it cannot make
// the code itself safe: callers load only what the user trusts.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include "comm/Executable/KernelSymbols.h"
#include "runtime/Core/Cpu.h"
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace comm::rt {

/// Processes iterations [begin, end); buffers are inputs, then outputs.
using NativeFunction = void (*)(void *const *buffers, int64_t begin, int64_t end);

/// Processes rows [begin, end) of columns [first, last), when every result has the same rows of columns and an element
/// of it needs of the inputs only what lies in its row and column.
using NativeColumns = void (*)(void *const *buffers, int64_t begin, int64_t end, int64_t first, int64_t last);

/// Code and constants of one object in memory: code readable and executable, constants readable, nothing writable.
class NativeCode {
public:
  /// BadExecutable with the reason: malformed, an import, writable data, TLS, IFUNC, an unknown relocation. Copies
  /// `bytes`.
  static Status load(const uint8_t *bytes, size_t size, std::unique_ptr<NativeCode> &out);
  ~NativeCode();
  NativeCode(const NativeCode &) = delete;
  NativeCode &operator=(const NativeCode &) = delete;

  /// Null when the object defines no global function of this name. Valid as long as this object lives.
  NativeFunction find(const std::string &symbol) const;
  /// Likewise, the function that takes columns.
  NativeColumns findColumns(const std::string &symbol) const;
  std::vector<std::string> symbols() const;
  int64_t mappedBytes() const { return int64_t(size); }

private:
  friend class ElfLoader;
  NativeCode() = default;
  uintptr_t addressOf(const std::string &symbol) const; ///< 0: not defined
  void *memory = nullptr;
  size_t size = 0;
  std::map<std::string, size_t> functions; ///< offsets in memory
};

/// The highest ISA level of `objects` that this CPU runs. DeviceMissing, with a sentence, when there is none.
Status chooseNativeObject(const std::vector<exe::NativeObject> &objects, size_t &index,
                          const CpuFeatures &cpu = cpuFeatures());

} // namespace comm::rt
