//===- Staging.cpp - the caller's tensors, aligned ------------------------===//
#include "runtime/Core/Staging.h"
#include <cerrno>
#include <cstring>
#include <sys/mman.h>

namespace comm::rt {
namespace {
/// Kernels read and write elements at their own alignment; a tensor that has more is used where it lies.
bool aligned(const void *p, const exe::Port &port) {
  return reinterpret_cast<uintptr_t>(p) % static_cast<uintptr_t>(exe::byteWidth(port.dtype)) == 0;
}
int64_t bytesOf(const exe::Port &port) { return exe::byteSize(port.dtype, port.shape); }
} // namespace

Pages::~Pages() {
  if (memory)
    ::munmap(memory, size);
}

Status Pages::allocate(int64_t bytes, const char *what) {
  size = (static_cast<size_t>(bytes) + 4096) / 4096 * 4096;
  void *p = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    return {Code::OutOfMemory,
            std::string("no memory for ") + what + " (" + std::to_string(bytes) + " bytes): " + std::strerror(errno)};
  memory = static_cast<uint8_t *>(p);
  (void)::madvise(memory, size, MADV_HUGEPAGE);
  return Status::ok();
}

Status StagedTensors::stage(const exe::Program &program, const std::vector<const void *> &inputs,
                            const std::vector<void *> &outputs) {
  pages = std::vector<Pages>(inputs.size() + outputs.size());
  ins = inputs;
  outs = outputs;
  for (size_t i = 0; i < ins.size(); ++i)
    if (!aligned(ins[i], program.inputs[i])) {
      if (Status s = pages[i].allocate(bytesOf(program.inputs[i]), "an input"); !s)
        return s;
      std::memcpy(pages[i].memory, ins[i], static_cast<size_t>(bytesOf(program.inputs[i])));
      ins[i] = pages[i].memory;
    }
  for (size_t i = 0; i < outs.size(); ++i)
    if (!aligned(outs[i], program.outputs[i])) {
      Pages &own = pages[ins.size() + i];
      if (Status s = own.allocate(bytesOf(program.outputs[i]), "an output"); !s)
        return s;
      outs[i] = own.memory;
    }
  return Status::ok();
}

void StagedTensors::copyBack(const exe::Program &program, const std::vector<void *> &outputs) const {
  for (size_t i = 0; i < outs.size(); ++i)
    if (outs[i] != outputs[i])
      std::memcpy(outputs[i], outs[i], static_cast<size_t>(bytesOf(program.outputs[i])));
}

} // namespace comm::rt
