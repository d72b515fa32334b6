//===- Decoder.cpp - a compiled language model, token by token ------------===//
#include "Decoder.h"
#include <algorithm>
#include <cstring>

namespace commrun {
namespace {
std::string tokensText(int64_t n) { return std::to_string(n) + (n == 1 ? " token" : " tokens"); }

void setInteger(const Tensor &t, int64_t i, int64_t value) {
  if (t.dtype == COMM_I64) {
    std::memcpy(t.data.get() + i * 8, &value, 8);
  } else {
    auto narrow = static_cast<int32_t>(value);
    std::memcpy(t.data.get() + i * 4, &narrow, 4);
  }
}

std::shared_ptr<Tensor> integers(const PortInfo &port, int64_t first, int64_t step) {
  auto t = std::make_shared<Tensor>(port.dtype, port.dims);
  for (int64_t i = 0; i < t->count; ++i)
    setInteger(*t, i, first + i * step);
  return t;
}

} // namespace

Decoder::Decoder(const Executable &exe, Session &session, const std::vector<int64_t> &sample) : session(session) {
  for (size_t e = 0; e < exe.entries.size(); ++e)
    entries.push_back(readDecoderEntry(exe, static_cast<int32_t>(e)));
  whole = entries[0].states.empty();
  for (const DecoderEntry &e : entries)
    if (e.states.empty() != whole)
      throw Failure{4, "E402", "--generate: some entries have a cache and others none"};
  if (!sample.empty())
    whole ? observeWhole(sample) : observe(sample);
}

int64_t Decoder::capacity() const {
  int64_t most = 0;
  for (const DecoderEntry &e : entries)
    most = std::max(most, e.past + e.fresh);
  return most;
}

const DecoderEntry *Decoder::chooseWhole(int64_t tokens) const {
  const DecoderEntry *best = nullptr;
  for (const DecoderEntry &e : entries)
    if (e.fresh >= tokens && (!best || e.fresh < best->fresh))
      best = &e;
  return best;
}

bool Decoder::full() const {
  if (whole)
    return !chooseWhole(length + 1);
  return std::none_of(entries.begin(), entries.end(), [&](const DecoderEntry &e) { return e.past >= length; });
}

/// The entry that takes the most of `left` tokens behind `used` ones; of equal ones that with the least room.
const DecoderEntry *Decoder::choose(int64_t used, int64_t left) const {
  const DecoderEntry *best = nullptr;
  for (const DecoderEntry &e : entries)
    if (e.fresh <= left && e.past >= used &&
        (!best || e.fresh > best->fresh || (e.fresh == best->fresh && e.past < best->past)))
      best = &e;
  return best;
}

bool Decoder::fits(size_t tokens) const {
  auto left = static_cast<int64_t>(tokens);
  if (whole)
    return chooseWhole(length + left);
  for (int64_t used = length; left > 0;) {
    const DecoderEntry *e = choose(used, left);
    if (!e)
      return false;
    used += e->fresh;
    left -= e->fresh;
  }
  return true;
}

void Decoder::call(const DecoderEntry &e, const std::shared_ptr<const Tensor> &ids, int64_t inUse, int64_t maskBegin,
                   int64_t firstPlace, int64_t row) {
  Call call{e.entry, {}};
  call.inputs[e.tokens.name] = ids;
  if (e.mask) {
    auto mask = integers(*e.mask, 0, 0);
    for (int64_t i = 0; i < inUse; ++i)
      setInteger(*mask, maskBegin + i, 1);
    call.inputs[e.mask->name] = mask;
  }
  if (e.positions)
    call.inputs[e.positions->name] = integers(*e.positions, firstPlace, 1);
  if (e.types)
    call.inputs[e.types->name] = integers(*e.types, 0, 0);
  auto result = std::make_shared<Tensor>(e.logits.dtype, e.logits.dims);
  TensorMap outputs = {{e.logits.name, result}};
  session.run(call, outputs);
  int64_t vocabulary = e.logits.dims.back(), first = row < 0 ? result->count - vocabulary : row * vocabulary;
  logits.resize(static_cast<size_t>(vocabulary));
  for (int64_t i = 0; i < vocabulary; ++i)
    logits[static_cast<size_t>(i)] = static_cast<float>(result->at(first + i));
}

void Decoder::run(const DecoderEntry &e, const int64_t *tokens) {
  auto ids = std::make_shared<Tensor>(e.tokens.dtype, e.tokens.dims);
  for (int64_t i = 0; i < e.fresh; ++i)
    setInteger(*ids, i, tokens[i]);
  call(e, ids, length + e.fresh, inserts ? 0 : e.past - length, length, -1);
  length += e.fresh;
}

void Decoder::runWhole(const DecoderEntry &e, int64_t padding) {
  auto ids = integers(e.tokens, padding, 0);
  for (size_t i = 0; i < text.size(); ++i)
    setInteger(*ids, static_cast<int64_t>(i), text[i]);
  length = static_cast<int64_t>(text.size());
  call(e, ids, length, 0, 0, length - 1);
}

const std::vector<float> &Decoder::feed(const std::vector<int64_t> &tokens, bool (*stop)()) {
  logits.clear();
  if (whole) {
    text.insert(text.end(), tokens.begin(), tokens.end());
    const DecoderEntry *e = chooseWhole(static_cast<int64_t>(text.size()));
    if (!e)
      throw Failure{2, "E206", "the longest text that an entry takes has " + tokensText(capacity()),
                    "compile an entry for more tokens"};
    if (!stop())
      runWhole(*e, text.back());
    return logits;
  }
  for (size_t done = 0; done < tokens.size();) {
    auto left = static_cast<int64_t>(tokens.size() - done);
    const DecoderEntry *e = choose(length, left);
    if (!e)
      throw Failure{2, "E206",
                    "behind " + tokensText(length) + " no entry of the executable takes " +
                        (left == 1 ? "one more" : "any of " + std::to_string(left) + " more") + ": it has room for " +
                        tokensText(capacity()),
                    "compile entries with a longer past, and one that takes a single token"};
    if (stop()) {
      logits.clear();
      break;
    }
    run(*e, tokens.data() + done);
    done += static_cast<size_t>(e->fresh);
  }
  return logits;
}

} // namespace commrun
