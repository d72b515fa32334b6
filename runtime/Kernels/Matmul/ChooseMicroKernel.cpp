//===- ChooseMicroKernel.cpp ----------------------------------------------===//
#include "runtime/Kernels/Matmul/ChooseMicroKernel.h"

using namespace comm::rt;

static const MicroKernel *builtin(const CpuFeatures &cpu) {
  if (const MicroKernel *kernel = avx512MicroKernel(); kernel && cpu.v4)
    return kernel;
  if (const MicroKernel *kernel = avx2MicroKernel(); kernel && cpu.v3)
    return kernel;
  return portableMicroKernel();
}

std::vector<const MicroKernel *> comm::rt::availableMicroKernels(const CpuFeatures &cpu) {
  std::vector<const MicroKernel *> kernels = {portableMicroKernel()};
  if (const MicroKernel *kernel = avx2MicroKernel(); kernel && cpu.v3)
    kernels.push_back(kernel);
  if (const MicroKernel *kernel = avx512MicroKernel(); kernel && cpu.v4)
    kernels.push_back(kernel);
  if (cpu.v3)
    if (const MicroKernel *kernel = libxsmmMicroKernel(builtin(cpu)))
      kernels.push_back(kernel);
  return kernels;
}

Status comm::rt::chooseMicroKernel(MicroKernelChoice choice, const MicroKernel *&out, const CpuFeatures &cpu) {
  out = builtin(cpu);
  if (choice == MicroKernelChoice::Portable)
    out = portableMicroKernel();
  if (choice == MicroKernelChoice::Libxsmm) {
    out = cpu.v3 ? libxsmmMicroKernel(builtin(cpu)) : nullptr;
    if (!out)
      return {Code::DeviceMissing, "the micro-kernel 'libxsmm' is not in this build or cannot run on this CPU"};
  }
  return Status::ok();
}
