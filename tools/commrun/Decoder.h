//===- Decoder.h - a compiled language model, token by token ----*- C++ -*-===//
#pragma once
#include "Program.h"

namespace commrun {

/// What the ports of an entry are to a decoder. All of a batch of one.
struct DecoderEntry {
  int32_t entry = 0;
  int64_t fresh = 0; ///< tokens that it takes
  int64_t past = 0;  ///< room for tokens before them, in each of its states
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
///    ones in the attention mask says how long it is;
///  - appending (present is past, then new): the past lies at the end, with zeros of the attention mask before it.
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
  void run(const DecoderEntry &, const int64_t *tokens);
  void observe(const std::vector<int64_t> &sample);
  std::vector<uint8_t> state(const DecoderEntry &, size_t index, int64_t begin) const;

  Session &session;
  std::vector<DecoderEntry> entries;
  bool inserts = false;
  int64_t length = 0;
  std::vector<float> logits;
};

} // namespace commrun
