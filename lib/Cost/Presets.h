//===- Presets.h - the built-in topologies (private) ------------*- C++ -*-===//
#pragma once
#include "comm/Cost/Topology.h"

namespace comm::cost {

std::vector<Topology> presets();
/// The same devices with another number of ranks per node and another link between nodes.
Topology withScaleOut(Topology, int64_t ranksPerNode, const Link &);

} // namespace comm::cost
