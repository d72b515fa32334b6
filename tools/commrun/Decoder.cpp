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

/// "past_key_values.0.key", "past_key_0", but not "past_key_values.0.value".
bool holdsKeys(std::string name) {
  if (size_t both = name.find("key_values"); both != std::string::npos)
    name.erase(both, 10);
  return name.find("key") != std::string::npos;
}

/// A cache that no token has filled and that no new key equals.
std::shared_ptr<Tensor> ones(const PortInfo &port) {
  auto t = std::make_shared<Tensor>(port.dtype, port.dims);
  const float one = 1;
  const uint16_t half = floatToHalf(one), brain = floatToBfloat(one);
  size_t width = byteWidth(port.dtype);
  const void *from = width == 4 ? static_cast<const void *>(&one) : port.dtype == COMM_F16 ? &half : &brain;
  for (int64_t i = 0; i < t->count; ++i)
    std::memcpy(t->data.get() + static_cast<size_t>(i) * width, from, width);
  return t;
}

/// Positions [begin, begin + count) along `axis`, packed.
std::vector<uint8_t> part(const uint8_t *data, const std::vector<int64_t> &dims, size_t axis, size_t width,
                          int64_t begin, int64_t count) {
  int64_t outer = 1;
  size_t inner = width;
  for (size_t d = 0; d < dims.size(); ++d)
    if (d < axis)
      outer *= dims[d];
    else if (d > axis)
      inner *= static_cast<size_t>(dims[d]);
  std::vector<uint8_t> out;
  for (int64_t o = 0; o < outer; ++o) {
    const uint8_t *from = data + static_cast<size_t>(o * dims[axis] + begin) * inner;
    out.insert(out.end(), from, from + static_cast<size_t>(count) * inner);
  }
  return out;
}
} // namespace

Decoder::Decoder(const Executable &exe, Session &session, const std::vector<int64_t> &sample) : session(session) {
  for (size_t e = 0; e < exe.entries.size(); ++e)
    entries.push_back(readDecoderEntry(exe, static_cast<int32_t>(e)));
  if (!sample.empty())
    observe(sample);
}

int64_t Decoder::capacity() const {
  int64_t most = 0;
  for (const DecoderEntry &e : entries)
    most = std::max(most, e.past + e.fresh);
  return most;
}

bool Decoder::full() const {
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
  for (int64_t used = length; left > 0;) {
    const DecoderEntry *e = choose(used, left);
    if (!e)
      return false;
    used += e->fresh;
    left -= e->fresh;
  }
  return true;
}

void Decoder::run(const DecoderEntry &e, const int64_t *tokens) {
  Call call{e.entry, {}};
  auto ids = std::make_shared<Tensor>(e.tokens.dtype, e.tokens.dims);
  for (int64_t i = 0; i < e.fresh; ++i)
    setInteger(*ids, i, tokens[i]);
  call.inputs[e.tokens.name] = ids;
  if (e.mask) {
    auto mask = integers(*e.mask, 0, 0);
    int64_t inUse = length + e.fresh, begin = inserts ? 0 : e.past - length;
    for (int64_t i = 0; i < inUse; ++i)
      setInteger(*mask, begin + i, 1);
    call.inputs[e.mask->name] = mask;
  }
  if (e.positions)
    call.inputs[e.positions->name] = integers(*e.positions, length, 1);
  if (e.types)
    call.inputs[e.types->name] = integers(*e.types, 0, 0);
  auto result = std::make_shared<Tensor>(e.logits.dtype, e.logits.dims);
  TensorMap outputs = {{e.logits.name, result}};
  session.run(call, outputs);
  length += e.fresh;
  int64_t vocabulary = e.logits.dims.back(), first = result->count - vocabulary;
  logits.resize(static_cast<size_t>(vocabulary));
  for (int64_t i = 0; i < vocabulary; ++i)
    logits[static_cast<size_t>(i)] = static_cast<float>(result->at(first + i));
}

const std::vector<float> &Decoder::feed(const std::vector<int64_t> &tokens, bool (*stop)()) {
  logits.clear();
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

/// Tokens of a state as it is now, as many as one call adds, from slot `begin`.
std::vector<uint8_t> Decoder::state(const DecoderEntry &e, size_t index, int64_t begin) const {
  std::vector<uint8_t> bytes;
  comm_tensor t = session.state(e.states[index].first.name, bytes);
  return part(bytes.data(), {t.dims, t.dims + t.rank}, e.axes[index], byteWidth(t.dtype), begin, e.fresh);
}

void Decoder::observe(const std::vector<int64_t> &sample) {
  const DecoderEntry *e = nullptr; // the smallest one with room for what two calls add
  for (const DecoderEntry &one : entries)
    if (one.past >= one.fresh && (!e || one.fresh < e->fresh || (one.fresh == e->fresh && one.past < e->past)))
      e = &one;
  session.keepState(COMM_STATE_LAST);
  if (!e) // prompts only: nothing is ever padded
    return;
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < e->fresh; ++i)
    tokens.push_back(sample[static_cast<size_t>(i) % sample.size()]);
  // On a past of ones that the mask hides: appending leaves it in place, inserting writes over its front.
  for (const auto &[input, output] : e->states)
    session.setState(input.name, *ones(input));
  run(*e, tokens.data());
  size_t same = 0;
  for (size_t i = 0; i < e->states.size(); ++i) {
    PortInfo front = e->states[i].first;
    front.dims[e->axes[i]] = e->fresh;
    auto untouched = ones(front);
    std::vector<uint8_t> found = state(*e, i, 0);
    same += found.size() == untouched->bytes && std::memcmp(found.data(), untouched->data.get(), found.size()) == 0;
  }
  if (same != 0 && same != e->states.size())
    throw Failure{4, "E402", "--generate: some caches append new tokens to the past and others insert them"};
  inserts = same == 0;
  session.keepState(inserts ? COMM_STATE_FIRST : COMM_STATE_LAST);
  length = 0;
  if (!e->positions) {
    // Keys of the same tokens, once at the start and once behind them, differ by their places alone: those of the first
    // layer see nothing else. Values may stay as they are.
    std::vector<std::vector<uint8_t>> first;
    run(*e, tokens.data());
    for (size_t i = 0; i < e->states.size(); ++i)
      first.push_back(state(*e, i, inserts ? 0 : e->past));
    run(*e, tokens.data());
    size_t unmoved = 0;
    bool key = false;
    for (size_t i = 0; i < e->states.size(); ++i)
      if (state(*e, i, inserts ? e->fresh : e->past) == first[i]) {
        ++unmoved;
        key |= holdsKeys(e->states[i].first.name);
      }
    if (key || unmoved == e->states.size())
      throw Failure{
          4, "E402",
          "--generate: the model counts the places of new tokens from the size of its cache, which is fixed in "
          "an executable, not from attention_mask",
          "export it with an input position_ids, or add one: python -m commc.positions model.onnx -o new.onnx"};
    length = 0;
  }
  session.resetState();
  logits.clear();
}

} // namespace commrun
