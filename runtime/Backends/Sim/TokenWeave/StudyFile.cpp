//===- StudyFile.cpp - kernel tables and published runs -------------------===//
#include "comm/Simulator/TokenWeave.h"
#include <algorithm>
#include <cmath>
#include <fstream>
#include <nlohmann/json.hpp>

namespace comm::sim {
namespace {
using Json = nlohmann::json;

/// Reads fields; the first that is missing or wrong is kept.
class Reader {
public:
  std::string error;

  double number(const Json &from, const char *name, double low, double high) {
    auto it = from.is_object() ? from.find(name) : from.end();
    if (!from.is_object() || it == from.end() || !it->is_number() ||
        !(it->get<double>() >= low && it->get<double>() <= high)) {
      fail(std::string("'") + name + "' is missing or not a number from " + std::to_string(low) + " to " +
           std::to_string(high));
      return low;
    }
    return it->get<double>();
  }
  int64_t integer(const Json &from, const char *name, int64_t low, int64_t high) {
    return static_cast<int64_t>(number(from, name, static_cast<double>(low), static_cast<double>(high)));
  }
  /// `count` positive numbers; -1: any number of them, at least two.
  std::vector<double> list(const Json &from, const char *name, int64_t count) {
    auto it = from.is_object() ? from.find(name) : from.end();
    std::vector<double> out;
    if (from.is_object() && it != from.end() && it->is_array())
      for (const Json &v : *it)
        if (v.is_number() && v.get<double>() > 0)
          out.push_back(v.get<double>());
    if (out.size() < 2 || (count >= 0 && out.size() != static_cast<size_t>(count))) {
      fail(std::string("'") + name + "' is no list of " + (count >= 0 ? std::to_string(count) + " " : "") +
           "positive numbers");
      out.assign(static_cast<size_t>(std::max<int64_t>(count, 2)), 1);
    }
    return out;
  }
  const Json &part(const Json &from, const char *name, bool array) {
    static const Json empty = Json::object(), none = Json::array();
    auto it = from.is_object() ? from.find(name) : from.end();
    if (!from.is_object() || it == from.end() || (array ? !it->is_array() || it->empty() : !it->is_object())) {
      fail(std::string("'") + name + "' is missing");
      return array ? none : empty;
    }
    return *it;
  }
  void rising(const std::vector<double> &values, const char *name) {
    if (!std::is_sorted(values.begin(), values.end()))
      fail(std::string("'") + name + "' does not rise");
  }
  void fail(const std::string &what) {
    if (error.empty())
      error = what;
  }
};

/// Straight lines between the points, the last one beyond them; the first value below them.
double interpolate(const std::vector<double> &x, const std::vector<double> &y, double at) {
  size_t i = 1;
  while (i + 1 < x.size() && x[i] < at)
    ++i;
  double t = (at - x[i - 1]) / (x[i] - x[i - 1]);
  return at <= x.front() ? y.front() : y[i - 1] + t * (y[i] - y[i - 1]);
}
} // namespace

double KernelTable::of(const std::string &kernel, double count) const {
  auto it = us.find(kernel);
  return it == us.end() ? 0 : interpolate(tokens, it->second, count);
}

double KernelTable::fused(double count, int64_t sms) const {
  // How much slower than on the best number of SMs, at the sizes that were measured; between them by the logarithm of
  // the size.
  std::vector<double> sizes, factors;
  for (const auto &[size, row] : fusedByUnits) {
    sizes.push_back(std::log2(size));
    double best = *std::min_element(row.begin(), row.end());
    factors.push_back(sms > 0 ? interpolate(units, row, static_cast<double>(sms)) / best : 1);
  }
  double at = std::clamp(std::log2(std::max(count, 1.0)), sizes.front(), sizes.back());
  return of("fused", count) * interpolate(sizes, factors, at);
}

bool loadWeaveStudy(const std::string &path, WeaveStudy &out, std::string &error) {
  std::ifstream file(path, std::ios::binary);
  std::string text(1 << 20, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(std::max<std::streamsize>(file.gcount(), 0)));
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || json.value("format", Json()) != "commc-token-weave" || json.value("version", Json()) != 1) {
    error = "'" + path + "' is no study of the form commc-token-weave, version 1";
    return false;
  }
  Reader r;
  if (auto it = json.find("source"); it != json.end() && it->is_string())
    out.source = it->get<std::string>();
  out.launchUs = r.number(json, "launch_us", 0, 1000);
  out.joinUs = r.number(json, "join_us", 0, 1000);
  out.collectiveFactor = r.number(json, "collective_factor", 0.1, 10);
  const Json &kernels = r.part(json, "kernels", false);
  out.kernels.tokens = r.list(kernels, "tokens", -1);
  r.rising(out.kernels.tokens, "tokens");
  auto count = static_cast<int64_t>(out.kernels.tokens.size());
  for (const char *name : {"all_reduce", "norm", "norm_shard", "reduce_scatter", "all_gather", "fused",
                           "reduce_scatter_library", "all_gather_library"})
    out.kernels.us[name] = r.list(kernels, name, count);
  const Json &units = r.part(json, "units", false);
  out.kernels.units = r.list(units, "units", -1);
  r.rising(out.kernels.units, "units");
  for (const Json &row : r.part(units, "rows", true))
    out.kernels.fusedByUnits.push_back(
        {r.number(row, "tokens", 1, 1e9), r.list(row, "fused", static_cast<int64_t>(out.kernels.units.size()))});
  if (out.kernels.fusedByUnits.size() < 2)
    r.fail("'rows' of 'units' needs two sizes");
  for (const Json &model : r.part(json, "models", true)) {
    WeaveModel m;
    if (auto it = model.is_object() ? model.find("name") : model.end();
        model.is_object() && it != model.end() && it->is_string())
      m.name = it->get<std::string>();
    m.ranks = r.integer(model, "ranks", 1, 4096);
    m.layers = r.integer(model, "layers", 1, 4096);
    m.hidden = r.integer(model, "hidden", 1, 1 << 20);
    m.heads = r.integer(model, "heads", 1, 1 << 12);
    m.kvHeads = r.integer(model, "kv_heads", 1, 1 << 12);
    m.headDim = r.integer(model, "head_dim", 1, 1 << 12);
    m.inter = r.integer(model, "inter", 1, 1 << 20);
    m.experts = r.integer(model, "experts", 0, 1 << 12);
    m.topk = r.integer(model, "topk", 0, 1 << 12);
    if (m.heads % m.ranks != 0 || m.inter % m.ranks != 0)
      r.fail("'ranks' of '" + m.name + "' divides neither heads nor inter");
    for (const Json &point : r.part(model, "points", true)) {
      WeavePoint p;
      p.tokens = r.integer(point, "tokens", 2, 1 << 24);
      p.attentionUnits = r.integer(point, "attention_units", 1, 1 << 12);
      p.mlpUnits = r.integer(point, "mlp_units", 1, 1 << 12);
      p.offset = r.integer(point, "offset", 0, p.tokens / 2 - 1);
      p.baseMs = r.number(point, "base_ms", 1e-6, 1e9);
      p.deletedMs = r.number(point, "deleted_ms", 1e-6, 1e9);
      p.splitMs = r.number(point, "split_ms", 1e-6, 1e9);
      m.points.push_back(p);
    }
    out.models.push_back(std::move(m));
  }
  error = r.error.empty() ? "" : "'" + path + "': " + r.error;
  return r.error.empty();
}

} // namespace comm::sim
