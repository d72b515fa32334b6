//===- CarriedState.cpp - what a session keeps between calls --------------===//
#include "runtime/Core/CarriedState.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
char standIn; ///< only its address counts

std::string typeText(exe::DType dtype, const exe::Shape &shape) {
  std::string out = std::string(exe::dtypeName(dtype)) + "[";
  for (size_t i = 0; i < shape.size(); ++i)
    out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

int64_t bytesOf(const exe::Port &p) { return exe::byteSize(p.dtype, p.shape); }

/// Copies a tensor into one that differs along `axis` only: its first or last positions, zeros where it has none.
void moveAlong(size_t axis, const exe::Port &port, const exe::Shape &shape, bool last, const uint8_t *from,
               uint8_t *to) {
  int64_t outer = 1, inner = exe::byteWidth(port.dtype);
  for (size_t d = 0; d < shape.size(); ++d)
    (d < axis ? outer : inner) *= d == axis ? 1 : shape[d];
  auto rows = static_cast<size_t>(shape[axis] * inner), rowsTo = static_cast<size_t>(port.shape[axis] * inner),
       common = std::min(rows, rowsTo), rest = rowsTo - common;
  for (int64_t o = 0; o < outer; ++o, from += rows, to += rowsTo) {
    std::memcpy(to + (last ? rest : 0), from + (last ? rows - common : 0), common);
    std::memset(to + (last ? 0 : common), 0, rest);
  }
}
} // namespace

CarriedState::CarriedState(const LoadedExecutable &loaded, bool reference, Engine &engine)
    : loaded(loaded), reference(reference), engine(engine) {
  if (engine.partRanks() > 0)
    residents = residentStates(loaded.exe, reference);
  for (size_t e = 0; e < loaded.exe.entries.size(); ++e) {
    pairs.push_back(statesOf(loaded.exe.entries[e], program(e)));
    for (const StateUse &use : pairs.back()) {
      size_t in = static_cast<size_t>(bytesOf(program(e).inputs[use.input])),
             out = static_cast<size_t>(bytesOf(program(e).outputs[use.output]));
      largest[0][use.name] = std::max(largest[0][use.name], in);
      largest[1][use.name] = std::max(largest[1][use.name], out);
    }
  }
}

void CarriedState::setMode(comm_state_mode value) {
  mode = value;
  reset();
  if (mode == COMM_STATE_NONE) {
    memories.clear();
    parts.clear();
    ownParts.clear();
  }
}

void CarriedState::reset() {
  kept.clear();
  for (auto &[name, state] : parts)
    state.forget();
}

Status CarriedState::residentOf(const std::string &name, ResidentState *&out) {
  auto it = parts.find(name);
  if (it == parts.end()) {
    ResidentState::Place place{engine.partMemory(name), ResidentState::strideFor(residents.at(name)),
                               engine.partRanks()};
    if (!place.memory) {
      auto pages = std::make_unique<Pages>();
      if (Status s = pages->allocate(static_cast<int64_t>(place.stride) * place.ranks, "a state"); !s)
        return s;
      place.memory = pages->memory;
      ownParts.push_back(std::move(pages));
    }
    it = parts.emplace(name, ResidentState(place)).first;
  }
  out = &it->second;
  return Status::ok();
}

/// Of what is carried; null when there is nothing.
const exe::Shape *CarriedState::shapeOf(const std::string &name, exe::DType &dtype) const {
  if (auto it = parts.find(name); it != parts.end() && it->second.there()) {
    dtype = it->second.dtype();
    return &it->second.shape();
  }
  auto it = kept.find(name);
  if (it == kept.end())
    return nullptr;
  dtype = it->second.dtype;
  return &it->second.shape;
}

