//===- MemoryUse.cpp - bytes of one rank while a program runs -------------===//
#include "comm/Executable/RankMemory.h"
#include "comm/Simulator/Simulator.h"
#include <algorithm>
#include <map>
#include <set>

namespace comm::sim {
namespace {
int64_t bytesOf(exe::DType type, const exe::Shape &shape) { return std::max<int64_t>(exe::byteSize(type, shape), 0); }

/// Bytes of the arena are needed from a write to the last read before the next one, and results in flight from their
/// start. The arena is cut at the borders of all values; each piece is then one variable.
int64_t liveBytes(const exe::Program &program) {
  std::set<int64_t> borders;
  for (const exe::Value &v : program.values)
    if (v.storage == exe::Storage::Arena) {
      borders.insert(v.offset);
      borders.insert(v.offset + bytesOf(v.dtype, v.shape));
    }
  std::vector<int64_t> cuts(borders.begin(), borders.end());
  if (cuts.size() < 2)
    return 0;
  auto end = static_cast<int64_t>(program.commands.size());
  std::vector<int64_t> written(cuts.size(), -2), read(cuts.size(), -2); // last write; last use after it
  std::map<int64_t, int64_t> change; // by command: bytes that become or cease to be live
  auto close = [&](size_t piece) {
    if (written[piece] == -2)
      return;
    int64_t bytes = cuts[piece + 1] - cuts[piece];
    change[written[piece]] += bytes;
    change[std::max(read[piece], written[piece]) + 1] -= bytes;
  };
  auto each = [&](int32_t value, auto &&visit) {
    const exe::Value &v = program.values[static_cast<size_t>(value)];
    if (v.storage != exe::Storage::Arena)
      return;
    auto first = std::lower_bound(cuts.begin(), cuts.end(), v.offset) - cuts.begin();
    auto last = std::lower_bound(cuts.begin(), cuts.end(), v.offset + bytesOf(v.dtype, v.shape)) - cuts.begin();
    for (auto p = first; p < last; ++p)
      visit(static_cast<size_t>(p));
  };
  auto use = [&](int32_t value, int64_t at) { each(value, [&](size_t p) { read[p] = std::max(read[p], at); }); };
  auto define = [&](int32_t value, int64_t at) {
    each(value, [&](size_t p) {
      if (read[p] == at) { // updated in place
        return;
      }
      close(p);
      written[p] = at;
      read[p] = at;
    });
  };
  for (const exe::Port &port : program.inputs)
    if (port.value >= 0)
      define(port.value, -1);
  std::map<int64_t, const exe::Command *> flying;
  for (int64_t i = 0; i < end; ++i) {
    const exe::Command &c = program.commands[static_cast<size_t>(i)];
    auto token = c.attrs.find("token");
    const int64_t *number = token == c.attrs.end() ? nullptr : std::get_if<int64_t>(&token->second);
    if (c.op == "wait" && number && flying.count(*number)) {
      for (const auto *list : {&flying[*number]->inputs, &flying[*number]->outputs})
        for (int32_t v : *list)
          use(v, i);
      flying.erase(*number);
    } else if (c.op == "start" && number)
      flying[*number] = &c;
    for (int32_t v : c.inputs)
      use(v, i);
    for (int32_t v : c.outputs)
      define(v, i);
  }
  for (const exe::Port &port : program.outputs)
    if (port.value >= 0)
      use(port.value, end);
  for (size_t p = 0; p + 1 < cuts.size(); ++p)
    close(p);
  int64_t now = 0, most = 0;
  for (const auto &[at, bytes] : change)
    most = std::max(most, now += bytes);
  return most;
}
} // namespace

MemoryUse memoryUse(const exe::Executable &executable, const exe::Program &program) {
  MemoryUse use;
  use.arena = program.arenaBytes;
  use.live = liveBytes(program);
  exe::RankMemory held = exe::rankMemory(executable, {&program});
  use.weights = held.weights(); // a device of its own maps no file
  use.ports = held.ports;
  return use;
}

} // namespace comm::sim
