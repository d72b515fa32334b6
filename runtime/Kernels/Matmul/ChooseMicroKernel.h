//===- ChooseMicroKernel.h - which micro-kernel runs on this CPU ----------===//
#pragma once
#include "runtime/Core/Cpu.h"
#include "runtime/Kernels/Kernel.h"
#include "runtime/Kernels/Matmul/MicroKernel.h"
#include "runtime/Kernels/Matmul/NarrowKernel.h"

namespace comm::rt {

/// All that this build and CPU can run, the portable one first.
std::vector<const MicroKernel *> availableMicroKernels(const CpuFeatures &cpu = cpuFeatures());
/// DeviceMissing when the choice names one that is not available.
Status chooseMicroKernel(MicroKernelChoice choice, const MicroKernel *&out, const CpuFeatures &cpu = cpuFeatures());

/// The units for bf16 that this build and CPU have, the best one last.
std::vector<const NarrowKernel *> availableNarrowKernels(const CpuFeatures &cpu = cpuFeatures());
/// What multiplies bf16 under a choice; null: products are computed in f32, which is what Auto and Builtin take where
/// the unit is slower. DeviceMissing as above.
Status chooseNarrowKernel(MicroKernelChoice choice, const NarrowKernel *&out, const CpuFeatures &cpu = cpuFeatures());

} // namespace comm::rt
