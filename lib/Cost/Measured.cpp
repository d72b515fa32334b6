//===- Measured.cpp - pools of measured rows ------------------------------===//
#include "Measured.h"
#include "BuiltIn.h"
#include "Prior.h"
#include <algorithm>
#include <cassert>
#include <cmath>

namespace comm::cost {
namespace {

float logOf(int64_t value) { return static_cast<float>(std::log2(static_cast<double>(std::max<int64_t>(1, value)))); }

/// Names are compared by hash; two of the few names of a table never share one.
int32_t nameOf(const std::string &text) {
  uint32_t hash = 2166136261u;
  for (unsigned char c : text)
    hash = (hash ^ c) * 16777619u;
  return static_cast<int32_t>(hash);
}

std::string familyOf(const std::string &system) {
  for (const char *blackwell : {"b200_sxm", "b300_sxm", "gb200", "gb300"})
    if (system == blackwell)
      return "blackwell";
  return system;
}

bool isLibrary(const std::string &name) { return name == "nccl" || name == "oneccl"; }

/// Runs of a library differ mostly by its version; a table is named after both unless somebody said otherwise.
std::string runOf(const CollectiveQuery &q) { return q.table.empty() ? q.library + "-" + q.version : q.table; }

/// Element types that were measured for a library; others move like the first of them.
std::string wireType(const CollectiveQuery &q) {
  if (!isLibrary(q.library))
    return "bf16";
  return q.dtype == "i8" ? "i8" : "f16";
}

} // namespace

const Topology &Measured::preset(const std::string &name) {
  static std::mutex mutex;
  static std::map<std::string, Topology> known;
  std::lock_guard<std::mutex> lock(mutex);
  auto it = known.find(name);
  if (it == known.end()) {
    Topology topology;
    std::string error;
    loadTopology(name, topology, error);
    it = known.emplace(name, topology).first;
  }
  return it->second;
}

std::string Measured::standIn(RowKind kind, const std::string &system) {
  static const char *const pairs[][2] = {{"h100_sxm", "h200_sxm"}, {"h100_pcie", "h200_sxm"}, {"gb200", "b200_sxm"},
                                         {"b300_sxm", "b200_sxm"}, {"gb300", "b200_sxm"},     {"l4", "l40s"},
                                         {"a30", "a100_sxm"},      {"a100_pcie", "a100_sxm"}};
  static const char *const collectives[][2] = {{"h100_sxm", "h200_sxm"}};
  if (kind == RowKind::Collective) {
    for (const auto &[from, to] : collectives)
      if (system == from)
        return to;
    return system;
  }
  for (const auto &[from, to] : pairs)
    if (system == from)
      return to;
  return system;
}

std::string Measured::poolKey(RowKind kind, const Row &row, const std::string &system) {
  switch (kind) {
  case RowKind::Collective:
    return "collectives/" + row.collective.op;
  case RowKind::Gemm:
    return "gemm/" + system;
  case RowKind::Attention:
    return std::string("attention/") + (row.attention.pastTokens > 0 ? "generation/" : "context/") + system;
  case RowKind::Moe:
    return "moe/" + system;
  }
  return "";
}

KrigingPoint Measured::pointOf(RowKind kind, const Row &row, const std::string &system) {
  KrigingPoint p;
  switch (kind) {
  case RowKind::Collective: {
    const CollectiveQuery &q = row.collective;
    p.sizes[0] = logOf(q.bytes);
    p.sizes[1] = logOf(q.ranks);
    p.names[0] = nameOf(familyOf(system));
    p.names[1] = nameOf(system);
    p.names[2] = isLibrary(q.library);
    p.names[3] = nameOf(q.library);
    p.names[4] = nameOf(runOf(q));
    p.names[5] = q.graph;
    p.names[6] = nameOf(wireType(q));
    break;
  }
  case RowKind::Gemm: {
    const GemmQuery &q = row.gemm;
    p.sizes[0] = logOf(q.m);
    p.sizes[1] = logOf(q.n);
    p.sizes[2] = logOf(q.k);
    p.names[0] = nameOf(q.framework);
    p.names[1] = nameOf(q.dtype);
    break;
  }
  case RowKind::Attention: {
    const AttentionQuery &q = row.attention;
    p.sizes[0] = logOf(q.batch);
    p.sizes[1] = logOf(q.newTokens + q.pastTokens);
    p.sizes[2] = logOf(q.heads);
    p.sizes[3] = logOf(q.kvHeads);
    p.sizes[4] = logOf(q.headDim);
    p.sizes[5] = logOf(q.window > 0 ? q.window : int64_t(1) << 20);
    p.names[0] = nameOf(q.kernel);
    p.names[1] = q.window > 0;
    break;
  }
  case RowKind::Moe: {
    const MoeQuery &q = row.moe;
    p.sizes[0] = logOf(q.tokens);
    p.sizes[1] = logOf(q.hidden);
    p.sizes[2] = logOf(q.inter);
    p.sizes[3] = logOf(q.topk);
    p.sizes[4] = logOf(q.experts);
    p.sizes[5] = logOf(q.tp);
    p.sizes[6] = logOf(q.ep);
    p.names[0] = nameOf(q.framework);
    p.names[1] = nameOf(q.kernel);
    p.names[2] = nameOf(q.dtype);
    p.names[3] = nameOf(q.distribution);
    break;
  }
  }
  return p;
}

double Measured::formulaUs(const Topology &t, RowKind kind, const Row &row) {
  switch (kind) {
  case RowKind::Collective:
    return collectivePrior(t, row.collective);
  case RowKind::Gemm:
    return gemmPrior(t, row.gemm);
  case RowKind::Attention:
    return attentionPrior(t, row.attention);
  case RowKind::Moe:
    return moePrior(t, row.moe);
  }
  return 0;
}

void Measured::add(RowKind kind, const Row &row, int level) {
  double formula = formulaUs(preset(row.system), kind, row);
  if (!(formula > 0) || !(row.latencyUs > 0))
    return;
  std::string key = poolKey(kind, row, row.system);
  auto &pool = all[key];
  if (!pool)
    pool = std::make_unique<Kriging>(modelOf(kind));
  pool->add(pointOf(kind, row, row.system), std::log(row.latencyUs / formula), level);
  if (kind == RowKind::Collective)
    runs.insert(row.collective.table);
}

const Kriging *Measured::pool(RowKind kind, const Row &row, const std::string &system) const {
  auto it = all.find(poolKey(kind, row, system));
  return it == all.end() || it->second->empty() ? nullptr : it->second.get();
}

bool builtInLogRatio(const Topology &t, RowKind kind, const Row &row, double &logRatio) {
  std::string system = Measured::standIn(kind, t.device.name);
  // Collectives were measured inside one node of the preset's kind.
  if (t.device.cpu || (kind == RowKind::Collective &&
                       (t.nodes(row.collective.ranks) > 1 || t.fabric != Measured::preset(t.device.name).fabric)))
    return false;
  // Collectives learn from all systems, everything else from one.
  std::string part = kind == RowKind::Collective ? "" : system;
  static std::mutex mutex;
  static std::map<std::pair<RowKind, std::string>, std::unique_ptr<Measured>> parsed;
  const Measured *tables = nullptr;
  {
    std::lock_guard<std::mutex> lock(mutex);
    auto &slot = parsed[{kind, part}];
    if (!slot) {
      slot = std::make_unique<Measured>();
      const char *text = kind == RowKind::Collective  ? collectivesTable
                         : kind == RowKind::Gemm      ? gemmTable
                         : kind == RowKind::Attention ? attentionTable
                                                      : moeTable;
      std::string error;
      [[maybe_unused]] bool sound = slot->addTable(text, part, error);
      assert(sound && "the tables in lib/Cost/tables are read back by a unit test");
    }
    tables = slot.get();
  }
  // A system without rows and without relatives keeps its formula.
  if (kind == RowKind::Collective && !Measured::hasCollectives(system))
    return false;
  const Kriging *pool = tables->pool(kind, row, system);
  if (!pool || !(Measured::formulaUs(t, kind, row) > 0))
    return false;
  Row known = row;
  if (!tables->hasRun(known.collective.table))
    known.collective.table.clear(); // somebody else's run: the version may still be known
  logRatio = pool->at(Measured::pointOf(kind, known, system));
  return true;
}

bool Measured::hasCollectives(const std::string &system) {
  for (const char *known :
       {"a100_sxm", "b200_sxm", "b300_sxm", "b60", "gb200", "gb300", "h200_sxm", "l40s", "rtx_pro_6000_server"})
    if (system == known)
      return true;
  return false;
}

} // namespace comm::cost