Status CarriedState::set(const comm_tensor &t) {
  if (mode == COMM_STATE_NONE)
    return {Code::InvalidArgument, "the session carries no state: comm_session_keep_state comes first"};
  std::string name = t.name ? t.name : "";
  for (size_t e = 0; e < pairs.size(); ++e)
    for (const StateUse &pair : pairs[e]) {
      if (pair.name != name)
        continue;
      const exe::Port &port = program(e).inputs[pair.input];
      int dtype;
      std::memcpy(&dtype, &t.dtype, sizeof(dtype));
      if (dtype != static_cast<int>(port.dtype) || t.rank != static_cast<int32_t>(port.shape.size()) ||
          (t.rank > 0 && !t.dims))
        return {Code::InvalidArgument,
                "state '" + name + "': expected the type and rank of " + typeText(port.dtype, port.shape)};
      exe::Shape shape(t.dims, t.dims + t.rank);
      size_t bytes = static_cast<size_t>(exe::byteWidth(port.dtype));
      for (int64_t d : shape)
        if (d < 0 || __builtin_mul_overflow(bytes, static_cast<size_t>(d), &bytes))
          return {Code::InvalidArgument, "state '" + name + "': its shape is no shape"};
      if (t.bytes != bytes || (bytes > 0 && !t.data))
        return {Code::InvalidArgument, "state '" + name + "': its shape needs " + std::to_string(bytes) +
                                           " bytes, the buffer has " + std::to_string(t.data ? t.bytes : 0)};
      if (residents.count(name)) {
        ResidentState *state;
        if (Status s = residentOf(name, state); !s)
          return s;
        state->set(port, shape, t.data, bytes);
        return Status::ok();
      }
      Kept fresh{port.dtype, std::move(shape), nullptr, std::vector<uint8_t>(bytes)};
      if (bytes > 0)
        std::memcpy(fresh.own.data(), t.data, bytes);
      fresh.at = fresh.own.data();
      kept[name] = std::move(fresh);
      return Status::ok();
    }
  return {Code::InvalidArgument, "no entry has a state '" + name + "'"};
}

Status CarriedState::get(const char *input, comm_tensor &out) const {
  std::string name = input ? input : "";
  exe::DType dtype;
  const exe::Shape *shape = shapeOf(name, dtype);
  if (!shape)
    return {Code::InvalidArgument, "the session carries no state '" + name + "'"};
  auto bytes = static_cast<size_t>(exe::byteSize(dtype, *shape));
  if (out.data && out.bytes < bytes)
    return {Code::InvalidArgument, "state '" + name + "' is " + typeText(dtype, *shape) + " of " +
                                       std::to_string(bytes) + " bytes, the buffer has " + std::to_string(out.bytes)};
  void *to = out.data;
  auto resident = parts.find(name);
  if (to && bytes > 0 && resident != parts.end())
    resident->second.get(to);
  else if (to && bytes > 0)
    std::memcpy(to, kept.at(name).at, bytes);
  out = {largest[0].find(name)->first.c_str(),
         static_cast<comm_dtype>(dtype),
         static_cast<int32_t>(shape->size()),
         shape->data(),
         to,
         bytes};
  return Status::ok();
}

std::vector<void *> CarriedState::offer(size_t entry, bool outputs) const {
  std::vector<void *> ports((outputs ? program(entry).outputs : program(entry).inputs).size(), nullptr);
  if (mode != COMM_STATE_NONE)
    for (const StateUse &pair : pairs[entry])
      ports[outputs ? pair.output : pair.input] = &standIn;
  return ports;
}

Status CarriedState::memoryOf(size_t entry, const StateUse &pair, Memory *&out) {
  Memory &m = memories[pair.name];
  out = &m;
  if (m.in)
    return Status::ok();
  m.in = static_cast<uint8_t *>(engine.stateMemory(entry, pair.input, false));
  m.out = static_cast<uint8_t *>(engine.stateMemory(entry, pair.output, true));
  m.engines = m.in && m.out;
  for (int i = 0; i < 2 && !m.engines; ++i) {
    m.pages[i] = std::make_unique<Pages>();
    // The two change places where the sizes agree.
    size_t bytes = std::max(largest[0].at(pair.name), largest[1].at(pair.name));
    m.in = nullptr;
    if (Status s = m.pages[i]->allocate(static_cast<int64_t>(bytes), "a state"); !s)
      return s;
  }
  if (!m.engines) {
    m.in = m.pages[0]->memory;
    m.out = m.pages[1]->memory;
  }
  return Status::ok();
}

Status CarriedState::check(size_t entry, const StateUse &pair, std::vector<size_t> &differing) const {
  const exe::Port &port = program(entry).inputs[pair.input];
  exe::DType dtype;
  const exe::Shape *shape = shapeOf(pair.name, dtype);
  if (!shape)
    return Status::ok();
  bool sameRank = shape->size() == port.shape.size();
  for (size_t d = 0; sameRank && d < port.shape.size(); ++d)
    if ((*shape)[d] != port.shape[d])
      differing.push_back(d);
  if (dtype == port.dtype && sameRank && differing.size() <= (mode == COMM_STATE_EXACT ? 0u : 1u))
    return Status::ok();
  return {Code::InvalidArgument,
          "state '" + pair.name + "' is " + typeText(dtype, *shape) + ", entry '" + loaded.exe.entries[entry].name +
              "' takes " + typeText(port.dtype, port.shape) +
              (differing.size() == 1 ? ": keep the first or the last positions (comm_session_keep_state), give the "
                                       "input, or reset the state"
                                     : ": give the input, or reset the state")};
}

