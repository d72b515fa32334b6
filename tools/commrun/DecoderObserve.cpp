//===- DecoderObserve.cpp - how a language model uses its cache -----------===//
// What the ports do not say, from a few calls at the start.
//===----------------------------------------------------------------------===//
#include "Decoder.h"
#include <cstring>

namespace commrun {
namespace {
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

/// Tokens of a state as it is now, as many as one call adds, from slot `begin`.
std::vector<uint8_t> Decoder::state(const DecoderEntry &e, size_t index, int64_t begin) const {
  std::vector<uint8_t> bytes;
  comm_tensor t = session.state(e.states[index].first.name, bytes);
  return part(bytes.data(), {t.dims, t.dims + t.rank}, e.axes[index], byteWidth(t.dtype), begin, e.fresh);
}

/// The same text with other tokens behind it.
void Decoder::observeWhole(const std::vector<int64_t> &sample) {
  const DecoderEntry *e = chooseWhole(2);
  if (!e) // texts of one token
    return;
  text.assign(1, sample[0]);
  runWhole(*e, 0);
  std::vector<float> first = logits;
  runWhole(*e, 1);
  if (std::memcmp(first.data(), logits.data(), first.size() * sizeof(float)) != 0)
    throw Failure{4, "E402",
                  "--generate: the model has no cache and looks at tokens behind the last one, so a text cannot be "
                  "padded to the size of an entry",
                  "export it with past_key_values and present"};
  text.clear();
  length = 0;
  logits.clear();
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
  if (!inserts && e->states[0].first.dims == e->states[0].second.dims)
    throw Failure{4, "E402", "--generate: a cache that is changed in place does not take new tokens at its front"};
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
