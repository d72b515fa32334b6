//===- Tuning.cpp - tuning files and the interpolation of their rows ------===//
// {"format": "commc-tuning", "version": 1, "topology": "cpu",
//  "device": {"flops_per_us": {"f32": 1e5}, "memory_bytes_per_us": 2e4, "launch_us": 0.5, "cache_bytes": 3e7},
//  "scale_up": {"bytes_per_us": 9e3, "latency_us": 0.5}, "contention": 0.05, "core_share": 0.5, "chunk_overhead_us": 2,
//  "collectives": [{"op": "all_reduce", "ranks": 2, "bytes": 4096, "graph": false, "us": 1.5}],
//  "gemm": [{"dtype": "f32", "m": 1, "n": 64, "k": 64, "us": 2}], "attention": [...], "memory": [{"bytes": 64, "us":
//  1}]}
// Every section may be missing. Other sections belong to other readers. A row that was measured says how: "graph".
//===----------------------------------------------------------------------===//
#include "JsonFile.h"
#include "Prior.h"
#include "Tables.h"
#include <algorithm>
#include <cmath>
#include <fstream>
#include <tuple>

namespace comm::cost {

bool readJsonFile(const std::string &path, Json &out, std::string &error) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    error = "it cannot be opened";
    return false;
  }
  constexpr size_t limit = size_t(64) << 20;
  std::string text;
  char block[1 << 16];
  while (file.read(block, sizeof(block)) || file.gcount() > 0) {
    text.append(block, static_cast<size_t>(file.gcount()));
    if (text.size() > limit) {
      error = "it is larger than 64 MiB";
      return false;
    }
  }
  if (file.bad() || text.empty()) {
    error = text.empty() ? "it is empty or not a file" : "it cannot be read";
    return false;
  }
  bool deep = false;
  out = Json::parse(
      text,
      [&](int depth, Json::parse_event_t, Json &) {
        deep |= depth > 32;
        return !deep;
      },
      /*allow_exceptions=*/false);
  if (deep || out.is_discarded()) {
    error = deep ? "it is nested deeper than 32 levels" : "it is not JSON";
    return false;
  }
  return true;
}

std::string shorten(const std::string &text) {
  std::string out;
  for (char c : text.substr(0, 80))
    out += c >= ' ' && c < 127 ? c : '?';
  return out;
}

std::string numberText(double value) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.6g", value);
  return text;
}

//===--- interpolation ----------------------------------------------------===//
void Curve::add(double size, double logRatio) {
  auto &[sum, count] = points[std::log2(std::max(size, 1.0))];
  sum += logRatio;
  ++count;
}

double Curve::at(double size) const {
  if (points.empty())
    return 0;
  double x = std::log2(std::max(size, 1.0));
  auto mean = [](const auto &point) { return point->second.first / point->second.second; };
  auto above = points.lower_bound(x);
  if (above == points.end())
    return mean(std::prev(above));
  if (above == points.begin() || above->first == x)
    return mean(above);
  auto below = std::prev(above);
  double part = (x - below->first) / (above->first - below->first);
  return mean(below) * (1 - part) + mean(above) * part;
}

void Cloud::add(const Point &point, double logRatio) { rows.emplace_back(point, logRatio); }

double Cloud::at(const Point &point) const {
  constexpr size_t neighbours = 6;
  std::vector<std::pair<double, double>> near; // squared distance, ratio
  for (const auto &[row, ratio] : rows) {
    double distance = 0;
    for (size_t d = 0; d < row.size(); ++d)
      distance += (row[d] - point[d]) * (row[d] - point[d]);
    near.emplace_back(distance, ratio);
  }
  size_t count = std::min(neighbours, near.size());
  std::partial_sort(near.begin(), near.begin() + static_cast<std::ptrdiff_t>(count), near.end());
  double sum = 0, weights = 0;
  for (size_t i = 0; i < count; ++i) {
    double weight = 1 / (near[i].first * near[i].first + 1e-6);
    sum += weight * near[i].second;
    weights += weight;
  }
  return weights > 0 ? sum / weights : 0;
}

bool CollectiveKey::operator<(const CollectiveKey &other) const {
  return std::tie(op, library, algorithm, graph, ranks) <
         std::tie(other.op, other.library, other.algorithm, other.graph, other.ranks);
}

static Cloud::Point pointOf(const GemmQuery &q) {
  auto log = [](int64_t value) { return std::log2(static_cast<double>(std::max<int64_t>(1, value))); };
  return {log(q.m), log(q.n), log(q.k), log(q.batch)};
}

static Cloud::Point pointOf(const AttentionQuery &q) {
  auto log = [](int64_t value) { return std::log2(static_cast<double>(std::max<int64_t>(1, value))); };
  return {log(q.newTokens), log(q.newTokens + q.pastTokens), log(q.headDim), log(q.heads * q.batch)};
}