void CarriedState::move(size_t entry, const StateUse &pair, const std::vector<size_t> &differing, Memory &m) {
  const exe::Port &port = program(entry).inputs[pair.input];
  auto it = kept.find(pair.name);
  if (it == kept.end()) {
    std::memset(m.in, 0, static_cast<size_t>(bytesOf(port)));
    return;
  }
  Kept &state = it->second;
  if (differing.empty() && state.at == m.in)
    return;
  if (differing.empty() && state.at == m.out && !m.engines) {
    std::swap(m.in, m.out);
    return;
  }
  if (state.at == m.in) { // of a call that failed: it cannot be moved onto itself
    state.own.assign(m.in, m.in + exe::byteSize(state.dtype, state.shape));
    state.at = state.own.data();
  }
  if (differing.empty())
    std::memcpy(m.in, state.at, static_cast<size_t>(bytesOf(port)));
  else
    moveAlong(differing[0], port, state.shape, mode == COMM_STATE_LAST, state.at, m.in);
  // The run overwrites where the state came from; should it fail, this is what is left.
  state.shape = port.shape;
  state.at = m.in;
  state.own.clear();
}

Status CarriedState::loadWhole(size_t entry, const StateUse &pair, const std::vector<size_t> &differing,
                               std::vector<void *> &in, std::vector<void *> &out) {
  bool reads = in[pair.input] == &standIn, writes = out[pair.output] == &standIn;
  if (!reads && !writes && !memories.count(pair.name))
    return Status::ok();
  Memory *m;
  if (Status s = memoryOf(entry, pair, m); !s)
    return s;
  if (reads) {
    move(entry, pair, differing, *m);
    in[pair.input] = m->in;
  }
  // What the caller gives or asks for passes through the engine's memory too. Should the call fail, the state is to be
  // what it was.
  auto it = kept.find(pair.name);
  if (it != kept.end() &&
      ((it->second.at == m->out && (writes || m->engines)) || (it->second.at == m->in && !reads && m->engines))) {
    Kept &state = it->second;
    state.own.assign(state.at, state.at + exe::byteSize(state.dtype, state.shape));
    state.at = state.own.data();
  }
  if (writes)
    out[pair.output] = m->out;
  return Status::ok();
}

Status CarriedState::load(size_t entry, std::vector<void *> &in, std::vector<void *> &out, PartPorts &partPorts) {
  if (mode == COMM_STATE_NONE)
    return Status::ok();
  const std::vector<StateUse> &uses = pairs[entry];
  std::vector<std::vector<size_t>> differing(uses.size());
  for (size_t i = 0; i < uses.size(); ++i)
    if (in[uses[i].input] == &standIn)
      if (Status s = check(entry, uses[i], differing[i]); !s)
        return s;
  asked.assign(uses.size(), nullptr);
  partPorts.inputs.resize(in.size());
  partPorts.outputs.resize(out.size());
  for (size_t i = 0; i < uses.size(); ++i) {
    const StateUse &use = uses[i];
    if (!residents.count(use.name)) {
      if (Status s = loadWhole(entry, use, differing[i], in, out); !s)
        return s;
      continue;
    }
    ResidentState *state;
    if (Status s = residentOf(use.name, state); !s)
      return s;
    asked[i] = out[use.output] == &standIn ? nullptr : out[use.output];
    uint8_t *from, *to;
    state->load(program(entry), use, in[use.input] == &standIn ? nullptr : in[use.input], mode == COMM_STATE_LAST, from,
                to);
    in[use.input] = from;
    out[use.output] = to;
    partPorts.inputs[use.input] = partPorts.outputs[use.output] = state->stride();
  }
  return Status::ok();
}

void CarriedState::keep(size_t entry, const std::vector<void *> &out) {
  if (mode == COMM_STATE_NONE)
    return;
  for (size_t i = 0; i < pairs[entry].size(); ++i) {
    const StateUse &pair = pairs[entry][i];
    const exe::Port &port = program(entry).outputs[pair.output];
    if (residents.count(pair.name)) {
      ResidentState &state = parts.at(pair.name);
      state.keep(program(entry), pair, static_cast<uint8_t *>(out[pair.output]));
      if (asked[i])
        state.get(asked[i]);
      continue;
    }
    Kept state{port.dtype, port.shape, static_cast<uint8_t *>(out[pair.output]), {}};
    auto m = memories.find(pair.name);
    if (m == memories.end() || state.at != m->second.out) { // in the caller's buffer
      state.own.assign(state.at, state.at + bytesOf(port));
      state.at = state.own.data();
    }
    kept[pair.name] = std::move(state);
  }
}

} // namespace comm::rt
