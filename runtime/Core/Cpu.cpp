//===- Cpu.cpp - CPUID and XGETBV -----------------------------------------===//
#include "runtime/Core/Cpu.h"
#include <cstdint>
#if defined(__x86_64__)
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif

using namespace comm::rt;

#if defined(__x86_64__)
namespace {
struct Registers {
  uint32_t a = 0, b = 0, c = 0, d = 0;
};
Registers cpuid(uint32_t leaf, uint32_t subleaf) {
  Registers r;
  if (!__get_cpuid_count(leaf, subleaf, &r.a, &r.b, &r.c, &r.d))
    return {};
  return r;
}
bool all(uint32_t word, uint32_t bits) { return (word & bits) == bits; }

/// State components that the operating system saves.
uint64_t xcr0() {
  uint32_t low = 0, high = 0;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return (uint64_t(high) << 32) | low;
}

/// Tiles are state of 8 KiB that a process has to ask for, once for all of its threads; an old kernel does not know the
/// question.
bool mayUseTiles() {
  constexpr long requestPermission = 0x1023, tileData = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

CpuFeatures detect() {
  CpuFeatures cpu;
  cpu.x86_64 = true;
  Registers one = cpuid(1, 0), seven = cpuid(7, 0), sevenOne = cpuid(7, 1), extended = cpuid(0x80000001u, 0);
  if (!all(one.c, bit_OSXSAVE))
    return cpu;
  uint64_t saved = xcr0();
  constexpr uint64_t ymm = 0x6, zmm = 0xe6; // XMM and YMM; and opmask, both halves of ZMM
  cpu.v3 = (saved & ymm) == ymm && all(one.c, bit_AVX | bit_FMA | bit_F16C | bit_MOVBE) &&
           all(seven.b, bit_AVX2 | bit_BMI | bit_BMI2) && all(extended.c, bit_LZCNT);
  cpu.v4 = cpu.v3 && (saved & zmm) == zmm &&
           all(seven.b, bit_AVX512F | bit_AVX512BW | bit_AVX512CD | bit_AVX512DQ | bit_AVX512VL);
  cpu.avx512bf16 = cpu.v4 && seven.a >= 1 && all(sevenOne.a, 1u << 5);
  Registers vendor = cpuid(0, 0);
  cpu.slowDotBF16 =
      vendor.b == signature_INTEL_ebx && vendor.c == signature_INTEL_ecx && vendor.d == signature_INTEL_edx;
  constexpr uint64_t tiles = 0x60000;                        // configuration and data
  constexpr uint32_t amxBF16 = 1u << 22, amxTile = 1u << 24; // not named by every cpuid.h
  cpu.amxbf16 = cpu.avx512bf16 && (saved & tiles) == tiles && all(seven.d, amxBF16 | amxTile) && mayUseTiles();
  cpu.avx512vnni = cpu.v4 && all(seven.c, 1u << 11);
  return cpu;
}
} // namespace
#else
static /// Tiles are state of 8 KiB that a process has to ask for, once for all of its threads; an old kernel does not
       /// know the
    /// question.
    bool mayUseTiles() {
  constexpr long requestPermission = 0x1023, tileData = 18; // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return ::syscall(SYS_arch_prctl, requestPermission, tileData) == 0;
}

CpuFeatures detect() { return {}; }
#endif

const CpuFeatures &comm::rt::cpuFeatures() {
  static const CpuFeatures cpu = detect();
  return cpu;
}

bool comm::rt::supportsIsa(const CpuFeatures &cpu, const std::string &isa) {
  if (isa == "x86-64-v3")
    return cpu.v3;
  if (isa == "x86-64-v4")
    return cpu.v4;
  if (isa == "x86-64-v4+avx512bf16")
    return cpu.avx512bf16;
  return false;
}

Status comm::rt::requireSupportedCpu(const CpuFeatures &cpu) {
  if (cpu.v3)
    return Status::ok();
  if (!cpu.x86_64)
    return {Code::DeviceMissing, "this CPU is not x86-64; programs need an x86-64 CPU with AVX2 and FMA (x86-64-v3)"};
  return {Code::DeviceMissing,
          "this CPU, or its operating system, lacks AVX2 and FMA; programs need x86-64-v3 or later"};
}