double Tuning::collective(const Topology &t, const CollectiveQuery &q) const {
  // Rows are of one node; and a captured graph is never compared with a launch from the host.
  if (t.nodes(q.ranks) > 1 || t.fabric == Fabric::Network)
    return 0;
  const Curve *below = nullptr, *above = nullptr;
  double ranksBelow = 0, ranksAbove = 0;
  for (const auto &[key, curve] : collectives) {
    if (key.op != q.op || key.library != q.library || key.algorithm != q.algorithm || key.graph != q.graph)
      continue;
    double ranks = static_cast<double>(key.ranks);
    if (key.ranks <= q.ranks) {
      below = &curve;
      ranksBelow = ranks;
    }
    if (key.ranks >= q.ranks && !above) {
      above = &curve;
      ranksAbove = ranks;
    }
  }
  if (!below && !above)
    return 0;
  double bytes = static_cast<double>(q.bytes);
  if (!below || !above || below == above)
    return std::exp((above ? above : below)->at(bytes));
  double part = std::log2(static_cast<double>(q.ranks) / ranksBelow) / std::log2(ranksAbove / ranksBelow);
  return std::exp(below->at(bytes) * (1 - part) + above->at(bytes) * part);
}

double Tuning::gemm(const GemmQuery &q) const {
  auto it = gemms.find(q.dtype);
  return it == gemms.end() ? 0 : std::exp(it->second.at(pointOf(q)));
}

double Tuning::attention(const AttentionQuery &q) const {
  auto it = attentions.find(q.dtype);
  return it == attentions.end() ? 0 : std::exp(it->second.at(pointOf(q)));
}

double Tuning::memoryBound(const MemoryQuery &q) const {
  auto it = memory.find(q.kind);
  if (it == memory.end())
    it = memory.find("");
  return it == memory.end() ? 0 : std::exp(it->second.at(static_cast<double>(q.bytes)));
}

//===--- the file ---------------------------------------------------------===//
namespace {

class TuningReader {
public:
  TuningReader(const Json &json, Topology &topology, Tuning &tuning) : json(json), topo(topology), tuning(tuning) {}

