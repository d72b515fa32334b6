//===- Replicate.cpp - the same program on more ranks ---------------------===//
// Ranks that only do the same on other data need no new program. A data-parallel axis grows when the shapes of one rank
// do not depend on its size; without one, whole copies of the program run side by side.
//===----------------------------------------------------------------------===//
#include "comm/Simulator/CommandCost.h"
#include "comm/Simulator/Simulator.h"
#include <algorithm>

namespace comm::sim {
namespace {
/// Commands whose operand shapes contain the number of members.
bool countsMembers(const exe::Command &c) {
  const std::string &op = exe::collectiveOf(c).empty() ? c.op : exe::collectiveOf(c);
  return op != "all_reduce" && op != "broadcast" && op != "permute" && op != "rank_mask";
}

bool spans(const exe::Command &c, const std::string &axis) {
  std::vector<std::string> axes = axesOf(c);
  return std::find(axes.begin(), axes.end(), axis) != axes.end();
}
} // namespace

bool replicate(exe::Program &program, int64_t ranks, std::string &error) {
  int64_t now = program.grid.ranks();
  if (ranks == now)
    return true;
  auto axis = std::find_if(program.grid.axes.begin(), program.grid.axes.end(),
                           [](const exe::Axis &a) { return a.name == "dp"; });
  bool grows = axis != program.grid.axes.end();
  int64_t unit = grows ? now / std::max<int64_t>(1, axis->size) : now;
  if (ranks < 1 || ranks > maxRanks || now < 1 || ranks % unit != 0) {
    error = std::to_string(ranks) + " ranks are no multiple of the " + std::to_string(unit) +
            " that work on one part of the batch, or more than " + std::to_string(maxRanks);
    return false;
  }
  if (!grows) {
    program.grid.axes.insert(program.grid.axes.begin(), {"dp", ranks / unit});
    return true;
  }
  for (size_t i = 0; i < program.commands.size(); ++i)
    if (spans(program.commands[i], "dp") && countsMembers(program.commands[i])) {
      error = "command " + std::to_string(i) + " '" + program.commands[i].op +
              "' has a shape that depends on the number of data-parallel ranks (" + std::to_string(axis->size) + ")";
      return false;
    }
  axis->size = ranks / unit;
  // Ranks keep the shapes that they have; the whole batch grows with their number. Ports are not read any more.
  return true;
}

} // namespace comm::sim
