//===- DecoderEntry.cpp - what the ports of an entry are to a decoder -----===//
#include "Decoder.h"
#include <algorithm>

namespace commrun {
namespace {
bool isIndex(comm_dtype t) { return t == COMM_I64 || t == COMM_I32; }
bool isReal(comm_dtype t) { return t == COMM_F32 || t == COMM_F16 || t == COMM_BF16; }

std::string portText(const PortInfo &p) { return "'" + p.name + "' " + dtypeName(p.dtype) + shapeText(p.dims); }

struct Reader {
  const EntryInfo &info;
  DecoderEntry out;

  [[noreturn]] void refuse(const std::string &what, const std::string &advice = "") const {
    throw Failure{4, "E402", "--generate: entry '" + info.name + "': " + what, advice};
  }

  const PortInfo *find(const std::vector<PortInfo> &ports, const std::string &name) const {
    auto it = std::find_if(ports.begin(), ports.end(), [&](const PortInfo &p) { return p.name == name; });
    return it == ports.end() ? nullptr : &*it;
  }

  void readTokens() {
    const PortInfo *ids = find(info.inputs, "input_ids");
    if (!ids)
      refuse("it has no input 'input_ids'");
    if (!isIndex(ids->dtype) || ids->dims.size() != 2 || ids->dims[0] != 1 || ids->dims[1] < 1)
      refuse("input " + portText(*ids) + " is not i64[1, tokens]", "compile for a batch of one");
    out.tokens = *ids;
    out.fresh = ids->dims[1];
  }

  /// The slots of a state that is changed in place: a dimension as large as attention_mask, in a cache the last but
  /// one. Its rank where there is none.
  size_t slotAxis(const PortInfo &state) const {
    const PortInfo *mask = find(info.inputs, "attention_mask");
    if (!mask || mask->dims.size() != 2 || mask->dims[1] < out.fresh)
      return state.dims.size();
    if (size_t usual = state.dims.size() - 2; state.dims.size() > 2 && state.dims[usual] == mask->dims[1])
      return usual;
    return static_cast<size_t>(std::find(state.dims.begin(), state.dims.end(), mask->dims[1]) - state.dims.begin());
  }

  void readStates() {
    for (const auto &[input, output] : info.states) {
      const PortInfo *in = find(info.inputs, input), *grown = find(info.outputs, output);
      if (!in || !grown || in->dtype != grown->dtype || in->dims.size() != grown->dims.size() || !isReal(in->dtype))
        refuse("state '" + input + "' is not a cache of floats");
      std::vector<size_t> growing;
      for (size_t d = 0; d < in->dims.size(); ++d)
        if (in->dims[d] != grown->dims[d])
          growing.push_back(d);
      size_t axis = growing.empty() ? slotAxis(*in) : growing[0];
      bool inPlace = growing.empty() && axis < in->dims.size(),
           grows = growing.size() == 1 && grown->dims[axis] == in->dims[axis] + out.fresh;
      if (!inPlace && !grows)
        refuse("state " + portText(*in) + " becomes " + portText(*grown) + ": it neither grows by the " +
               std::to_string(out.fresh) + (out.fresh == 1 ? " token" : " tokens") +
               " of input_ids nor has as many slots as attention_mask");
      int64_t past = in->dims[axis] - (inPlace ? out.fresh : 0); // in place the new tokens take slots of it
      if (!out.states.empty() && past != out.past)
        refuse("state " + portText(*in) + " has room for " + std::to_string(past) + " tokens, another one for " +
               std::to_string(out.past));
      out.past = past;
      out.states.emplace_back(*in, *grown);
      out.axes.push_back(axis);
    }
  }

  void readInputs() {
    for (const PortInfo &p : info.inputs) {
      bool isState = std::any_of(info.states.begin(), info.states.end(), [&](auto &s) { return s.first == p.name; });
      if (isState || p.name == "input_ids")
        continue;
      auto is = [&](const char *name, int64_t size) {
        return p.name == name && isIndex(p.dtype) && p.dims == std::vector<int64_t>{1, size};
      };
      if (is("attention_mask", out.past + out.fresh))
        out.mask = p;
      else if (is("position_ids", out.fresh))
        out.positions = p;
      else if (is("token_type_ids", out.fresh))
        out.types = p;
      else
        refuse("input " + portText(p) + " is not understood; known are input_ids and position_ids [1, " +
               std::to_string(out.fresh) + "], attention_mask [1, " + std::to_string(out.past + out.fresh) +
               "] and the states");
    }
    if (!out.mask && out.past > 0)
      refuse("it has no input 'attention_mask' to tell which part of the cache is in use");
  }

  void readLogits() {
    const PortInfo *found = find(info.outputs, "logits");
    if (!found)
      refuse("it has no output 'logits'");
    const std::vector<int64_t> &d = found->dims;
    bool fits =
        isReal(found->dtype) && d.size() >= 2 && d.size() <= 3 && d[0] == 1 && d.back() > 0 &&
        (out.states.empty() ? d.size() == 3 && d[1] == out.fresh : d.size() == 2 || d[1] == 1 || d[1] == out.fresh);
    if (!fits)
      refuse("output " + portText(*found) + " is not [1, " + std::to_string(out.fresh) + ", vocabulary]");
    out.logits = *found;
  }
};
} // namespace

DecoderEntry readDecoderEntry(const Executable &exe, int32_t entry) {
  Reader reader{exe.entries[static_cast<size_t>(entry)], {}};
  reader.out.entry = entry;
  reader.readTokens();
  reader.readStates();
  reader.readInputs();
  reader.readLogits();
  return std::move(reader.out);
}

} // namespace commrun