  bool read(std::string &message) {
    if (!json.is_object() || json.value("format", Json()) != "commc-tuning")
      fail("it is not a tuning file: \"format\": \"commc-tuning\" is missing");
    else if (json.value("version", Json()) != 1)
      fail("its \"version\" is not 1, which is what this build reads");
    readDevice();
    fresh(tuning, topo);
    rows("collectives", [&](const Json &row) {
      CollectiveQuery q;
      q.op = text(row, "op", "");
      q.library = text(row, "library", "");
      q.algorithm = text(row, "algorithm", "");
      q.ranks = integer(row, "ranks", 1, 1 << 20);
      q.bytes = integer(row, "bytes", 1, int64_t(1) << 50);
      auto graph = row.find("graph");
      q.graph = graph != row.end() && graph->is_boolean() && graph->get<bool>();
      static const char *const ops[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast",
                                        "permute",    "send"};
      if (std::find(std::begin(ops), std::end(ops), q.op) == std::end(ops))
        fail("a row of \"collectives\" has the unknown op '" + shorten(q.op) + "'");
      ratio(row, collectivePrior(topo, q), [&](double r) {
        tuning.collectives[{q.op, q.library, q.algorithm, q.ranks, q.graph}].add(static_cast<double>(q.bytes), r);
      });
    });
    rows("gemm", [&](const Json &row) {
      GemmQuery q;
      q.dtype = text(row, "dtype", "f32");
      q.batch = integer(row, "batch", 1, 1 << 30, 1);
      q.m = integer(row, "m", 1, 1 << 30);
      q.n = integer(row, "n", 1, 1 << 30);
      q.k = integer(row, "k", 1, 1 << 30);
      ratio(row, gemmPrior(topo, q), [&](double r) { tuning.gemms[q.dtype].add(pointOf(q), r); });
    });
    rows("attention", [&](const Json &row) {
      AttentionQuery q;
      q.dtype = text(row, "dtype", "f32");
      q.batch = integer(row, "batch", 1, 1 << 20, 1);
      q.newTokens = integer(row, "new_tokens", 1, 1 << 30);
      q.pastTokens = integer(row, "past_tokens", 0, 1 << 30, 0);
      q.heads = integer(row, "heads", 1, 1 << 20);
      q.kvHeads = integer(row, "kv_heads", 1, 1 << 20, q.heads);
      q.headDim = integer(row, "head_dim", 1, 1 << 20);
      ratio(row, attentionPrior(topo, q), [&](double r) { tuning.attentions[q.dtype].add(pointOf(q), r); });
    });
    rows("memory", [&](const Json &row) {
      MemoryQuery q;
      q.kind = text(row, "kind", "");
      q.bytes = integer(row, "bytes", 1, int64_t(1) << 50);
      ratio(row, memoryPrior(topo, q), [&](double r) { tuning.memory[q.kind].add(static_cast<double>(q.bytes), r); });
    });
    message = error;
    return error.empty();
  }

private:
  /// Ratios belong to the formulas of a device: a file that changes the device starts over.
  void fresh(Tuning &all, const Topology &) const {
    if (json.is_object() && json.contains("device"))
      all = Tuning{{}, {}, {}, {}, all.chunkOverheadUs};
  }
  void fail(const std::string &what) {
    if (error.empty())
      error = what;
  }
  void readDevice() {
    if (!error.empty())
      return;
    Device &device = topo.device;
    if (const Json *fields = section("device")) {
      number(*fields, "memory_bytes_per_us", device.memoryBytesPerUs, 1, 1e12);
      number(*fields, "memory_fraction", device.memoryFraction, 0.01, 1);
      number(*fields, "launch_us", device.launchUs, 0, 1e6);
      double cache = static_cast<double>(device.cacheBytes);
      number(*fields, "cache_bytes", cache, 0, 1e15);
      device.cacheBytes = static_cast<int64_t>(cache);
      if (auto peaks = fields->find("flops_per_us"); peaks != fields->end() && peaks->is_object()) {
        for (const auto &[type, rate] : peaks->items())
          number(*peaks, type.c_str(), device.flopsPerUs[type], 1, 1e15);
      } else if (peaks != fields->end()) {
        fail("'flops_per_us' is not an object");
      }
    }
    if (const Json *link = section("scale_up")) {
      number(*link, "bytes_per_us", topo.scaleUp.bytesPerUs, 1e-6, 1e15);
      number(*link, "latency_us", topo.scaleUp.latencyUs, 0, 1e9);
    }
    number(json, "contention", topo.contention, 0, 10);
    // A link of its own moves bytes by itself: the share measured in shared memory is not that of a network.
    if (topo.fabric != Fabric::Network)
      number(json, "core_share", topo.coreShare, 0, 1);
    number(json, "chunk_overhead_us", tuning.chunkOverheadUs, 0, 1e6);
  }
  const Json *section(const char *key) {
    auto it = json.find(key);
    if (it == json.end())
      return nullptr;
    if (!it->is_object())
      fail(std::string("\"") + key + "\" is not an object");
    return it->is_object() ? &*it : nullptr;
  }
  void number(const Json &object, const char *key, double &value, double least, double most) {
    auto it = object.find(key);
    if (it == object.end())
      return;
    double read = it->is_number() ? it->get<double>() : std::nan("");
    if (!(read >= least && read <= most))
      fail("'" + shorten(key) + "' is not a number from " + numberText(least) + " to " + numberText(most));
    else
      value = read;
  }
  int64_t integer(const Json &row, const char *key, int64_t least, int64_t most, int64_t missing = -1) {
    double value = static_cast<double>(missing);
    number(row, key, value, static_cast<double>(least), static_cast<double>(most));
    if (value < static_cast<double>(least))
      fail(std::string("a row lacks '") + key + "'");
    return std::max(least, static_cast<int64_t>(value));
  }
  std::string text(const Json &row, const char *key, const char *missing) {
    auto it = row.find(key);
    if (it == row.end())
      return missing;
    if (!it->is_string() || it->get_ref<const std::string &>().size() > 64) {
      fail(std::string("'") + key + "' of a row is not a text of at most 64 bytes");
      return missing;
    }
    return it->get<std::string>();
  }
  template <class Read> void rows(const char *key, Read readRow) {
    if (!error.empty())
      return;
    auto it = json.find(key);
    if (it == json.end())
      return;
    if (!it->is_array() || it->size() > 1000000)
      return fail(std::string("\"") + key + "\" is not a list of at most a million rows");
    for (const Json &row : *it) {
      if (!row.is_object())
        fail(std::string("a row of \"") + key + "\" is not an object");
      if (!error.empty())
        return;
      readRow(row);
    }
  }
  template <class Add> void ratio(const Json &row, double formula, Add add) {
    double us = -1;
    number(row, "us", us, 1e-6, 1e12);
    if (us < 0)
      fail("a row lacks 'us'");
    if (error.empty() && formula > 0)
      add(std::log(us / formula));
  }

  const Json &json;
  Topology &topo;
  Tuning &tuning;
  std::string error;
};

/// FNV-1a, printed as hex: an identity, not a protection.
std::string hashText(const std::string &text) {
  uint64_t hash = 1469598103934665603ull;
  for (unsigned char c : text)
    hash = (hash ^ c) * 1099511628211ull;
  char out[20];
  std::snprintf(out, sizeof(out), "%016llx", static_cast<unsigned long long>(hash));
  return out;
}

} // namespace

bool readTuning(const std::string &path, Topology &topology, Tuning &tuning, std::string &hash, std::string &error) {
  Json json;
  std::string problem;
  Topology newTopology = topology;
  Tuning newTuning = tuning;
  if (!readJsonFile(path, json, problem) || !TuningReader(json, newTopology, newTuning).read(problem)) {
    error = "tuning file '" + shorten(path) + "': " + problem;
    return false;
  }
  hash = hashText(json.dump(-1, ' ', true, Json::error_handler_t::replace));
  topology = newTopology;
  tuning = newTuning;
  return true;
}

} // namespace comm::cost
