//===- Compute.cpp - rooflines of products, attention, experts ------------===//
// time = max(operations / (share of peak), bytes / (share of bandwidth)) + fixed. Shares and the fixed part are those
// fitted on measured devices by generation. With units taken by something else, whole waves of tiles are counted.
//===----------------------------------------------------------------------===//
#include "Prior.h"
#include <algorithm>
#include <cmath>

namespace comm::cost {
namespace {

struct Shares {
  double compute, memory, fixedUs;
};

Shares sharesOf(const Device &device) {
  if (device.cpu)
    return {0.95, device.memoryFraction, device.launchUs};
  if (device.generation >= 100 && device.generation < 120)
    return {0.65, 0.70, 2};
  if (device.generation == 80)
    return {0.80, 0.75, 5};
  return {0.75, device.memoryFraction, device.launchUs};
}

double positive(int64_t value) { return value > 0 ? static_cast<double>(value) : 0; }
double ceilDiv(double a, double b) { return std::ceil(a / b); }

/// What `taken` of the device's units cost: on GPUs whole waves of 128 x 128 tiles, on CPUs the cores that are left.
double slowdown(const Device &device, double tiles, int64_t taken) {
  if (taken <= 0)
    return 1;
  double units = static_cast<double>(std::max<int64_t>(1, device.units));
  double left = units - static_cast<double>(taken);
  if (device.cpu)
    return left > 0 ? units / left : 2; // the scheduler shares the last core
  left = std::max(left, 1.0);
  return std::max(1.0, ceilDiv(tiles, left) / ceilDiv(tiles, units));
}

} // namespace

double elementBytes(const std::string &dtype) {
  if (dtype == "f64" || dtype == "i64")
    return 8;
  if (dtype == "f32" || dtype == "i32" || dtype == "tf32")
    return 4;
  if (dtype == "bf16" || dtype == "f16" || dtype == "i16")
    return 2;
  if (dtype == "i4" || dtype == "fp4")
    return 0.5;
  return 1;
}

double peakFlopsPerUs(const Device &device, const std::string &dtype) {
  auto find = [&](const std::string &name) {
    auto it = device.flopsPerUs.find(name);
    return it == device.flopsPerUs.end() ? 0.0 : it->second;
  };
  std::string plain = dtype.substr(0, dtype.find('_')); // fp8_block runs on the fp8 units
  if (double rate = find(plain); rate > 0)
    return rate;
  for (const char *other : {"bf16", "f16", "f32"}) // computed in a wider type
    if (double rate = find(other); rate > 0 && elementBytes(other) >= elementBytes(plain))
      return rate;
  double least = 0;
  for (const auto &[name, rate] : device.flopsPerUs)
    least = least == 0 ? rate : std::min(least, rate);
  return std::max(least, 1.0);
}

double gemmPrior(const Topology &t, const GemmQuery &q) {
  double m = positive(q.m), n = positive(q.n), k = positive(q.k), batch = positive(q.batch);
  if (m * n * k * batch == 0)
    return 0;
  const Device &device = t.device;
  Shares shares = sharesOf(device);
  double size = elementBytes(q.dtype), out = std::max(size, device.cpu ? 4.0 : 2.0);
  double bytes = batch * (size * (m * k + k * n) + out * m * n);
  double rate = device.memoryBytesPerUs * shares.memory;
  if (device.cpu) {
    n = std::ceil(n / 16) * 16; // whole vectors
    if (bytes < 0.5 * static_cast<double>(device.cacheBytes))
      rate *= 1.8;
  }
  double compute = 2 * m * n * k * batch / (shares.compute * peakFlopsPerUs(device, q.dtype));
  double tiles = batch * ceilDiv(m, 128) * ceilDiv(n, 128);
  double fixed = shares.fixedUs;
  if (q.dtype.rfind("fp8", 0) == 0 && !device.cpu)
    fixed += q.framework == "trtllm" ? 10 : 3; // the activation is quantised first
  return std::max(compute * slowdown(device, tiles, q.unitsTaken), bytes / rate) + fixed;
}

/// Causal pairs that a CPU kernel computes: tiles of rows see as many keys as their last row.
static double tiledPairs(double fresh, double past) {
  constexpr double tile = 56;
  double full = std::floor(fresh / tile), rest = fresh - full * tile;
  return tile * (full * past + tile * full * (full + 1) / 2) + rest * (past + fresh);
}

double attentionPrior(const Topology &t, const AttentionQuery &q) {
  double batch = positive(q.batch), fresh = positive(q.newTokens), past = positive(q.pastTokens);
  double heads = positive(q.heads), kvHeads = positive(q.kvHeads > 0 ? q.kvHeads : q.heads), dim = positive(q.headDim);
  if (batch * fresh * heads * dim == 0)
    return 0;
  double seen = fresh + past, window = q.window > 0 ? static_cast<double>(q.window) : seen;
  // Pairs of a query and a key that it sees.
  double pairs = 0;
  if (!q.causal)
    pairs = fresh * std::min(seen, window);
  else if (window >= seen && t.device.cpu)
    pairs = tiledPairs(fresh, past);
  else if (window >= seen)
    pairs = fresh * past + fresh * (fresh + 1) / 2;
  else { // rows that see the whole window, and the ramp before
    double ramp = std::clamp(window - past, 0.0, fresh);
    pairs = ramp * past + ramp * (ramp + 1) / 2 + (fresh - ramp) * window;
  }
  const Device &device = t.device;
  Shares shares = sharesOf(device);
  double size = elementBytes(q.dtype), keys = std::min(seen, window + fresh);
  double bytes = batch * size * dim * (2 * heads * fresh + 2 * kvHeads * keys);
  // Softmax on the same units: half of the peak is what CPU kernels reach.
  double share = device.cpu ? 0.5 : 0.55;
  double compute = 4 * batch * heads * dim * pairs / (share * peakFlopsPerUs(device, q.dtype));
  return std::max(compute, bytes / (device.memoryBytesPerUs * shares.memory)) + shares.fixedUs + (device.cpu ? 0 : 3);
}

double moePrior(const Topology &t, const MoeQuery &q) {
  double tokens = positive(q.tokens), hidden = positive(q.hidden), experts = positive(q.experts);
  double tp = std::max(1.0, positive(q.tp)), ep = std::max(1.0, positive(q.ep)), topk = std::max(1.0, positive(q.topk));
  double inter = positive(q.inter) / tp;
  if (tokens * hidden * inter * experts == 0)
    return 0;
  const Device &device = t.device;
  Shares shares = sharesOf(device);
  double local = std::max(1.0, experts / ep);
  double skew = 1; // rows of the most loaded rank against the balanced share
  if (q.distribution != "balanced" && !q.distribution.empty())
    skew = std::min(ep, 1 + 0.35 * std::log2(ep));
  double rows = tokens * topk / ep * skew;
  double touched = local * (1 - std::pow(std::max(0.0, 1 - 1 / local), rows));
  double matrices = q.kernel.find("nongated") != std::string::npos ? 2 : 3;
  double size = elementBytes(q.dtype.substr(0, q.dtype.find('_')));
  double weights = touched * matrices * hidden * inter * size;
  double moved = rows * (hidden * 6 + inter * 6) + tokens * hidden * 4; // permute, activate, combine
  double compute = rows * matrices * 2 * hidden * inter / (0.6 * peakFlopsPerUs(device, q.dtype));
  return std::max(compute, weights / (device.memoryBytesPerUs * shares.memory)) +
         moved / (device.memoryBytesPerUs * shares.memory) + (device.cpu ? 2 : 20);
}

double memoryPrior(const Topology &t, const MemoryQuery &q) {
  const Device &device = t.device;
  double bytes = positive(q.bytes), rate = device.memoryBytesPerUs * device.memoryFraction;
  // Out of the level that a core has to itself, about a sixteenth of the last one. What is read once and written once
  // gains nothing from the levels behind it.
  if (device.cpu && bytes < static_cast<double>(device.cacheBytes) / 16)
    rate *= 1.4;
  // Elementwise work runs on the vector units; half of their peak is what chains with exponentials reach.
  double compute = positive(q.flops) / (0.5 * peakFlopsPerUs(device, device.cpu ? q.dtype : "f32"));
  return std::max(bytes / rate, compute) + device.launchUs;
}

} // namespace comm::cost
