//===- Nccl.cpp - the collective library's own cost model -----------------===//
// t = latency + bytes / bandwidth, the least over algorithms and protocols, with the structure and the constants of
// NCCL 2.28's tuner. Channels and their rates, which NCCL finds by a search over the topology, come from the link
// rates: twelve channels carry four fifths of an NVLink's rate. A prior: 10 to 40 % off on measured systems.
//===----------------------------------------------------------------------===//
#include "Prior.h"
#include <algorithm>
#include <cmath>

namespace comm::cost {
namespace {

enum Algorithm { Tree, Ring, Nvls, NvlsTree, Pat };
enum Protocol { LL, LL128, Simple };
enum Hardware { OnNvLink, OnPci, OnNet };

// us; -1: the pair does not exist.
constexpr double baseLatency[5][3] = {{6.8, 14, 8.4}, {6.6, 14, 8.4}, {-1, -1, 0}, {-1, -1, 0}, {8, 8, 8}};
constexpr double hardwareLatency[3][5][3] = {{{0.6, 1.25, 4.0}, {0.6, 1.9, 3.4}, {0, 0, 25}, {0, 0, 25}, {4, 4, 4}},
                                             {{1.0, 1.9, 4.0}, {1.0, 2.5, 5.7}, {0, 0, 0}, {0, 0, 0}, {4, 4, 4}},
                                             {{5.0, 8.5, 14}, {2.7, 4.0, 14}, {0, 0, 18}, {0, 0, 20.9}, {14, 14, 14}}};

// GB/s per channel (llMax: in all) at one, two, and more nodes.
struct Generation {
  double llMax[3], ringLL128[3], treeLL128[3], tree[3], nvlsTree[3], nvlsEfficiency;
};
constexpr Generation ampere = {{87.7, 22.5, 19}, {20, 20, 20}, {20, 20, 20}, {24, 23.6, 17.8}, {0, 0, 0}, 0};
constexpr Generation hopper = {{141, 22.5, 19},    {36.7, 36.7, 36.7}, {36.7, 36.7, 29},
                               {38.7, 41.4, 36.0}, {0, 57.7, 45.5},    0.85};
constexpr Generation blackwell = {{282, 22.5, 19}, {73.4, 34.6, 73.4}, {55.6, 31.7, 20},
                                  {70, 42.8, 24},  {0, 96, 43.8},      0.74};

// By log2(bytes / 64): how far a tree stays below its bandwidth in the middle sizes.
constexpr double treeCorrection[3][23] = {
    {1, 1, 1, 1, .9, .8, .7, .7, .7, .7, .6, .5, .4, .4, .5, .6, .7, .8, .9, 1, 1, 1, 1},
    {1, 1, 1, 1, 1, .9, .8, .8, .8, .7, .6, .6, .6, .6, .6, .6, .8, .9, .9, .9, .9, 1, 1},
    {.9, .9, .9, .9, .9, .9, .9, .8, .7, .6, .6, .5, .5, .5, .5, .6, .7, .8, .7, .7, .8, .9, .9}};

struct Setting {
  bool reduce, gather, oneWay; // all_reduce; all_gather or reduce_scatter; broadcast, reduce
  double ranks, nodes, perNode, bytes;
  double channels, intra, inter;  // GB/s per channel
  double nvlsChannels, nvlsIntra; // likewise
  Hardware hardware;
  const Generation *generation;
  int nodeIndex; // 0, 1, 2
  double interLatency;
};

Setting describe(const Topology &t, const CollectiveQuery &q) {
  Setting s = {};
  s.reduce = q.op == "all_reduce";
  s.gather = q.op == "all_gather" || q.op == "reduce_scatter";
  s.oneWay = !s.reduce && !s.gather;
  s.ranks = static_cast<double>(q.ranks);
  s.nodes = static_cast<double>(t.nodes(q.ranks));
  s.perNode = s.ranks / s.nodes;
  s.bytes = static_cast<double>(q.bytes);
  double up = t.scaleUp.bytesPerUs / 1e3, out = t.scaleOut.bytesPerUs / 1e3;
  bool nvlink = t.fabric == Fabric::NvLink;
  s.channels = nvlink ? 12 : 2;
  s.intra = nvlink ? 0.8 * up / s.channels : (q.ranks > 2 ? 0.2 : 0.3) * up;
  // Every device of a node feeds its own port; a ring of the whole node crosses all of them.
  s.inter = std::min(s.intra, 0.96 * out * s.perNode / s.channels);
  s.nvlsChannels = 8;
  s.nvlsIntra = up * (t.device.generation >= 100 ? 0.8 : 0.71) / s.nvlsChannels;
  s.hardware = nvlink ? OnNvLink : OnPci;
  s.generation = t.device.generation >= 100 ? &blackwell : t.device.generation >= 90 ? &hopper : &ampere;
  s.nodeIndex = s.nodes <= 1 ? 0 : s.nodes <= 2 ? 1 : 2;
  s.interLatency = std::max(0.0, t.scaleOut.latencyUs - 10); // what an InfiniBand port needs is in the constants
  return s;
}

/// Algorithm bandwidth in GB/s; 0: the pair is not available.
double bandwidth(const Setting &s, Algorithm a, Protocol p) {
  const Generation &g = *s.generation;
  double perChannel = s.nodes <= 1 ? s.intra : s.nodes <= 2 ? std::min(s.intra, 2 * s.inter) : s.inter;
  double bus = s.channels * perChannel, steps = s.reduce ? 2 * (s.ranks - 1) : s.gather ? s.ranks - 1 : s.ranks;
  double llMax = g.llMax[s.nodeIndex];
  if (p == LL128 && s.hardware != OnNvLink)
    return 0;
  switch (a) {
  case Ring:
    bus = s.channels * (s.nodes <= 1 ? s.intra : s.inter);
    if (p == LL)
      bus = std::min(llMax, bus * 0.5);
    if (p == LL128)
      bus = std::min(bus * 0.92, s.channels * g.ringLL128[s.nodeIndex]);
    return bus * s.ranks / steps;
  case Tree:
    if (!s.reduce)
      return 0;
    bus = std::min(bus * 0.92, s.channels * g.tree[s.nodeIndex]);
    if (p == LL)
      bus = std::min(bus / 3.8, llMax);
    if (p == LL128)
      bus = std::min(bus * (s.nodes <= 1 ? 7.0 / 9 : 120.0 / 128), s.channels * g.treeLL128[s.nodeIndex]);
    if (int index = s.bytes < 64 ? -1 : static_cast<int>(std::log2(s.bytes / 64)); index >= 0 && index < 23)
      bus *= treeCorrection[p][index];
    return bus * 0.5;
  case Nvls:
  case NvlsTree: {
    if (p != Simple || s.hardware != OnNvLink || g.nvlsEfficiency == 0 || s.oneWay || s.ranks <= 2)
      return 0;
    if ((a == NvlsTree) != (s.nodes > 1) || (a == NvlsTree && !s.reduce))
      return 0; // across nodes the plain form needs a network that reduces
    double factor = s.reduce ? 2 : (s.perNode - 1) / s.perNode;
    double channel = s.nvlsIntra * g.nvlsEfficiency * (s.nvlsChannels - 1) / s.nvlsChannels * factor;
    if (a == NvlsTree)
      channel =
          std::min({channel, s.inter * s.channels / s.nvlsChannels * (s.nodes <= 2 ? 2 : 1), g.nvlsTree[s.nodeIndex]});
    bus = s.nvlsChannels * channel;
    return s.gather ? bus : bus * s.ranks / steps;
  }
  case Pat:
    return s.gather && s.nodes > 1 && s.perNode <= 1 && p == Simple ? bus * 0.75 : 0;
  }
  return 0;
}

double latency(const Setting &s, Algorithm a, Protocol p) {
  const double (*hw)[3] = hardwareLatency[s.hardware];
  double intra = hw[a][p];
  double inter = hardwareLatency[OnNet][s.perNode <= 1 ? Tree : a][p] + s.interLatency * (p == Simple ? 2 : 1);
  double log2Nodes = s.nodes > 1 ? std::floor(std::log2(s.nodes)) : 0;
  double us = baseLatency[a][p];
  switch (a) {
  case Ring: {
    if (s.oneWay)
      return us + s.ranks * (s.nodes > 1 ? inter : intra);
    double steps = s.reduce ? 2 * (s.ranks - 1) : s.ranks - 1;
    double between = s.nodes <= 1 ? 0 : s.reduce ? 2 * (s.nodes - 1) : s.nodes - 1;
    if (s.nodes > 1)
      intra = std::max(intra, p == Simple ? 6.0 : 2.0); // host's network thread
    us += (steps - between) * intra + between * inter;
    if (s.reduce && p == Simple && s.nodes > 1 && s.bytes / (s.channels * s.ranks) >= 64)
      us *= s.generation == &ampere ? 1.9 : 1.4;
    return us;
  }
  case Tree:
    return us + 2 * ((s.perNode - 1) * intra + log2Nodes * inter);
  case Nvls:
    return us + intra;
  case NvlsTree:
    return us + intra + 2 * log2Nodes * inter;
  case Pat:
    return us + log2Nodes * inter / 3.5 + 2.8 * s.ranks;
  }
  return us;
}

/// Sends and receives to and from everybody, which the tuner does not model: one group of messages.
double exchangeUs(const Topology &t, const CollectiveQuery &q, bool toAll) {
  double bytes = static_cast<double>(q.bytes), ranks = static_cast<double>(q.ranks);
  double near = static_cast<double>(std::min(t.ranksPerNode, q.ranks)), up = t.scaleUp.bytesPerUs,
         out = t.scaleOut.bytesPerUs;
  double efficiency = t.fabric == Fabric::NvLink ? 0.75 : 0.5;
  if (!toAll)
    return 7 + (q.ranks > t.ranksPerNode ? t.scaleOut.latencyUs + bytes / (0.96 * out) : bytes / (efficiency * up));
  double inside = bytes * (near - 1) / ranks / (efficiency * up);
  double outside = bytes * (ranks - near) / ranks / (0.8 * out);
  return 6 + 0.4 * ranks + (ranks > near ? t.scaleOut.latencyUs : 0) + std::max(inside, outside);
}

} // namespace

double ncclUs(const Topology &t, const CollectiveQuery &q) {
  if (q.ranks <= 1 || q.bytes <= 0)
    return 0;
  if (q.op == "all_to_all" || q.op == "permute" || q.op == "send")
    return exchangeUs(t, q, q.op == "all_to_all");
  Setting s = describe(t, q);
  double best = 0;
  for (Algorithm a : {Tree, Ring, Nvls, NvlsTree, Pat})
    for (Protocol p : {LL, LL128, Simple}) {
      double rate = bandwidth(s, a, p);
      if (rate <= 0)
        continue;
      double us = latency(s, a, p) + s.bytes / (1e3 * rate);
      best = best == 0 ? us : std::min(best, us);
    }
  return best;
}

} // namespace comm::cost
