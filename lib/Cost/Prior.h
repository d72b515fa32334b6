//===- Prior.h - formulas behind the tables (private) -----------*- C++ -*-===//
// Each answers for every topology and every size; sizes below zero count as zero.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Cost/CostModel.h"

namespace comm::cost {

/// The collective library's own model (ring, tree, in-switch; three protocols), for devices behind NVLink or PCIe.
double ncclUs(const Topology &, const CollectiveQuery &);
/// A serving framework's one-shot or two-shot all-reduce between devices of one node, without the host's share.
double directAllReduceUs(const Topology &, const CollectiveQuery &);
/// In-switch reduction of one node (multimem), calibrated on eight Hopper devices.
double multimemUs(const Topology &, const CollectiveQuery &);
/// Closed forms over messages or shared memory. `algorithm` "" is the fastest of them.
double closedFormUs(const Topology &, const CollectiveQuery &);
/// Host time that a launch outside a captured graph adds to a framework's own kernel.
double hostLaunchUs(const Topology &);
/// All of the above by library and algorithm.
double collectivePrior(const Topology &, const CollectiveQuery &);

double gemmPrior(const Topology &, const GemmQuery &);
double attentionPrior(const Topology &, const AttentionQuery &);
double moePrior(const Topology &, const MoeQuery &);
double memoryPrior(const Topology &, const MemoryQuery &);

/// Bytes of one element; 0.5 for four-bit types.
double elementBytes(const std::string &dtype);
/// Dense peak of an element type, or of the nearest type that the device has.
double peakFlopsPerUs(const Device &, const std::string &dtype);

} // namespace comm::cost
