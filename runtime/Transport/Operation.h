//===- Operation.h - a collective that has been checked ---------*- C++ -*-===//
// What all transports have in common: operands are checked before anybody is asked, members compare signatures before
// data moves, and who gets how much from whom.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Transport.h"

namespace comm::rt {

/// What members of an operation compare. Plain data: it crosses processes and machines.
struct OpSignature {
  uint64_t program = 0, groupHash = 0;
  int64_t planId = 0, count = 0;
  int64_t sends = 0, expects = 0; ///< elements for the reader and from it, all_to_all_v only
  int32_t members = 0, root = 0, peer = -1, from = -1;
  CollectiveKind kind = CollectiveKind::Barrier;
  ReduceKind reduce = ReduceKind::Sum;
  exe::DType dtype = exe::DType::F32;
};

/// One operation under way. Members are those who take part: the group, for send and recv the two of them.
struct Operation {
  Operation(const Collective &c, const WaitBudget &budget) : c(c), budget(budget) {}
  Operation(const Operation &) = delete;
  /// Refuses what no rank may ask for, whatever the others do, and fills the rest.
  Status prepare(int32_t self, int32_t ranks);

  const Collective &c;
  const WaitBudget &budget;
  const std::vector<int32_t> *members = nullptr;
  size_t me = 0;
  int64_t width = 0;
  bool reducing = false;
  bool perPeer = false;              ///< every member gets another part of the operand; else all get the same
  bool inPlace = false;              ///< operand and result are the same memory
  int64_t inBytes = 0, outBytes = 0; ///< extents of what is read and written
  OpSignature signature;             ///< ours

  size_t size() const { return members->size(); }
  int32_t rankOf(size_t member) const { return (*members)[member]; }
  /// Elements that `member` gets from us, and where they start in our operand.
  int64_t outgoing(size_t member, int64_t &offset) const;
  /// Elements that we get from `member`, and where they go in our result. Reductions: the size of the result.
  int64_t incoming(size_t member, int64_t &offset) const;
  /// all_reduce in two parts: first element of what `member` reduces. Cut at cache lines.
  int64_t partBegin(size_t member) const;

private:
  std::vector<int32_t> pair;
};

/// "all_reduce #7 'label'" of one's own operation.
std::string operationName(const Collective &);
/// What a rank is doing, for messages: "in all_reduce #7 'label'".
using Activity = std::function<std::string(int32_t rank)>;
/// Whether the signature of `member` fits ours; the sentence names both ranks and operations.
Status comparePeer(const Operation &, size_t member, const OpSignature &theirs, const Activity &);

} // namespace comm::rt
