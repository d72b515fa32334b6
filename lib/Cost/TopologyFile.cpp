//===- TopologyFile.cpp - names, JSON and link texts of topologies --------===//
#include "JsonFile.h"
#include "Presets.h"
#include <algorithm>
#include <cmath>

namespace comm::cost {
namespace {

const std::pair<Fabric, const char *> fabricNames[] = {{Fabric::Network, "network"},
                                                       {Fabric::SharedMemory, "shared_memory"},
                                                       {Fabric::Pcie, "pcie"},
                                                       {Fabric::NvLink, "nvlink"}};

/// Reads the fields of one object; remembers the first problem.
class Reader {
public:
  Reader(const Json &json, std::string where, std::string &error) : json(json), where(std::move(where)), error(error) {}
  ~Reader() {
    for (const auto &[key, value] : json.items())
      if (error.empty() && std::find(known.begin(), known.end(), key) == known.end())
        error = where + " has an unknown field '" + shorten(key) + "'";
  }
  Reader(const Reader &) = delete;
  Reader &operator=(const Reader &) = delete;

  void number(const char *key, double &value, double least, double most = 1e18) {
    if (const Json *field = find(key)) {
      double read = field->is_number() ? field->get<double>() : std::nan("");
      if (!(read >= least && read <= most))
        problem(key, "is not a number from " + numberText(least) + " to " + numberText(most));
      else
        value = read;
    }
  }
  void integer(const char *key, int64_t &value, int64_t least, int64_t most) {
    double read = static_cast<double>(value);
    number(key, read, static_cast<double>(least), static_cast<double>(most));
    value = static_cast<int64_t>(read);
  }
  void text(const char *key, std::string &value) {
    if (const Json *field = find(key)) {
      if (!field->is_string() || field->get_ref<const std::string &>().size() > 200)
        problem(key, "is not a text of at most 200 bytes");
      else
        value = field->get<std::string>();
    }
  }
  void flag(const char *key, bool &value) {
    if (const Json *field = find(key)) {
      if (!field->is_boolean())
        problem(key, "is neither true nor false");
      else
        value = field->get<bool>();
    }
  }
  const Json *object(const char *key) {
    const Json *field = find(key);
    if (field && !field->is_object()) {
      problem(key, "is not an object");
      return nullptr;
    }
    return field;
  }
  void problem(const std::string &key, const std::string &what) {
    if (error.empty())
      error = where + ": '" + key + "' " + what;
  }

private:
  const Json *find(const char *key) {
    known.push_back(key);
    auto it = json.find(key);
    return it == json.end() ? nullptr : &*it;
  }
  const Json &json;
  std::string where;
  std::string &error;
  std::vector<std::string> known;
};

void readLink(const Json *json, const std::string &where, Link &link, std::string &error) {
  if (!json)
    return;
  Reader reader(*json, where, error);
  reader.number("bytes_per_us", link.bytesPerUs, 1e-6);
  reader.number("latency_us", link.latencyUs, 0, 1e9);
}

void readDevice(const Json *json, Device &device, std::string &error) {
  if (!json)
    return;
  Reader reader(*json, "device", error);
  reader.text("name", device.name);
  if (const Json *peaks = reader.object("flops_per_us")) {
    device.flopsPerUs.clear();
    for (const auto &[type, rate] : peaks->items()) {
      double value = rate.is_number() ? rate.get<double>() : 0;
      if (!(value >= 1 && value <= 1e15))
        reader.problem("flops_per_us", "of '" + shorten(type) + "' is not a number from 1 to 1e15");
      device.flopsPerUs[type] = value;
    }
  }
  reader.number("memory_bytes_per_us", device.memoryBytesPerUs, 1);
  reader.number("memory_fraction", device.memoryFraction, 0.01, 1);
  reader.integer("memory_bytes", device.memoryBytes, 0, int64_t(1) << 60);
  reader.integer("cache_bytes", device.cacheBytes, 0, int64_t(1) << 60);
  reader.integer("units", device.units, 1, 1 << 20);
  reader.number("launch_us", device.launchUs, 0, 1e9);
  reader.integer("generation", device.generation, 0, 100000);
  reader.flag("cpu", device.cpu);
}

bool readTopology(const Json &json, Topology &topology, std::string &error) {
  if (!json.is_object()) {
    error = "the file is not a JSON object";
    return false;
  }
  {
    Reader reader(json, "topology", error);
    // A file may start from a preset and change some fields of it.
    std::string base;
    reader.text("base", base);
    if (!base.empty()) {
      std::vector<Topology> all = presets();
      auto it = std::find_if(all.begin(), all.end(), [&](const Topology &t) { return t.name == base; });
      if (it == all.end())
        reader.problem("base", "names no preset: '" + shorten(base) + "'");
      else
        topology = *it;
    }
    reader.text("name", topology.name);
    readDevice(reader.object("device"), topology.device, error);
    reader.integer("ranks_per_node", topology.ranksPerNode, 1, 1 << 20);
    std::string fabric;
    reader.text("fabric", fabric);
    bool known = fabric.empty();
    for (const auto &[value, name] : fabricNames)
      if (fabric == name) {
        topology.fabric = value;
        known = true;
      }
    if (!known)
      reader.problem("fabric", "is not one of network, shared_memory, pcie, nvlink");
    readLink(reader.object("scale_up"), "scale_up", topology.scaleUp, error);
    readLink(reader.object("scale_out"), "scale_out", topology.scaleOut, error);
    reader.number("contention", topology.contention, 0, 10);
    reader.number("core_share", topology.coreShare, 0, 1);
  }
  if (!error.empty())
    return false;
  if (topology.device.flopsPerUs.empty() || topology.device.memoryBytesPerUs <= 0) {
    error = "device: 'flops_per_us' and 'memory_bytes_per_us' are needed (or 'base': a preset)";
    return false;
  }
  if ((topology.ranksPerNode > 1 && topology.scaleUp.bytesPerUs <= 0) || topology.scaleOut.bytesPerUs <= 0) {
    error = "'scale_up' and 'scale_out' need 'bytes_per_us'";
    return false;
  }
  if (topology.name.empty())
    topology.name = topology.device.name.empty() ? "file" : topology.device.name;
  return true;
}

/// Number at the front of `text`, and what follows it.
bool splitNumber(const std::string &text, double &value, std::string &unit) {
  size_t digits = text.find_first_not_of("0123456789.");
  std::string head = text.substr(0, digits);
  if (head.empty() || head.size() > 30 || std::count(head.begin(), head.end(), '.') > 1 || head == ".")
    return false;
  value = std::stod(head);
  unit = digits == std::string::npos ? "" : text.substr(digits);
  return std::isfinite(value);
}

} // namespace

std::vector<std::string> topologyNames() {
  std::vector<std::string> names;
  for (const Topology &topology : presets())
    names.push_back(topology.name);
  std::sort(names.begin(), names.end());
  return names;
}

bool loadTopology(const std::string &nameOrPath, Topology &out, std::string &error) {
  error.clear();
  size_t at = nameOrPath.find('@');
  std::string head = nameOrPath.substr(0, at);
  size_t colon = head.find(':');
  for (const Topology &topology : presets()) {
    if (topology.name != head.substr(0, colon))
      continue;
    out = topology;
    if (at == std::string::npos && colon == std::string::npos)
      return true;
    double perNode = 1;
    std::string rest;
    Link link = topology.scaleOut;
    if (colon != std::string::npos && (!splitNumber(head.substr(colon + 1), perNode, rest) || !rest.empty() ||
                                       perNode < 1 || perNode > 4096 || perNode != std::floor(perNode))) {
      error = "'" + shorten(nameOrPath) + "': the ranks per node are not a number from 1 to 4096";
      return false;
    }
    if (at != std::string::npos && !parseLink(nameOrPath.substr(at + 1), link)) {
      error = "'" + shorten(nameOrPath) + "': the link is not of the form 1Gbit,50us";
      return false;
    }
    out = withScaleOut(topology, static_cast<int64_t>(perNode), link);
    out.name = nameOrPath;
    return true;
  }
  Json json;
  std::string problem;
  if (!readJsonFile(nameOrPath, json, problem)) {
    std::string names;
    for (const std::string &name : topologyNames())
      names += (names.empty() ? "" : ", ") + name;
    error = "'" + shorten(nameOrPath) + "' is neither a topology nor a readable topology file (" + problem +
            "); topologies: " + names;
    return false;
  }
  Topology read;
  if (!readTopology(json, read, problem)) {
    error = "topology file '" + shorten(nameOrPath) + "': " + problem;
    return false;
  }
  out = read;
  return true;
}

std::string printTopology(const Topology &t) {
  const char *fabric = "network";
  for (const auto &[value, name] : fabricNames)
    if (value == t.fabric)
      fabric = name;
  auto link = [](const Link &l) { return OrderedJson{{"bytes_per_us", l.bytesPerUs}, {"latency_us", l.latencyUs}}; };
  OrderedJson peaks = OrderedJson::object();
  for (const auto &[type, rate] : t.device.flopsPerUs)
    peaks[type] = rate;
  OrderedJson json = {{"name", t.name},
                      {"device",
                       {{"name", t.device.name},
                        {"flops_per_us", peaks},
                        {"memory_bytes_per_us", t.device.memoryBytesPerUs},
                        {"memory_fraction", t.device.memoryFraction},
                        {"memory_bytes", t.device.memoryBytes},
                        {"cache_bytes", t.device.cacheBytes},
                        {"units", t.device.units},
                        {"launch_us", t.device.launchUs},
                        {"generation", t.device.generation},
                        {"cpu", t.device.cpu}}},
                      {"ranks_per_node", t.ranksPerNode},
                      {"fabric", fabric},
                      {"scale_up", link(t.scaleUp)},
                      {"scale_out", link(t.scaleOut)},
                      {"contention", t.contention},
                      {"core_share", t.coreShare}};
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

bool parseLink(const std::string &text, Link &out) {
  static const std::pair<const char *, double> rates[] = {
      {"bit", 1.25e-7}, {"Kbit", 1.25e-4}, {"Mbit", 0.125}, {"Gbit", 125},
      {"KB", 1e-3},     {"MB", 1},         {"GB", 1e3},     {"", 0}};
  static const std::pair<const char *, double> times[] = {{"ns", 1e-3}, {"us", 1}, {"ms", 1e3}, {"s", 1e6}};
  size_t comma = text.find(',');
  std::string rate = text.substr(0, comma), unit;
  Link link;
  double value = 0;
  if (rate == "inf") {
    link.bytesPerUs = 1e12; // a byte takes no time that a double would show beside a microsecond
  } else {
    if (!splitNumber(rate, value, unit))
      return false;
    for (const auto &[name, factor] : rates)
      if (unit == name)
        link.bytesPerUs = value * factor;
    if (!(link.bytesPerUs > 0))
      return false;
  }
  if (comma != std::string::npos) {
    if (!splitNumber(text.substr(comma + 1), value, unit))
      return false;
    bool known = false;
    for (const auto &[name, factor] : times)
      if (unit == name) {
        link.latencyUs = value * factor;
        known = true;
      }
    if (!known)
      return false;
  }
  out = link;
  return true;
}

} // namespace comm::cost
