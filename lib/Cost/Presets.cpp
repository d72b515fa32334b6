//===- Presets.cpp - the built-in topologies ------------------------------===//
// GPUs: data sheet peaks and link rates, the names of the measured systems. CPU: defaults for one core per rank that
// `commc bench` replaces. Ethernet: one rank per node.
//===----------------------------------------------------------------------===//
#include "Presets.h"

namespace comm::cost {
namespace {

constexpr double giga = 1e3;     // 1e9 per second, per microsecond
constexpr double tera = 1e6;     // 1e12 per second, per microsecond
constexpr int64_t gib = 1 << 30; // bytes

struct Gpu {
  const char *name;
  int64_t generation, units;
  double f32, bf16, i8, fp8, fp4; // 1e12 operations per second, 0: not there
  double memory;                  // 1e9 bytes per second
  int64_t memoryGib, cacheMib;
  int64_t ranksPerNode;
  Fabric fabric;
  double scaleUp, scaleOut; // 1e9 bytes per second and direction
};

// ranksPerNode of the rack systems is the NVLink domain, not the tray.
const Gpu gpus[] = {
    {"a100_pcie", 80, 108, 19.5, 312, 624, 0, 0, 1935, 80, 40, 8, Fabric::Pcie, 32, 25},
    {"a100_sxm", 80, 108, 19.5, 312, 624, 0, 0, 2039, 80, 40, 8, Fabric::NvLink, 300, 25},
    {"a30", 80, 56, 10.3, 165, 330, 0, 0, 933, 24, 24, 8, Fabric::Pcie, 32, 25},
    {"b200_sxm", 100, 148, 75, 2250, 4500, 4500, 9000, 7700, 180, 126, 8, Fabric::NvLink, 900, 100},
    {"b300_sxm", 103, 148, 75, 2250, 153.5, 4500, 14000, 7750, 268, 126, 8, Fabric::NvLink, 900, 100},
    {"b60", 0, 20, 12.28, 98.3, 197, 98.3, 0, 456, 24, 18, 8, Fabric::Pcie, 28.4, 50},
    {"gb200", 100, 152, 80, 2500, 5000, 5000, 10000, 8000, 185, 126, 72, Fabric::NvLink, 900, 100},
    {"gb300", 103, 152, 80, 2500, 165, 5000, 15000, 8000, 277, 126, 72, Fabric::NvLink, 900, 100},
    {"h100_pcie", 90, 114, 51, 756.5, 1513, 1513, 0, 2000, 80, 50, 8, Fabric::Pcie, 64, 50},
    {"h100_sxm", 90, 132, 67, 989, 1978, 1978, 0, 3350, 80, 50, 8, Fabric::NvLink, 450, 50},
    {"h200_sxm", 90, 132, 67, 989, 1978, 1978, 0, 4800, 141, 50, 8, Fabric::NvLink, 450, 50},
    {"l4", 89, 58, 30.3, 121, 242, 242, 0, 300, 24, 48, 8, Fabric::Pcie, 32, 25},
    {"l40s", 89, 142, 91.6, 362.05, 733, 733, 0, 864, 45, 96, 8, Fabric::Pcie, 32, 50},
    {"rtx_pro_6000_server", 120, 188, 120, 467.8, 935.6, 935.6, 1871, 1792, 96, 128, 8, Fabric::Pcie, 64, 50},
};

Topology makeGpu(const Gpu &gpu) {
  Topology t;
  t.name = t.device.name = gpu.name;
  auto peak = [&](const char *type, double rate) {
    if (rate > 0)
      t.device.flopsPerUs[type] = rate * tera;
  };
  peak("f32", gpu.f32);
  peak("bf16", gpu.bf16);
  peak("f16", gpu.bf16);
  peak("i8", gpu.i8);
  peak("fp8", gpu.fp8);
  peak("fp4", gpu.fp4);
  t.device.memoryBytesPerUs = gpu.memory * giga;
  t.device.memoryFraction = t.name == "b60" ? 0.5 : 0.8;
  t.device.memoryBytes = gpu.memoryGib * gib;
  t.device.cacheBytes = gpu.cacheMib << 20;
  t.device.units = gpu.units;
  t.device.launchUs = 3;
  t.device.generation = gpu.generation;
  t.ranksPerNode = gpu.ranksPerNode;
  t.fabric = gpu.fabric;
  t.scaleUp = {gpu.scaleUp * giga, gpu.fabric == Fabric::NvLink ? 3.0 : 6.0};
  t.scaleOut = {gpu.scaleOut * giga, 10};
  return t;
}

/// One graphics compute die of eight in a node; scaleUp is the slowest link between two dies of a node.
Topology makeMi250x() {
  Gpu gpu = {"mi250x", 0, 110, 23.9, 191.5, 191.5, 0, 0, 1635, 64, 8, 8, Fabric::NvLink, 50, 12.5};
  return makeGpu(gpu);
}

/// One rank per core, ranks read each other's memory. The numbers are a server core with AVX-512; memory rates are
/// those of one rank while its neighbours work too.
Topology makeCpu() {
  Topology t;
  t.name = "cpu";
  t.device.name = "cpu";
  t.device.flopsPerUs = {{"f32", 105e3}, {"bf16", 205e3}, {"f16", 105e3}, {"i8", 300e3}, {"i4", 200e3}, {"f64", 50e3}};
  t.device.memoryBytesPerUs = 25 * giga;
  t.device.memoryFraction = 0.8;
  t.device.memoryBytes = 8 * gib;
  t.device.cacheBytes = 32 << 20;
  t.device.units = 1;
  t.device.launchUs = 0.3;
  t.device.cpu = true;
  t.ranksPerNode = 4096;
  t.fabric = Fabric::SharedMemory;
  t.scaleUp = {9 * giga, 0.6};
  t.scaleOut = {1.17 * giga, 25};
  t.contention = 0.05;
  t.coreShare = 0.5;
  return t;
}

Topology makeEthernet(const char *name, Link link) {
  Topology t = withScaleOut(makeCpu(), 1, link);
  t.name = name;
  return t;
}

} // namespace

Topology withScaleOut(Topology t, int64_t ranksPerNode, const Link &link) {
  // What a rank's core does for a byte on a link is what it does for a byte in memory: copy and add. The slower the
  // link, the smaller the part of the time in which the core is busy with it.
  if (t.device.cpu && ranksPerNode == 1)
    t.coreShare =
        link.bytesPerUs < t.scaleUp.bytesPerUs ? t.coreShare * link.bytesPerUs / t.scaleUp.bytesPerUs : t.coreShare;
  t.ranksPerNode = ranksPerNode;
  t.scaleOut = link;
  if (ranksPerNode == 1)
    t.fabric = Fabric::Network;
  return t;
}

std::vector<Topology> presets() {
  std::vector<Topology> all;
  for (const Gpu &gpu : gpus)
    all.push_back(makeGpu(gpu));
  all.push_back(makeMi250x());
  all.push_back(makeCpu());
  // TCP: rate after headers, latency of a small message.
  all.push_back(makeEthernet("1gbe", {0.117 * giga, 50}));
  all.push_back(makeEthernet("10gbe", {1.17 * giga, 25}));
  // Eight devices on the fast links of a node, nodes joined by Ethernet or by one InfiniBand port per device.
  Topology h100 = makeGpu(gpus[9]);
  all.push_back(withScaleOut(h100, 8, {50 * giga, 10}));
  all.back().name = "h100_sxm_infiniband";
  all.push_back(withScaleOut(h100, 8, {1.17 * giga / 8, 25}));
  all.back().name = "h100_sxm_10gbe";
  Topology cpu = withScaleOut(makeCpu(), 2, {1.17 * giga / 2, 25});
  cpu.name = "cpu_2_10gbe";
  all.push_back(cpu);
  return all;
}

} // namespace comm::cost
