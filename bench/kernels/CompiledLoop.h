//===- CompiledLoop.h - a fused loop as commc makes it ----------*- C++ -*-===//
// MLIR text of form `global` goes through all phases, code generation, export and the runtime's own loader; what is
// left is the native function of its one command.
//===----------------------------------------------------------------------===//
#ifndef BENCH_KERNELS_COMPILEDLOOP_H
#define BENCH_KERNELS_COMPILEDLOOP_H
#include "comm/Executable/Executable.h"
#include "runtime/Core/NativeObject.h"
#include <memory>
#include <string>
#include <vector>

namespace comm::bench {

struct Port {
  exe::DType dtype;
  exe::Shape shape;
};

class CompiledLoop {
public:
  /// `text`: one function `@main` on static tensors. False and a sentence when it does not become one native command,
  /// or not for this CPU.
  bool make(const std::string &text, std::string &error);
  /// Buffers of the function: inputs, then results. Iterations are what rt::Team deals out.
  void run(void *const *buffers, int64_t begin, int64_t end) const;
  int64_t iterations() const { return count; }
  const std::vector<Port> &inputs() const { return ins; }
  const std::vector<Port> &outputs() const { return outs; }
  const std::vector<uint8_t> &objectBytes() const { return object; }

private:
  bool load(const exe::Executable &executable, std::string &error);
  std::vector<Port> ins, outs;
  std::vector<uint8_t> object;
  std::unique_ptr<rt::NativeCode> code;
  rt::NativeFunction function = nullptr;
  std::vector<size_t> operands; ///< of the command: numbers of buffers of the function
  int64_t count = 0;
};

} // namespace comm::bench
#endif
