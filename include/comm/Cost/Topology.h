//===- Topology.h - devices and the links between them ----------*- C++ -*-===//
// What the machine is, as data: one device, how many share a node, and the links inside and between nodes. Presets
// carry the names of the measured systems; a JSON file has the same fields. Standard library only.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace comm::cost {

/// One way of moving bytes from rank to rank. One direction; both directions run at once.
struct Link {
  double bytesPerUs = 0; ///< of one rank; 1 GB/s is 1000
  double latencyUs = 0;  ///< of one message
};

struct Device {
  std::string name;
  std::map<std::string, double>
      flopsPerUs; ///< dense peak by element type ("f32", "bf16", ...); multiply-add counts two
  double memoryBytesPerUs = 0;
  double memoryFraction = 0.8; ///< of the bandwidth that streaming kernels reach
  int64_t memoryBytes = 0;
  int64_t cacheBytes = 0; ///< last level, shared by the device; 0: unknown
  int64_t units = 1;      ///< streaming multiprocessors, or cores of a rank
  double launchUs = 0;    ///< fixed cost of a kernel
  int64_t generation = 0; ///< 80 Ampere, 90 Hopper, 100 Blackwell (compute capability times ten); 0: other
  bool cpu = false;
};

/// What joins the ranks of a node. It chooses the formula of a collective.
enum class Fabric {
  Network,      ///< nothing but messages: closed forms over the link
  SharedMemory, ///< ranks read each other's buffers
  Pcie,         ///< devices behind PCIe: the collective library's model, without direct links
  NvLink,       ///< switched direct links: the collective library's model
};

struct Topology {
  std::string name; ///< preset name or the file's "name"
  Device device;
  int64_t ranksPerNode = 1;
  Fabric fabric = Fabric::Network;
  Link scaleUp, scaleOut; ///< inside a node, between nodes
  double contention =
      0.19; ///< share by which a hidden collective slows compute (cost_model: kernels slow 19 % on GPUs)
  /// Share of a rank's compute that a running collective takes on the CPU: 0 on links that move bytes by themselves.
  double coreShare = 0;

  int64_t nodes(int64_t ranks) const { return (ranks + ranksPerNode - 1) / ranksPerNode; }
};

/// Names of the built-in topologies, sorted.
std::vector<std::string> topologyNames();
/// A preset by name, or a JSON file by path. Behind a preset's name may stand another number of ranks per node and
/// another link between nodes: "cpu:2@1Gbit,50us" is nodes of two ranks joined by 1 Gbit/s, "cpu@1Gbit,50us" puts every
/// rank behind such a link. False and one sentence in `error` when it is none of these or malformed.
bool loadTopology(const std::string &nameOrPath, Topology &out, std::string &error);
/// JSON with every field, readable by loadTopology.
std::string printTopology(const Topology &);
/// "1Gbit,50us", "125MB,0.05ms", "inf": rate per direction and latency of one message. False when malformed.
bool parseLink(const std::string &text, Link &out);

} // namespace comm::cost
