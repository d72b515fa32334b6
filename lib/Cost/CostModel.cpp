//===- CostModel.cpp - formula, measured tables, tuning rows --------------===//
#include "comm/Cost/CostModel.h"
#include "Measured.h"
#include "Prior.h"
#include "Tables.h"
#include <algorithm>
#include <cmath>

namespace comm::cost {

struct CostModel::Tables {
  Tuning tuning;
  std::string tuningHash;
};

CostModel::CostModel(Topology topology) : topo(std::move(topology)), tables(std::make_shared<Tables>()) {}
CostModel::~CostModel() = default;
CostModel::CostModel(const CostModel &) = default;
CostModel &CostModel::operator=(const CostModel &) = default;

const Topology &CostModel::topology() const { return topo; }

bool CostModel::addTuning(const std::string &path, std::string &error) {
  auto changed = std::make_shared<Tables>(*tables); // copies of this model keep their tables
  std::string hash;
  if (!readTuning(path, topo, changed->tuning, hash, error))
    return false;
  changed->tuningHash += (changed->tuningHash.empty() ? "" : "+") + hash;
  tables = changed;
  return true;
}

std::string CostModel::fingerprint() const {
  // The printed topology holds every number that the formulas read.
  uint64_t hash = 1469598103934665603ull;
  for (unsigned char c : printTopology(topo))
    hash = (hash ^ c) * 1099511628211ull;
  char text[20];
  std::snprintf(text, sizeof(text), "%016llx", static_cast<unsigned long long>(hash));
  return topo.name + "/" + text + (tables->tuningHash.empty() ? "" : "/" + tables->tuningHash);
}

/// A tuning row wins over the built-in tables, and these over the formula alone.
static double correct(const Topology &topo, RowKind kind, const Row &row, double formula, double tuned) {
  if (!(formula > 0) || tuned > 0)
    return formula * std::max(tuned, 0.0);
  double logRatio = 0;
  return builtInLogRatio(topo, kind, row, logRatio) ? formula * std::exp(logRatio) : formula;
}

double CostModel::collectiveUs(const CollectiveQuery &query) const {
  double tuned = tables->tuning.collective(topo, query);
  Row row;
  row.collective = query;
  double formula = collectivePrior(topo, query), us = formula;
  if (!query.algorithm.empty() || !(formula > 0)) {
    us = formula * (tuned > 0 ? tuned : 1); // tables hold what a library chooses, not one of its algorithms
  } else if (!query.library.empty() || tuned > 0 || topo.device.cpu) {
    us = correct(topo, RowKind::Collective, row, formula, tuned);
  } else {
    // The best that is there: the library, and a framework's own all-reduce inside a node.
    row.collective.library = "nccl";
    row.collective.graph = false;
    us = correct(topo, RowKind::Collective, row, collectivePrior(topo, row.collective), 0);
    if (query.op == "all_reduce" && topo.nodes(query.ranks) <= 1) {
      row.collective.library = "trtllm";
      row.collective.graph = true;
      double own = correct(topo, RowKind::Collective, row, collectivePrior(topo, row.collective), 0);
      us = std::min(us, own + (query.graph ? 0 : hostLaunchUs(topo)));
    }
  }
  // Few streaming multiprocessors carry a limited rate each (measured: 65 GiB/s, in-switch 155 GB/s of bus rate).
  if (query.units > 0 && !topo.device.cpu) {
    double perUnit = query.algorithm == "multimem" ? 155e3 : 69.8e3;
    us = std::max(us, usAtBusRate(query, perUnit * static_cast<double>(query.units)));
  }
  return us;
}

double CostModel::gemmUs(const GemmQuery &query) const {
  Row row;
  row.gemm = query;
  row.gemm.unitsTaken = 0;
  double whole = gemmPrior(topo, row.gemm);
  if (!(whole > 0))
    return 0;
  // Measured with all units; what fewer of them cost is the formula's.
  double less = gemmPrior(topo, query) / whole;
  // One weight for each of the batch: no table has it, the formula's share of a single product does.
  row.gemm.batch = 1;
  double single = gemmPrior(topo, row.gemm);
  return correct(topo, RowKind::Gemm, row, single, tables->tuning.gemm(query)) / single * whole * less;
}

double CostModel::attentionUs(const AttentionQuery &query) const {
  Row row;
  row.attention = query;
  return correct(topo, RowKind::Attention, row, attentionPrior(topo, query), tables->tuning.attention(query));
}

double CostModel::moeUs(const MoeQuery &query) const {
  Row row;
  row.moe = query;
  return correct(topo, RowKind::Moe, row, moePrior(topo, query), 0);
}

double CostModel::memoryUs(const MemoryQuery &query) const {
  double tuned = tables->tuning.memoryBound(query);
  return memoryPrior(topo, query) * (tuned > 0 ? tuned : 1);
}

OverlapCost CostModel::overlap(const Overlap &pair) const {
  double compute = std::max(0.0, pair.computeUs), collective = std::max(0.0, pair.collectiveUs);
  double both = std::min(compute, collective);
  // Compute is slowed only while the collective runs. A core that moves the bytes itself is lost to compute for its
  // share of the collective's time; behind a kernel that is bound by memory nearly all of it comes back.
  double slowed = topo.contention * both;
  if (topo.device.cpu)
    slowed += topo.coreShare * collective;
  if (pair.memoryBound)
    slowed = std::max(slowed, 0.9 * both);
  OverlapCost cost;
  cost.totalUs = std::min(std::max(compute + slowed, collective), compute + collective);
  cost.hiddenUs = std::clamp(compute + collective - cost.totalUs, 0.0, collective);
  cost.exposedUs = collective - cost.hiddenUs;
  return cost;
}

double CostModel::rateBesideCollective(bool memoryBound) const {
  // Both long and equal: what compute loses is the share that it gives away.
  constexpr double kLong = 1e6;
  double lost = overlap({kLong, kLong, memoryBound}).totalUs / kLong - 1;
  return std::clamp(1 - lost, 0.02, 1.0);
}

bool CostModel::isMemoryBound(double bytes, double us) const {
  // A link that carries a twentieth of the memory's rate or less (it is read once and written once) leaves the memory
  // to compute: what is bound by memory then hides as well as anything else.
  double link = topo.ranksPerNode > 1 ? topo.scaleUp.bytesPerUs : topo.scaleOut.bytesPerUs;
  double rate = topo.device.memoryBytesPerUs * topo.device.memoryFraction;
  return 20 * link > topo.device.memoryBytesPerUs && rate > 0 && us > 0 && bytes / rate > 0.5 * us;
}

double CostModel::chunkOverheadUs() const {
  if (tables->tuning.chunkOverheadUs >= 0)
    return tables->tuning.chunkOverheadUs;
  return topo.device.cpu ? 2 : 3; // hand-off to the communication thread; a launch in a graph
}

//===--- conventions ------------------------------------------------------===//
double busFactor(const std::string &op, int64_t ranks) {
  double n = static_cast<double>(std::max<int64_t>(1, ranks));
  if (op == "all_reduce")
    return 2 * (n - 1) / n;
  if (op == "all_gather" || op == "reduce_scatter" || op == "all_to_all")
    return (n - 1) / n;
  return 1;
}

double busBytesPerUs(const CollectiveQuery &query, double us) {
  return us > 0 ? static_cast<double>(query.bytes) / us * busFactor(query.op, query.ranks) : 0;
}

double usAtBusRate(const CollectiveQuery &query, double busRate) {
  return busRate > 0 ? static_cast<double>(query.bytes) * busFactor(query.op, query.ranks) / busRate : 0;
}

int64_t wholeBytes(const std::string &op, int64_t ranks, int64_t inputBytes) {
  return op == "all_gather" ? inputBytes * ranks : inputBytes;
}

int64_t inputBytes(const std::string &op, int64_t ranks, int64_t wholeBytes) {
  return op == "all_gather" ? wholeBytes / std::max<int64_t>(1, ranks) : wholeBytes;
}

} // namespace comm::cost
