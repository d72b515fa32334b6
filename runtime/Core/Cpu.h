//===- Cpu.h - what this CPU can run ----------------------------*- C++ -*-===//
#pragma once
#include "runtime/Transport/Transport.h"
#include <string>

namespace comm::rt {

/// Instruction sets that the CPU has *and* the operating system saves (CPUID and XGETBV).
struct CpuFeatures {
  bool x86_64 = false;
  bool v3 = false;          ///< all of x86-64-v3: AVX2, FMA, F16C, BMI1/2, LZCNT, MOVBE
  bool v4 = false;          ///< v3 and AVX-512 F, BW, CD, DQ, VL
  bool avx512bf16 = false;  ///< v4 and AVX512_BF16
  bool avx512vnni = false;  ///< v4 and AVX512_VNNI
  bool slowDotBF16 = false; ///< AVX512_BF16 is slower than f32 products (Intel's cores)
  bool amxbf16 = false;     ///< avx512bf16, AMX_TILE and AMX_BF16, and the system lets this process use them
};
/// Detected once.
const CpuFeatures &cpuFeatures();

/// True when code for the named level runs: "x86-64-v3", "x86-64-v4", "x86-64-v4+avx512bf16"; false for unknown names.
bool supportsIsa(const CpuFeatures &cpu, const std::string &isa);
/// DeviceMissing with a sentence unless the CPU is x86-64 with AVX2 and FMA.
Status requireSupportedCpu(const CpuFeatures &cpu = cpuFeatures());

} // namespace comm::rt
