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

/// Finds a port by name; the ports of a state were checked when the file was read, of a stranger's file nothing is.
bool find(const std::vector<exe::Port> &ports, const std::string &name, size_t &out) {
  auto it = std::find_if(ports.begin(), ports.end(), [&](const exe::Port &p) { return p.name == name; });
  out = static_cast<size_t>(it - ports.begin());
  return it != ports.end();
}

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
  for (size_t e = 0; e < loaded.exe.entries.size(); ++e) {
    pairs.emplace_back();
    for (const exe::StatePair &s : loaded.exe.entries[e].states) {
      Pair pair{s.input, 0, 0};
      if (!find(program(e).inputs, s.input, pair.input) || !find(program(e).outputs, s.output, pair.output))
        continue;
      size_t in = static_cast<size_t>(bytesOf(program(e).inputs[pair.input])),
             out = static_cast<size_t>(bytesOf(program(e).outputs[pair.output]));
      largest[0][s.input] = std::max(largest[0][s.input], in);
      largest[1][s.input] = std::max(largest[1][s.input], out);
      pairs.back().push_back(std::move(pair));
    }
  }
}

void CarriedState::setMode(comm_state_mode value) {
  mode = value;
  reset();
  if (mode == COMM_STATE_NONE)
    memories.clear();
}

Status CarriedState::set(const comm_tensor &t) {
  if (mode == COMM_STATE_NONE)
    return {Code::InvalidArgument, "the session carries no state: comm_session_keep_state comes first"};
  std::string name = t.name ? t.name : "";
  for (size_t e = 0; e < pairs.size(); ++e)
    for (const Pair &pair : pairs[e]) {
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
  auto it = kept.find(input ? input : "");
  if (it == kept.end())
    return {Code::InvalidArgument, "the session carries no state '" + std::string(input ? input : "") + "'"};
  const Kept &state = it->second;
  auto bytes = static_cast<size_t>(exe::byteSize(state.dtype, state.shape));
  if (out.data && out.bytes < bytes)
    return {Code::InvalidArgument, "state '" + it->first + "' is " + typeText(state.dtype, state.shape) + " of " +
                                       std::to_string(bytes) + " bytes, the buffer has " + std::to_string(out.bytes)};
  void *to = out.data;
  if (to && bytes > 0)
    std::memcpy(to, state.at, bytes);
  out = {it->first.c_str(),
         static_cast<comm_dtype>(state.dtype),
         static_cast<int32_t>(state.shape.size()),
         state.shape.data(),
         to,
         bytes};
  return Status::ok();
}

std::vector<void *> CarriedState::offer(size_t entry, bool outputs) const {
  std::vector<void *> ports((outputs ? program(entry).outputs : program(entry).inputs).size(), nullptr);
  if (mode != COMM_STATE_NONE)
    for (const Pair &pair : pairs[entry])
      ports[outputs ? pair.output : pair.input] = &standIn;
  return ports;
}

Status CarriedState::memoryOf(size_t entry, const Pair &pair, Memory *&out) {
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

Status CarriedState::check(size_t entry, const Pair &pair, std::vector<size_t> &differing) const {
  const exe::Port &port = program(entry).inputs[pair.input];
  auto it = kept.find(pair.name);
  if (it == kept.end())
    return Status::ok();
  const Kept &state = it->second;
  bool sameRank = state.shape.size() == port.shape.size();
  for (size_t d = 0; sameRank && d < port.shape.size(); ++d)
    if (state.shape[d] != port.shape[d])
      differing.push_back(d);
  if (state.dtype == port.dtype && sameRank && differing.size() <= (mode == COMM_STATE_EXACT ? 0u : 1u))
    return Status::ok();
  return {Code::InvalidArgument,
          "state '" + pair.name + "' is " + typeText(state.dtype, state.shape) + ", entry '" +
              loaded.exe.entries[entry].name + "' takes " + typeText(port.dtype, port.shape) +
              (differing.size() == 1 ? ": keep the first or the last positions (comm_session_keep_state), give the "
                                       "input, or reset the state"
                                     : ": give the input, or reset the state")};
}

void CarriedState::move(size_t entry, const Pair &pair, const std::vector<size_t> &differing, Memory &m) {
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

Status CarriedState::load(size_t entry, std::vector<void *> &in, std::vector<void *> &out) {
  if (mode == COMM_STATE_NONE)
    return Status::ok();
  std::vector<std::vector<size_t>> differing(pairs[entry].size());
  for (size_t i = 0; i < differing.size(); ++i)
    if (const Pair &pair = pairs[entry][i]; in[pair.input] == &standIn)
      if (Status s = check(entry, pair, differing[i]); !s)
        return s;
  for (size_t i = 0; i < differing.size(); ++i) {
    const Pair &pair = pairs[entry][i];
    bool reads = in[pair.input] == &standIn, writes = out[pair.output] == &standIn;
    if (!reads && !writes)
      continue;
    Memory *m;
    if (Status s = memoryOf(entry, pair, m); !s)
      return s;
    if (reads) {
      move(entry, pair, differing[i], *m);
      in[pair.input] = m->in;
    }
    auto it = kept.find(pair.name);
    if (writes && it != kept.end() && it->second.at == m->out) {
      Kept &state = it->second; // the caller gave the input: if the call fails, the state is to be what it was
      state.own.assign(m->out, m->out + exe::byteSize(state.dtype, state.shape));
      state.at = state.own.data();
    }
    if (writes)
      out[pair.output] = m->out;
  }
  return Status::ok();
}

void CarriedState::keep(size_t entry, const std::vector<void *> &out) {
  if (mode == COMM_STATE_NONE)
    return;
  for (const Pair &pair : pairs[entry]) {
    const exe::Port &port = program(entry).outputs[pair.output];
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
