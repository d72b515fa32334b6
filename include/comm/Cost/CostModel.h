//===- CostModel.h - how long things take -----------------------*- C++ -*-===//
// Predicted microseconds of collectives, products, attention and memory-bound ops on a topology. Formulas are the
// prior; measured tables override them where they have rows. A missing row never fails: the prior answers. Pure
// functions of plain data, the same in passes, simulator and tools. Standard library only.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Cost/Topology.h"
#include <memory>

namespace comm::cost {

/// A collective as nccl-tests counts it: `bytes` is the whole buffer of one rank (all_reduce: the buffer, all_gather:
/// the gathered output, reduce_scatter: the full input, all_to_all: one rank's whole input, others: the message).
struct CollectiveQuery {
  std::string op; ///< "all_reduce" "all_gather" "reduce_scatter" "all_to_all" "broadcast" "permute" "send"
  std::string dtype = "f32";
  int64_t ranks = 1;
  int64_t bytes = 0;
  bool graph = false;      ///< replayed from a captured graph: no launch from the host
  std::string library;     ///< "" (best of the topology), "nccl", "trtllm", "vllm", "sglang", "oneccl"
  std::string algorithm{}; ///< "" (best), "one_shot", "two_shot", "ring", "multimem", ...
  int64_t units = 0;       ///< SMs or cores it may take; 0: its own choice
  std::string version{};   ///< of the library; unknown or "": the usual one
  std::string table{};     ///< of the measurement; unknown or "": any
};
/// C[batch,m,n] = A[batch,m,k] * B[batch,k,n].
struct GemmQuery {
  std::string dtype = "f32";
  int64_t m = 0, n = 0, k = 0, batch = 1;
  int64_t unitsTaken = 0; ///< SMs or cores that something else holds meanwhile
  std::string framework{}, version{};
};
struct AttentionQuery {
  std::string dtype = "f32";
  int64_t batch = 1, newTokens = 0, pastTokens = 0, heads = 0, kvHeads = 0, headDim = 0;
  int64_t window = 0; ///< 0: none
  bool causal = true;
  std::string framework{}, kernel{}, version{};
};
/// The expert layer of one rank: routing, permutation, grouped products, activation; no communication.
struct MoeQuery {
  std::string dtype = "bf16";
  int64_t tokens = 0, hidden = 0, inter = 0, topk = 0, experts = 0, tp = 1, ep = 1; ///< tokens of the whole group
  std::string distribution = "balanced", framework{}, kernel{}, version{};
};
/// A kernel bound by memory: elementwise chains, norms, softmax, copies.
struct MemoryQuery {
  int64_t bytes = 0; ///< read and written
  int64_t flops = 0;
  std::string dtype = "f32";
  std::string kind{}; ///< of rows that measured it: "" copies, "loop" elementwise chains, "norm" what needs whole rows
};

/// What slows what when a collective runs beside compute (rule T = max(Tc (1 + kc), Tm (1 + km))).
struct Overlap {
  double computeUs = 0;     ///< alone
  double collectiveUs = 0;  ///< alone
  bool memoryBound = false; ///< roofline class of the hiding compute: little is gained behind it
};
struct OverlapCost {
  double totalUs = 0;   ///< both
  double hiddenUs = 0;  ///< of the collective
  double exposedUs = 0; ///< of the collective
};

class CostModel {
public:
  /// With the built-in measured tables of that topology, if there are any.
  explicit CostModel(Topology topology);
  ~CostModel();
  CostModel(const CostModel &);
  CostModel &operator=(const CostModel &);

  const Topology &topology() const;
  /// Lays the rows of a tuning file (JSON, written by `commc bench`) over the tables. False and one sentence on error.
  bool addTuning(const std::string &path, std::string &error);
  /// Identity of everything that predictions depend on, for the executable.
  std::string fingerprint() const;

  double collectiveUs(const CollectiveQuery &) const;
  double gemmUs(const GemmQuery &) const;
  double attentionUs(const AttentionQuery &) const;
  double moeUs(const MoeQuery &) const;
  double memoryUs(const MemoryQuery &) const;
  OverlapCost overlap(const Overlap &) const;
  /// Progress of compute per microsecond beside a collective, (0, 1].
  double rateBesideCollective(bool memoryBound) const;
  /// Whether compute that touches `bytes` in `us` moves them most of that time, and the links load the memory too: then
  /// little is gained beside a collective.
  bool isMemoryBound(double bytes, double us) const;
  /// Fixed cost of issuing one more chunk of a collective or one more piece of a kernel.
  double chunkOverheadUs() const;

private:
  struct Tables;
  Topology topo;
  std::shared_ptr<const Tables> tables;
};

// Conventions of nccl-tests. `bytes` of a query is the whole buffer; bus rate is what a link carries in one direction.
/// 2(n-1)/n for all_reduce, (n-1)/n for all_gather, reduce_scatter and all_to_all, else 1.
double busFactor(const std::string &op, int64_t ranks);
double busBytesPerUs(const CollectiveQuery &, double us);
double usAtBusRate(const CollectiveQuery &, double busBytesPerUs);
/// The whole buffer from the bytes that one rank puts in, and back: they differ for all_gather only.
int64_t wholeBytes(const std::string &op, int64_t ranks, int64_t inputBytes);
int64_t inputBytes(const std::string &op, int64_t ranks, int64_t wholeBytes);

} // namespace comm::cost
