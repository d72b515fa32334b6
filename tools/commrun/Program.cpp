//===- Program.cpp - an executable, its sessions and its calls ------------===//
#include "Program.h"
#include <algorithm>
#include <cstring>

namespace commrun {

void check(comm_status status) {
  if (status == COMM_OK)
    return;
  std::string text = comm_last_error();
  switch (status) {
  case COMM_INVALID_ARGUMENT:
    throw Failure{2, "E203", text};
  case COMM_BAD_EXECUTABLE:
    throw Failure{3, "E301", text};
  case COMM_UNTRUSTED:
    throw Failure{
        3, "E302", text,
        "compile the model here, or add --trust-native if you trust whoever made this file; --native=auto interprets"};
  case COMM_UNSUPPORTED:
    throw Failure{4, "E401", text};
  case COMM_OUT_OF_MEMORY:
    throw Failure{5, "E501", text};
  case COMM_DEVICE_MISSING:
    throw Failure{6, "E601", text};
  case COMM_PEER_LOST:
    throw Failure{8, "E801", text};
  case COMM_TIMEOUT:
    throw Failure{8, "E802", text,
                  "--timeout="
                  "300 if the ranks are only slow"};
  default:
    throw Failure{1, "E101", text};
  }
}

Executable::Executable(const std::string &path) {
  check(comm_executable_load(path.c_str(), &handle));
  for (int32_t e = 0; e < comm_executable_entry_count(handle); ++e) {
    EntryInfo entry;
    entry.name = comm_executable_entry_name(handle, e);
    for (int32_t outputs : {0, 1})
      for (int32_t i = 0; i < comm_executable_port_count(handle, e, outputs); ++i) {
        comm_tensor t;
        check(comm_executable_port(handle, e, outputs, i, &t));
        (outputs ? entry.outputs : entry.inputs).push_back({t.name, t.dtype, {t.dims, t.dims + t.rank}});
      }
    for (int32_t i = 0; i < comm_executable_state_count(handle, e); ++i) {
      const char *in, *out;
      check(comm_executable_state(handle, e, i, &in, &out));
      entry.states.emplace_back(in, out);
    }
    entries.push_back(std::move(entry));
  }
}

Session::Session(const Executable &exe, const Options &options, bool reference) : exe(exe) {
  comm_session_options o = {};
  o.struct_size = sizeof(o);
  o.ranks_as = options.threadsAsRanks ? COMM_RANKS_THREADS : COMM_RANKS_PROCESSES;
  o.reference = reference;
  o.trust_native = options.trustNative;
  o.trace = !reference && !options.trace.empty();
  o.threads = options.threads;
  o.timeout_ms = std::max<int64_t>(1, static_cast<int64_t>(options.timeoutS * 1000));
  o.link = reference || options.link.empty() ? nullptr : options.link.c_str();
  o.transport = options.mpi && !reference ? COMM_TRANSPORT_MPI : COMM_TRANSPORT_SHM;
  o.native_code = options.native;
  o.pinning = options.pinning;
  o.packed_cache = options.packedCache.c_str();
  check(comm_session_create(exe.handle, &o, &handle));
}

namespace {
std::vector<comm_tensor> viewsOf(const TensorMap &tensors) {
  std::vector<comm_tensor> views;
  for (const auto &[name, tensor] : tensors)
    views.push_back(tensor->view(name));
  return views;
}
} // namespace

TensorMap Session::makeOutputs(const Call &call) const {
  TensorMap outputs;
  std::vector<comm_tensor> in = viewsOf(call.inputs);
  int32_t number = 0;
  for (const PortInfo &p : exe.entries[static_cast<size_t>(call.entry)].outputs) {
    std::vector<int64_t> dims(p.dims);
    check(comm_executable_output_dims(exe.handle, call.entry, in.data(), static_cast<int32_t>(in.size()), number++,
                                      dims.data()));
    outputs[p.name] = std::make_shared<Tensor>(p.dtype, dims);
  }
  return outputs;
}

void Session::run(const Call &call, TensorMap &outputs) {
  std::vector<comm_tensor> in = viewsOf(call.inputs), out = viewsOf(outputs);
  check(comm_session_run(handle, call.entry, in.data(), static_cast<int32_t>(in.size()), out.data(),
                         static_cast<int32_t>(out.size())));
}

TensorMap Session::run(const Call &call) {
  TensorMap outputs = makeOutputs(call);
  run(call, outputs);
  return outputs;
}

void Session::setState(const std::string &input, const Tensor &tensor) {
  comm_tensor view = tensor.view(input);
  check(comm_session_set_state(handle, &view));
}

comm_tensor Session::state(const std::string &input, std::vector<uint8_t> &bytes) const {
  comm_tensor t = {};
  check(comm_session_get_state(handle, input.c_str(), &t));
  bytes.resize(t.bytes);
  t.data = bytes.data();
  check(comm_session_get_state(handle, input.c_str(), &t));
  return t;
}

comm_session_stats Session::stats() const {
  comm_session_stats s = {};
  s.struct_size = sizeof(s);
  check(comm_session_stats_get(handle, &s));
  return s;
}

std::vector<comm_collective_stats> Session::collectives() const {
  std::vector<comm_collective_stats> all(static_cast<size_t>(comm_session_collective_count(handle)));
  for (size_t i = 0; i < all.size(); ++i) {
    all[i] = {};
    all[i].struct_size = sizeof(all[i]);
    check(comm_session_collective(handle, static_cast<int32_t>(i), &all[i]));
  }
  return all;
}

namespace {
std::string portsText(const std::vector<PortInfo> &ports) {
  std::string out;
  for (const PortInfo &p : ports)
    out += (out.empty() ? "" : ", ") + p.name + " " + dtypeName(p.dtype) + shapeText(p.dims);
  return out;
}

/// Arrays by input name for an entry, or the first reason why they do not fit it.
struct Match {
  TensorMap arrays;
  std::string problem;
};

Match match(const EntryInfo &entry, const TensorMap &given, const TensorMap &states) {
  Match m;
  for (const PortInfo &p : entry.inputs) {
    for (const TensorMap *source : {&states, &given}) // a state of the call before wins where it fits
      if (auto it = source->find(p.name); it != source->end() && it->second->dims == p.dims) {
        m.arrays[p.name] = it->second;
        break;
      }
    if (m.arrays.count(p.name))
      continue;
    if (numElements(p.dims) == 0 && !given.count(p.name)) {
      m.arrays[p.name] = std::make_shared<Tensor>(p.dtype, p.dims);
      continue;
    }
    auto it = given.find(p.name);
    m.problem =
        "input '" + p.name + "' " +
        (it == given.end() ? "is missing" : "has shape " + shapeText(it->second->dims) + ", not " + shapeText(p.dims));
    return m;
  }
  return m;
}
} // namespace

namespace {
/// The smallest entry that takes the arrays although they are smaller than its own; its number is -1 when there is
/// none.
Call smallerCall(const Executable &exe, const TensorMap &given, const TensorMap &states) {
  Call best{-1, {}};
  int64_t least = 0;
  for (size_t e = 0; e < exe.entries.size(); ++e) {
    const EntryInfo &entry = exe.entries[e];
    TensorMap arrays;
    int64_t elements = 0;
    for (const PortInfo &p : entry.inputs) {
      auto state = states.find(p.name), own = given.find(p.name);
      if (state != states.end() && (own == given.end() || state->second->dims == p.dims))
        arrays[p.name] = state->second;
      else if (own != given.end())
        arrays[p.name] = own->second;
      else if (numElements(p.dims) == 0)
        arrays[p.name] = std::make_shared<Tensor>(p.dtype, p.dims);
      elements += numElements(p.dims);
    }
    std::vector<comm_tensor> views = viewsOf(arrays);
    std::vector<int64_t> dims(32); // as many as a tensor may have
    bool fits = arrays.size() == entry.inputs.size() &&
                comm_executable_output_dims(exe.handle, static_cast<int32_t>(e), views.data(),
                                            static_cast<int32_t>(views.size()), 0, dims.data()) == COMM_OK;
    if (!fits || (best.entry >= 0 && elements >= least))
      continue;
    best = {static_cast<int32_t>(e), arrays};
    least = elements;
  }
  return best;
}

/// Nothing of what was given may be left over, and types are those of the entry.
Call finishCall(const Executable &exe, Call call, const TensorMap &given) {
  const EntryInfo &entry = exe.entries[static_cast<size_t>(call.entry)];
  for (const auto &[name, tensor] : given)
    if (!call.inputs.count(name))
      throw Failure{2, "E203",
                    "entry '" + entry.name + "' has no input '" + name + "'; its inputs are " +
                        portsText(entry.inputs)};
  for (const PortInfo &p : entry.inputs)
    call.inputs[p.name] = convert(call.inputs[p.name], p.dtype, "input '" + p.name + "'");
  return call;
}
} // namespace

Call makeCall(const Executable &exe, const TensorMap &given, const Call *previous, const TensorMap *before) {
  TensorMap states;
  if (previous && before)
    for (const auto &[input, output] : exe.entries[static_cast<size_t>(previous->entry)].states)
      states[input] = before->at(output);
  std::string reasons;
  for (size_t e = 0; e < exe.entries.size(); ++e) {
    Match m = match(exe.entries[e], given, states);
    if (m.problem.empty())
      return finishCall(exe, {static_cast<int32_t>(e), m.arrays}, given);
    reasons +=
        "\n  entry '" + exe.entries[e].name + "': " + m.problem + "; it takes " + portsText(exe.entries[e].inputs);
  }
  if (Call call = smallerCall(exe, given, states); call.entry >= 0)
    return finishCall(exe, std::move(call), given);
  throw Failure{2, "E203", "the arrays fit no entry of the executable" + reasons,
                "commc model.onnx --shapes-from=@inputs.npz adds an entry for these shapes"};
}

Call randomCall(const Executable &exe, int32_t entry, uint64_t seed) {
  Call call{entry, {}};
  uint64_t state = seed;
  auto next = [&] { // splitmix64: the same numbers on every system
    uint64_t z = state += 0x9e3779b97f4a7c15;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
  };
  for (const PortInfo &p : exe.entries[static_cast<size_t>(entry)].inputs) {
    auto f = std::make_shared<Tensor>(isFloat(p.dtype) ? COMM_F32 : COMM_U8, p.dims);
    for (int64_t i = 0; i < f->count; ++i) {
      uint64_t bits = next() >> 40;
      if (f->dtype == COMM_F32) {
        float v = static_cast<float>(bits) / static_cast<float>(1 << 23) - 1.0f;
        std::memcpy(f->data.get() + static_cast<size_t>(i) * 4, &v, 4);
      } else
        f->data.get()[i] = static_cast<uint8_t>(bits & 1);
    }
    call.inputs[p.name] = convert(f, p.dtype, p.name);
  }
  return call;
}

} // namespace commrun
