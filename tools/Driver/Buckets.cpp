//===- Buckets.cpp - several sizes of a symbol, several entries -----------===//
#include "tools/Driver/Buckets.h"

using namespace commc;

/// Each entry takes the compile time and, beside the weights, the size of a program of its own.
constexpr size_t kMaxEntries = 32;

bool commc::checkEntryCount(const Options &options) {
  size_t count = 1;
  std::string example;
  for (const auto &[name, sizes] : options.dims) {
    count = std::min(count * sizes.size(), kMaxEntries * 1000); // far above is said as that
    if (sizes.size() > 1)
      example = "--dim " + name + "=" + std::to_string(sizes.front()) + "," + std::to_string(sizes.back());
  }
  if (count > kMaxEntries) {
    printError("E201",
               "--dim asks for " + std::to_string(count) + " entries, one for each combination of sizes; at most " +
                   std::to_string(kMaxEntries) + " go into one executable",
               "", example);
    return false;
  }
  if (count > 1 && !options.shapesFrom.empty()) {
    printError("E201", "several sizes of --dim and --shapes-from make entries each: give one of them", "",
               example + " alone");
    return false;
  }
  return true;
}

std::vector<EntrySizes> commc::listEntries(const Options &options) {
  std::vector<EntrySizes> entries(1);
  for (const auto &[name, sizes] : options.dims) {
    std::vector<EntrySizes> next;
    for (const EntrySizes &entry : entries)
      for (int64_t size : sizes) {
        next.push_back(entry);
        next.back().dims[name] = size;
        if (sizes.size() > 1)
          next.back().name += (entry.name.empty() ? "" : ",") + name + "=" + std::to_string(size);
      }
    entries = std::move(next);
  }
  if (entries.size() == 1)
    entries[0].name = "main";
  return entries;
}
