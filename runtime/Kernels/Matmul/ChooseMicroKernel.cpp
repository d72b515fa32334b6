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
  const char *name = "";
  out = nullptr;
  switch (choice) {
  case MicroKernelChoice::Auto:
  case MicroKernelChoice::Builtin:
  case MicroKernelChoice::Avx512BF16: // refused by chooseNarrowKernel where they are missing
  case MicroKernelChoice::Amx:
    out = builtin(cpu);
    break;
  case MicroKernelChoice::Portable:
    out = portableMicroKernel();
    break;
  case MicroKernelChoice::Libxsmm:
    name = "libxsmm";
    out = cpu.v3 ? libxsmmMicroKernel(builtin(cpu)) : nullptr;
    break;
  case MicroKernelChoice::Avx2:
    name = "avx2";
    out = cpu.v3 ? avx2MicroKernel() : nullptr;
    break;
  case MicroKernelChoice::Avx512:
    name = "avx512";
    out = cpu.v4 ? avx512MicroKernel() : nullptr;
    break;
  }
  if (out)
    return Status::ok();
  return {Code::DeviceMissing,
          std::string("the micro-kernel '") + name + "' is not in this build or cannot run on this CPU"};
}

uint64_t comm::rt::narrowUnitIdentity(MicroKernelChoice choice) {
  const NarrowKernel *unit = nullptr;
  if (!chooseNarrowKernel(choice, unit) || !unit)
    return 0;
  return unit == amxNarrowKernel() ? 2 : 1;
}

std::vector<const NarrowKernel *> comm::rt::availableNarrowKernels(const CpuFeatures &cpu) {
  std::vector<const NarrowKernel *> kernels;
  if (const NarrowKernel *kernel = avx512NarrowKernel(); kernel && cpu.avx512bf16)
    kernels.push_back(kernel);
  if (const NarrowKernel *kernel = amxNarrowKernel(); kernel && cpu.amxbf16)
    kernels.push_back(kernel);
  return kernels;
}

Status comm::rt::chooseNarrowKernel(MicroKernelChoice choice, const NarrowKernel *&out, const CpuFeatures &cpu) {
  out = nullptr;
  std::vector<const NarrowKernel *> kernels = availableNarrowKernels(cpu);
  auto named = [&](const NarrowKernel *kernel, const char *name) {
    for (const NarrowKernel *available : kernels)
      if (available == kernel)
        out = kernel;
    return out ? Status::ok()
               : Status{Code::DeviceMissing,
                        std::string("the micro-kernel '") + name + "' is not in this build or cannot run on this CPU"};
  };
  switch (choice) {
  case MicroKernelChoice::Auto:
  case MicroKernelChoice::Builtin:
    out = kernels.empty() || (kernels.back() == avx512NarrowKernel() && cpu.slowDotBF16) ? nullptr : kernels.back();
    return Status::ok();
  case MicroKernelChoice::Avx512BF16:
    return named(avx512NarrowKernel(), "avx512bf16");
  case MicroKernelChoice::Amx:
    return named(amxNarrowKernel(), "amx");
  case MicroKernelChoice::Libxsmm:
  case MicroKernelChoice::Portable:
  case MicroKernelChoice::Avx2:
  case MicroKernelChoice::Avx512:
    break;
  }
  return Status::ok();
}
