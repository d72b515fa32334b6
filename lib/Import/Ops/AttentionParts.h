//===- AttentionParts.h - shared by the attention operators -----*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_OPS_ATTENTIONPARTS_H
#define COMM_LIB_IMPORT_OPS_ATTENTIONPARTS_H
#include "NodeContext.h"

namespace mlir::comm {

/// What comm.attention takes: query, key and value are [B, heads, length, size].
struct AttentionParts {
  Value query, key, value;
  Value mask;       ///< bool or float, rank 1 to 4, broadcasts to [B, Hq, S, T]; its last dimension may be short
  Value lengths;    ///< [B], may be null
  double scale = 0; ///< 0: 1/sqrt(size)
  std::optional<int64_t> causalOffset;
  double softcap = 0;
};
/// Checks everything and builds the op.
FailureOr<Value> buildAttention(NodeContext &c, AttentionParts parts);
/// Every step of attention, f32 [B, Hq, S, T] but for the output.
struct PlainAttention {
  Value scores;  ///< scaled products
  Value capped;  ///< after the soft cap
  Value biased;  ///< with mask and rules
  Value weights; ///< after the softmax
  Value output;  ///< [B, Hq, S, Dv], element type of the query
};
/// Attention without comm.attention. `sink` [Hq], may be null: a logit per head that only joins the sum of the softmax.
FailureOr<PlainAttention> buildPlainAttention(NodeContext &c, const AttentionParts &parts, Value sink);
/// [B, S, heads*size] -> [B, heads, S, size].
FailureOr<Value> splitHeads(NodeContext &c, Value x, int64_t heads);
/// [B, heads, S, size] -> [B, S, heads*size].
Value mergeHeads(ValueBuilder &b, Value x);
/// Rotary with cos and sin [1 or B, S, R/2]; x [B, heads, S, size].
FailureOr<Value> buildRotary(NodeContext &c, Value x, Value cos, Value sin, bool interleaved);
/// `mask` (may be null) where `keep` [1 or B, 1, S or 1, T] holds; hidden elsewhere.
LogicalResult restrictMask(NodeContext &c, Value &mask, Value keep);

} // namespace mlir::comm
#endif
