//===- Decoder.h - a compiled language model, token by token ----*- C++ -*-===//
#pragma once
#include "Program.h"

namespace commrun {

/// What the ports of an entry are to a decoder. All of a batch of one.
struct DecoderEntry {
  int32_t entry = 0;
  int64_t fresh = 0; ///< tokens that it takes
  int64_t past = 0;  ///< room for tokens before them, in each of its states; there are none: it takes whole texts
  PortInfo tokens, logits;
  std::optional<PortInfo> mask, positions, types;
  std::vector<std::pair<PortInfo, PortInfo>> states; ///< input, output
  std::vector<size_t> axes;                          ///< along which each state grows
};

/// Roles by name and shape: input_ids, attention_mask, position_ids, token_type_ids, logits, and the states of the
/// executable, each growing by the new tokens along one dimension. Throws Failure (exit 4) with what is missing or not
/// understood.
DecoderEntry readDecoderEntry(const Executable &, int32_t entry);

/// Feeds tokens to the entries of an executable; the session carries the cache. The room of the cache is fixed per
/// entry, so it is padded, in one of two ways that are told apart by two calls at the start:
///  - inserting (GroupQueryAttention): the past lies at the front, new tokens are put right behind it, and the number
///  of
///    ones in the attention mask says how long it is; the state grows, or new tokens take slots of it;
///  - appending (present is past, then new): the past lies at the end, with zeros of the attention mask before it.
/// Entries without a cache run on the whole text again for each token, padded behind it, which must not show.
/// Without an input position_ids new tokens must be found to get a place that follows from the mask, not from the room.
class Decoder {
public:
  /// `sample`: tokens of the vocabulary for the calls at the start. Throws Failure.
  Decoder(const Executable &, Session &, const std::vector<int64_t> &sample);
  /// Appends tokens, split into what the entries take; the logits behind the last one. Throws Failure when they do not
  /// fit. `stop` is asked between calls; when it is true the result is empty.
  const std::vector<float> &feed(const std::vector<int64_t> &tokens, bool (*stop)());
  bool fits(size_t tokens) const;
  int64_t used() const { return length; }
  /// No entry has room for the tokens so far.
  bool full() const;
  /// Most tokens that the executable has room for.
  int64_t capacity() const;

private:
  const DecoderEntry *choose(int64_t used, int64_t left) const;
  /// The smallest entry for a text of so many tokens, where there is no cache.
  const DecoderEntry *chooseWhole(int64_t tokens) const;
  void run(const DecoderEntry &, const int64_t *tokens);
  void runWhole(const DecoderEntry &, int64_t padding);
  void call(const DecoderEntry &, const std::shared_ptr<const Tensor> &ids, int64_t inUse, int64_t maskBegin,
            int64_t firstPlace, int64_t row);
  void observe(const std::vector<int64_t> &sample);
  void observeWhole(const std::vector<int64_t> &sample);
  std::vector<uint8_t> state(const DecoderEntry &, size_t index, int64_t begin) const;

  Session &session;
  std::vector<DecoderEntry> entries;
  bool inserts = false, whole = false;
  int64_t length = 0;
  std::vector<int64_t> text; ///< where there is no cache
  std::vector<float> logits;
};

} // namespace commrun
