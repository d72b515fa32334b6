//===- Link.cpp - a slow link between ranks, in virtual time --------------===//
#include "runtime/Transport/Link.h"
#include <cmath>
#include <cstdio>
#include <cstdlib>

namespace comm::rt {
namespace {
struct Unit {
  const char *name;
  double factor;
};
constexpr Unit rates[] = {{"bit", 1.0 / 8}, {"Kbit", 1e3 / 8}, {"Mbit", 1e6 / 8}, {"Gbit", 1e9 / 8},
                          {"KB", 1e3},      {"MB", 1e6},       {"GB", 1e9}};
constexpr Unit times[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}};

/// "50us" -> 50 * 1e3. The number is finite and not negative.
template <size_t N> bool parseQuantity(const std::string &text, const Unit (&units)[N], double &out) {
  char *end = nullptr;
  if (text.empty() || !((text[0] >= '0' && text[0] <= '9') || text[0] == '.'))
    return false;
  double value = std::strtod(text.c_str(), &end);
  for (const Unit &unit : units)
    if (std::string(end) == unit.name) {
      out = value * unit.factor;
      return std::isfinite(out);
    }
  return false;
}

std::string quantityText(double value, const Unit *units, size_t count) {
  size_t best = 0;
  for (size_t i = 1; i < count; ++i)
    if (value >= units[i].factor)
      best = i;
  char text[64];
  std::snprintf(text, sizeof text, "%.4g %s", value / units[best].factor, units[best].name);
  return text;
}
} // namespace

bool parseLinkModel(const std::string &text, LinkModel &out) {
  size_t comma = text.find(',');
  std::string rate = text.substr(0, comma);
  LinkModel link;
  double latencyNs = 0;
  if (rate != "inf" && (!parseQuantity(rate, rates, link.bytesPerSecond) || link.bytesPerSecond < 1))
    return false;
  if (comma != std::string::npos && (!parseQuantity(text.substr(comma + 1), times, latencyNs) || latencyNs > 1e12))
    return false;
  link.latencyNs = static_cast<int64_t>(latencyNs);
  out = link;
  return true;
}

std::string linkText(const LinkModel &link) {
  if (!link.active())
    return "native";
  std::string rate = link.bytesPerSecond > 0 ? quantityText(link.bytesPerSecond, rates, 4) + "/s" : "unlimited";
  return rate + ", " + quantityText(static_cast<double>(link.latencyNs), times, 4);
}

} // namespace comm::rt
