//===- Collectives.cpp - closed forms of collectives ----------------------===//
// a: latency of a message, B: rate of a link in one direction, D: bytes of the whole buffer, n ranks.
//   all_reduce  one_shot  a + (n-1) D/B              everyone reads everyone
//               two_shot  2a + 2(n-1)/n D/B          reduce_scatter, then all_gather, direct
//               ring      2(n-1) (a + D/(nB))
//               tree      2 log2(n) a + 2 D/B
//               star      2 (a + (n-1) D/B)
// One node of several ranks and several nodes: reduce_scatter inside, all_reduce of the parts between, all_gather
// inside.
//===----------------------------------------------------------------------===//
#include "Prior.h"
#include <algorithm>
#include <cmath>

namespace comm::cost {
namespace {

double logTwo(double n) { return std::ceil(std::log2(std::max(1.0, n)) - 1e-9); }

/// Shared memory slows down once what all ranks touch no longer fits into the last-level cache.
Link effectiveLink(const Topology &t, double ranks, double bytes, bool inside) {
  Link link = inside ? t.scaleUp : t.scaleOut;
  if (inside && t.fabric == Fabric::SharedMemory && t.device.cacheBytes > 0) {
    double touched = 2 * ranks * bytes / static_cast<double>(t.device.cacheBytes);
    double beyond = std::clamp(std::log2(std::max(touched, 1e-9)) / 2 + 1, 0.0, 1.0);
    link.bytesPerUs /= 1 + 1.6 * beyond;
  }
  link.bytesPerUs = std::max(link.bytesPerUs, 1e-9);
  return link;
}

double flatAllReduce(const std::string &algorithm, double n, double bytes, const Link &link, bool mesh) {
  double a = link.latencyUs, perByte = 1 / link.bytesPerUs;
  double oneShot = a + (n - 1) * bytes * perByte, twoShot = 2 * a + 2 * (n - 1) / n * bytes * perByte;
  double ring = 2 * (n - 1) * (a + bytes / n * perByte), tree = 2 * logTwo(n) * a + 2 * bytes * perByte;
  double star = 2 * (a + (n - 1) * bytes * perByte);
  if (algorithm == "one_shot")
    return oneShot;
  if (algorithm == "two_shot")
    return twoShot;
  if (algorithm == "ring")
    return ring;
  if (algorithm == "tree")
    return tree;
  if (algorithm == "star")
    return star;
  double best = std::min({ring, tree, star});
  return mesh ? std::min({best, oneShot, twoShot}) : best;
}

/// One level of equal links.
double flat(const CollectiveQuery &q, double n, double bytes, const Link &link, bool shared) {
  double a = link.latencyUs, perByte = 1 / link.bytesPerUs;
  if (n <= 1)
    return 0;
  if (q.op == "all_reduce")
    return flatAllReduce(q.algorithm, n, bytes, link, true);
  if (q.op == "all_gather" || q.op == "reduce_scatter") {
    double steps = q.algorithm == "ring" ? n - 1 : 1;
    return steps * a + (n - 1) / n * bytes * perByte;
  }
  if (q.op == "all_to_all")
    return a + (n - 1) / n * bytes * perByte;
  if (q.op == "broadcast" || q.op == "reduce") {
    if (shared) // everyone reads the root's buffer
      return a + bytes * perByte;
    double tree = logTwo(n) * (a + bytes * perByte), direct = a + (n - 1) * bytes * perByte;
    double scatter = (1 + logTwo(n)) * a + 2 * (n - 1) / n * bytes * perByte; // pieces out, then all_gather
    return std::min({tree, direct, scatter});
  }
  return a + bytes * perByte; // permute, send
}

} // namespace

double closedFormUs(const Topology &t, const CollectiveQuery &q) {
  if (q.ranks <= 1 || q.bytes <= 0)
    return 0;
  double n = static_cast<double>(q.ranks), bytes = static_cast<double>(q.bytes);
  double nodes = static_cast<double>(t.nodes(q.ranks)), near = std::min(n, static_cast<double>(t.ranksPerNode));
  bool shared = t.fabric == Fabric::SharedMemory;
  if (nodes <= 1)
    return flat(q, n, bytes, effectiveLink(t, n, bytes, true), shared);
  Link out = effectiveLink(t, n, bytes, false);
  if (near <= 1)
    return flat(q, n, bytes, out, false);
  Link up = effectiveLink(t, near, bytes, true);
  CollectiveQuery part = q;
  if (q.op == "all_reduce") {
    part.op = "all_gather";
    return 2 * flat(part, near, bytes, up, shared) + flat(q, nodes, bytes / near, out, false);
  }
  if (q.op == "all_to_all") // what stays inside moves beside what leaves
    return std::max(up.latencyUs + bytes * (near - 1) / n / up.bytesPerUs,
                    out.latencyUs + bytes * (n - near) / n / out.bytesPerUs);
  if (q.op == "all_gather" || q.op == "reduce_scatter") // same position of every node first: 1/near of the bytes each
    return flat(q, nodes, bytes / near, out, false) + flat(q, near, bytes, up, shared);
  return flat(q, nodes, bytes, out, false) + (q.op == "broadcast" ? flat(q, near, bytes, up, shared) : 0);
}

double directAllReduceUs(const Topology &t, const CollectiveQuery &q) {
  if (q.ranks <= 1 || q.bytes <= 0)
    return 0;
  double n = static_cast<double>(q.ranks), bytes = static_cast<double>(q.bytes);
  bool nvlink = t.fabric == Fabric::NvLink;
  Link link = {t.scaleUp.bytesPerUs * (nvlink ? 0.8 : 0.5), nvlink ? 2.6 + 0.1 * n : 4.0 + 0.4 * n};
  return std::min(flatAllReduce("one_shot", n, bytes, link, true), flatAllReduce("two_shot", n, bytes, link, true));
}

double multimemUs(const Topology &t, const CollectiveQuery &q) {
  if (q.ranks <= 1 || q.bytes <= 0)
    return 0;
  double moved = static_cast<double>(q.bytes) * static_cast<double>(q.ranks - 1) / static_cast<double>(q.ranks);
  // Eight H100: all_reduce 12.7 us + bytes / 274 GB/s, reduce_scatter 13.0 + / 365, all_gather 10.8 + / 376.
  if (q.op == "all_reduce")
    return 12.7 + 2 * moved / (1.066 * t.scaleUp.bytesPerUs);
  if (q.op == "reduce_scatter")
    return 13.0 + moved / (0.710 * t.scaleUp.bytesPerUs);
  return 10.8 + moved / (0.731 * t.scaleUp.bytesPerUs);
}

double hostLaunchUs(const Topology &t) { return t.device.cpu ? 0 : 14; }

double collectivePrior(const Topology &t, const CollectiveQuery &q) {
  bool devices = t.fabric == Fabric::NvLink || t.fabric == Fabric::Pcie;
  if (!devices)
    return closedFormUs(t, q);
  bool oneNode = t.nodes(q.ranks) <= 1;
  if (q.algorithm == "multimem" && oneNode)
    return multimemUs(t, q) + (q.graph ? 0 : hostLaunchUs(t));
  bool direct = q.algorithm == "one_shot" || q.algorithm == "two_shot";
  bool framework = q.library == "trtllm" || q.library == "vllm" || q.library == "sglang";
  double library = ncclUs(t, q);
  if (!oneNode || q.op != "all_reduce" || (!direct && !framework && !q.library.empty()))
    return library;
  double own = directAllReduceUs(t, q) + (q.graph ? 0 : hostLaunchUs(t));
  return direct ? own : std::min(own, library);
}

} // namespace comm::cost
