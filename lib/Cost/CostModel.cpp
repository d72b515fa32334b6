//===- CostModel.cpp - formula, measured tables, tuning rows --------------===//
#include "comm/Cost/CostModel.h"
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

double CostModel::collectiveUs(const CollectiveQuery &query) const {
  return collectivePrior(topo, query) * tables->tuning.collective(topo, query);
}

double CostModel::gemmUs(const GemmQuery &query) const { return gemmPrior(topo, query) * tables->tuning.gemm(query); }

double CostModel::attentionUs(const AttentionQuery &query) const {
  return attentionPrior(topo, query) * tables->tuning.attention(query);
}

double CostModel::moeUs(const MoeQuery &query) const { return moePrior(topo, query); }

double CostModel::memoryUs(const MemoryQuery &query) const {
  return memoryPrior(topo, query) * tables->tuning.memoryBound(query);
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
