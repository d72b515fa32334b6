//===- Session.cpp - an executable ready to run ---------------------------===//
#include "runtime/Core/Session.h"
#include "runtime/Core/Env.h"
#include "runtime/Core/Memory.h"
#include "runtime/Core/UserList.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
std::string shapeText(const int64_t *dims, size_t rank) {
  std::string out = "[";
  for (size_t i = 0; i < rank; ++i)
    out += (i ? ", " : "") + std::to_string(dims[i]);
  return out + "]";
}

std::string tensorText(exe::DType dtype, const int64_t *dims, size_t rank) {
  return exe::dtypeName(dtype) + shapeText(dims, rank);
}

/// The number in an enumeration that a C caller filled: it may be any.
template <class E> int numberOf(const E &value) {
  static_assert(sizeof(E) == sizeof(int), "enumerations of the C interface are ints");
  int number;
  std::memcpy(&number, &value, sizeof(number));
  return number;
}

std::string hexOf(const void *data, size_t bytes) {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < bytes; ++i) {
    unsigned char byte = static_cast<const unsigned char *>(data)[i];
    out.push_back(digits[byte >> 4]);
    out.push_back(digits[byte & 15]);
  }
  return out;
}

/// The tensor of a caller is what the port says.
Status checkTensor(const exe::Port &port, const exe::Shape &shape, const comm_tensor &t, const char *what) {
  auto bad = [&](const std::string &text) {
    return Status{Code::InvalidArgument, std::string(what) + " '" + port.name + "': " + text};
  };
  if (t.rank < 0 || (t.rank > 0 && !t.dims))
    return bad("its dimensions are missing");
  int dtype = numberOf(t.dtype);
  bool same = dtype == static_cast<int>(port.dtype) && static_cast<size_t>(t.rank) == shape.size() &&
              std::equal(shape.begin(), shape.end(), t.dims);
  if (!same)
    return bad("expected " + tensorText(port.dtype, shape.data(), shape.size()) + ", got " +
               tensorText(dtype < 0 || dtype > 255 ? exe::DType(255) : static_cast<exe::DType>(dtype), t.dims,
                          static_cast<size_t>(t.rank)));
  int64_t bytes = exe::byteSize(port.dtype, shape);
  if (t.bytes != static_cast<size_t>(bytes))
    return bad("its shape needs " + std::to_string(bytes) + " bytes, the buffer has " + std::to_string(t.bytes));
  if (!t.data && bytes > 0)
    return bad("its buffer is missing");
  if (!port.fixed.empty() && port.fixed != hexOf(t.data, t.bytes))
    return bad("the program was compiled for one value of it, because it decides a shape, and this is another: compile "
               "with --shapes-from of an .npz that holds this value");
  return Status::ok();
}
} // namespace

Status Session::create(std::shared_ptr<const LoadedExecutable> loaded, const comm_session_options &o,
                       std::unique_ptr<Session> &out) {
  out = std::make_unique<Session>();
  Session &s = *out;
  s.loaded = std::move(loaded);
  const exe::Executable &exe = s.loaded->exe;
  int ranksAs = numberOf(o.ranks_as), transport = numberOf(o.transport);
  if (o.threads < 0 || o.threads > 1024 || o.timeout_ms < 0 ||
      (ranksAs != COMM_RANKS_PROCESSES && ranksAs != COMM_RANKS_THREADS) ||
      (transport != COMM_TRANSPORT_SHM && transport != COMM_TRANSPORT_MPI) || o.native_code < COMM_NATIVE_TRUSTED ||
      o.native_code > COMM_NATIVE_NEVER || numberOf(o.pinning) < COMM_PIN_AUTO || numberOf(o.pinning) > COMM_PIN_OFF)
    return {Code::InvalidArgument,
            "session options: threads, timeout_ms, ranks_as, transport, native_code or pinning is out of range"};
  bool overMpi = transport == COMM_TRANSPORT_MPI;
  // The unsplit program is run to compare: what it packs is not worth keeping.
  if (!o.reference)
    s.options.packedFolder = rt::packedFolder(o.packed_cache ? o.packed_cache : "beside", s.loaded->path);
  s.options.reference = o.reference != 0;
  s.options.threads = ranksAs == COMM_RANKS_THREADS;
  s.options.trace = o.trace != 0;
  s.options.computeThreads = std::max(1, o.threads);
  s.options.pinning = static_cast<Pinning>(o.pinning);
  if (o.timeout_ms > 0)
    s.options.timeoutMs = o.timeout_ms;
  if (o.link && !parseLinkModel(o.link, s.options.link))
    return {Code::InvalidArgument, "the link '" + std::string(o.link) +
                                       "' is not a rate and a latency, for example 1Gbit,50us or 125MB,0.05ms"};
  if (overMpi && s.options.link.active())
    return {Code::InvalidArgument, "a link is emulated between ranks that share memory, not over MPI"};
  s.linkName = overMpi ? "MPI" : linkText(s.options.link);
  if (Status st = requireSupportedCpu(); !st)
    return st;
  int64_t ranks = programOf(exe.entries[0], s.options.reference).grid.ranks();
  for (const exe::Entry &e : exe.entries)
    if (programOf(e, s.options.reference).grid.ranks() != ranks)
      return {Code::Unsupported,
              "entries '" + exe.entries[0].name + "' and '" + e.name + "' are for different numbers of ranks"};
  int64_t arenas = 0;
  if (__builtin_mul_overflow(arenaBytes(exe, s.options.reference), overMpi ? 1 : ranks, &arenas))
    arenas = INT64_MAX;
  if (Status st = requireMemory(arenas, "the arenas of " + std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks"));
      !st)
    return st;
  if (Status st = s.prepareNative(o); !st)
    return st;
  if (Status st = WeightFiles::open(exe, s.loaded->path, true, s.files); !st)
    return st;
  // One rank needs no company: it runs here, on the caller's own buffers.
  auto createEngine = overMpi ? createMpiEngine : ranks == 1 ? createSoloEngine : createGroupEngine;
  if (Status st = createEngine(*s.loaded, s.files.get(), s.native.get(), s.options, s.engine); !st)
    return st;
  s.carried = std::make_unique<CarriedState>(*s.loaded, s.options.reference, *s.engine);
  return Status::ok();
}

Status Session::prepareNative(const comm_session_options &o) {
  if (!usesNativeCode(loaded->exe, options.reference))
    return Status::ok();
  Status why;
  if (o.native_code == COMM_NATIVE_NEVER)
    why = {Code::Untrusted, ""};
  else if (!o.trust_native && !trustedExecutables().contains(loaded->hash))
    why = {Code::Untrusted, loaded->path + " carries native code and was not compiled by this user on this machine"};
  else
    why = loadNativeCode(loaded->exe, native);
  // Code that is trusted and malformed is an error; code that may not or cannot run here is not needed.
  if (why || o.native_code == COMM_NATIVE_REQUIRED || (why.code != Code::Untrusted && why.code != Code::DeviceMissing))
    return why;
  options.interpret = true;
  return Status::ok();
}

void *Session::newScratch(const exe::Port &port) {
  scratch.emplace_back(new uint8_t[static_cast<size_t>(exe::byteSize(port.dtype, port.shape)) + 64]);
  auto at = reinterpret_cast<uintptr_t>(scratch.back().get());
  return reinterpret_cast<void *>((at + 63) / 64 * 64);
}

Status Session::bind(const exe::Entry &entry, const exe::Program &program, const CallSizes &call,
                     const comm_tensor *tensors, int32_t count, bool outputs, std::vector<void *> &out) {
  const char *what = outputs ? "output" : "input";
  const std::vector<exe::Port> &ports = outputs ? program.outputs : program.inputs;
  size_t visible = outputs ? ports.size() : visibleInputs(entry, program);
  if (count < 0 || (count > 0 && !tensors))
    return {Code::InvalidArgument, std::string("the list of ") + what + "s is missing"};
  std::vector<bool> bound(ports.size(), false);
  for (int32_t t = 0; t < count; ++t) {
    std::string name = tensors[t].name ? tensors[t].name : "";
    auto end = ports.begin() + static_cast<std::ptrdiff_t>(visible);
    auto it = std::find_if(ports.begin(), end, [&](const exe::Port &p) { return p.name == name; });
    if (it == end)
      return {Code::InvalidArgument, std::string("the entry has no ") + what + " '" + name + "'"};
    auto i = static_cast<size_t>(it - ports.begin());
    if (bound[i])
      return {Code::InvalidArgument, std::string(what) + " '" + name + "' is given twice"};
    if (Status s = checkTensor(*it, call.exact ? it->shape : shapeIn(call, *it), tensors[t], what); !s)
      return s;
    static char nothing[64];
    out[i] = tensors[t].data ? tensors[t].data : nothing; // empty tensors may come without a buffer
    bound[i] = true;
  }
  std::string missing;
  for (size_t i = 0; i < visible; ++i) {
    if (bound[i] || out[i])
      continue;
    if (!outputs)
      missing += (missing.empty() ? "'" : ", '") + ports[i].name + "' " +
                 tensorText(ports[i].dtype, ports[i].shape.data(), ports[i].shape.size());
    else if (void *place = engine->portMemory(static_cast<size_t>(&entry - loaded->exe.entries.data()), i, true))
      out[i] = place; // nobody takes it from there
    else
      out[i] = newScratch(ports[i]);
  }
  if (!missing.empty())
    return {Code::InvalidArgument, "missing inputs: " + missing};
  return Status::ok();
}

Status Session::run(int32_t number, const comm_tensor *inputs, int32_t nInputs, comm_tensor *outputs,
                    int32_t nOutputs) {
  if (number < 0 || static_cast<size_t>(number) >= loaded->exe.entries.size())
    return {Code::InvalidArgument, "entry " + std::to_string(number) + " does not exist"};
  const exe::Entry &entry = loaded->exe.entries[static_cast<size_t>(number)];
  const exe::Program &program = programOf(entry, options.reference);
  scratch.clear();
  CallSizes call;
  if (!entry.pads.empty())
    if (Status s = readSizes(entry, program, inputs, inputs ? nInputs : 0, call); !s)
      return s;
  auto index = static_cast<size_t>(number);
  std::vector<void *> in = carried->offer(index, false), out = carried->offer(index, true);
  auto isOffered = [](const void *memory) { return memory != nullptr; };
  if (!call.exact && (std::any_of(in.begin(), in.end(), isOffered) || std::any_of(out.begin(), out.end(), isOffered)))
    return {Code::InvalidArgument,
            "entry '" + entry.name +
                "' takes smaller inputs only while the caller carries its state: fill them up to "
                "its own sizes"};
  if (Status s = bind(entry, program, call, inputs, nInputs, false, in); !s)
    return s;
  if (Status s = bind(entry, program, call, outputs, nOutputs, true, out); !s)
    return s;
  PartPorts parts;
  if (Status s = carried->load(index, in, out, parts); !s)
    return s;
  for (size_t i = 0; i < entry.pads.size(); ++i)
    if (entry.pads[i].input >= 0) {
      auto port = static_cast<size_t>(entry.pads[i].input);
      in[port] = newScratch(program.inputs[port]);
      std::memcpy(in[port], &call.sizes[i], sizeof(int64_t));
    }
  std::vector<void *> whole = out;
  if (!call.exact) {
    for (size_t i = 0; i < in.size(); ++i)
      if (const exe::Port &port = program.inputs[i]; !port.pads.empty()) {
        void *large = newScratch(port);
        padInto(shapeIn(call, port), port.shape, port.dtype, in[i], large, Env::read().poisonFill);
        in[i] = large;
      }
    for (size_t i = 0; i < out.size(); ++i)
      if (!program.outputs[i].pads.empty())
        whole[i] = newScratch(program.outputs[i]);
  }
  last = {};
  traceText.clear();
  lastEntry = index;
  int64_t begin = traceNowNs();
  Status s = engine->run(lastEntry, {in.begin(), in.end()}, whole, parts, last);
  if (s)
    carried->keep(lastEntry, out);
  lastMs = static_cast<double>(last.stepNs ? last.stepNs : traceNowNs() - begin) / 1e6;
  for (size_t i = 0; s && i < out.size(); ++i)
    if (const exe::Port &port = program.outputs[i]; whole[i] != out[i])
      cutFrom(port.shape, shapeIn(call, port), exe::byteWidth(port.dtype), whole[i], out[i]);
  return s;
}

Status Session::memory(int32_t number, bool outputs, int32_t port, void *&out) {
  out = nullptr;
  if (number < 0 || static_cast<size_t>(number) >= loaded->exe.entries.size())
    return {Code::InvalidArgument, "entry " + std::to_string(number) + " does not exist"};
  auto entry = static_cast<size_t>(number);
  const exe::Program &program = programOf(loaded->exe.entries[entry], options.reference);
  size_t count = outputs ? program.outputs.size() : visibleInputs(loaded->exe.entries[entry], program);
  if (port < 0 || static_cast<size_t>(port) >= count)
    return {Code::InvalidArgument, "no such input or output"};
  if (!carried->carries(entry, static_cast<size_t>(port), outputs))
    out = engine->portMemory(entry, static_cast<size_t>(port), outputs);
  return Status::ok();
}

void Session::stats(comm_session_stats &out) const {
  out.last_ms = lastMs;
  out.wait_ms_max = static_cast<double>(last.waitNs) / 1e6;
  out.bytes_sent_per_rank = last.bytesSent;
  out.collectives_planned = last.planned;
  out.collectives_executed = last.collectives == INT64_MAX ? 0 : last.collectives; // nothing ran
  out.arena_bytes = arenaBytes(loaded->exe, options.reference);
  WeightUse weights = engine->weightUse();
  out.weight_bytes = weights.perRank;
  out.weight_bytes_shared = weights.shared;
  out.weight_bytes_packed = weights.packed.packed;
  out.weight_bytes_read = weights.packed.read;
  out.weight_bytes_kept = weights.packed.kept;
  out.peak_bytes = std::max(engine->peakBytes(), last.peakBytes);
  out.ranks = programOf(loaded->exe.entries[0], options.reference).grid.ranks();
  out.rank = engine->processRank();
  for (const exe::Command &c : programOf(loaded->exe.entries[lastEntry], options.reference).commands)
    out.kernels += c.op == "kernel";
  out.interpreted = options.interpret ? out.kernels : 0;
  out.pinned = engine->pinned();
  out.bytes_passed = last.passedBytes;
  out.bytes_parted = last.partBytes;
  out.outside_ms = static_cast<double>(last.outsideNs) / 1e6;
  out.compute_ms = static_cast<double>(last.computeNs) / 1e6;
  for (const CollectiveTimes &t : last.each) {
    out.communication_ms += static_cast<double>(t.movedNs) / 1e6;
    out.hidden_ms += static_cast<double>(t.hiddenNs()) / 1e6;
    out.exposed_ms += static_cast<double>(t.exposedNs) / 1e6;
    out.late_ms += static_cast<double>(t.lateNs) / 1e6;
  }
}

void Session::collective(size_t index, comm_collective_stats &out) const {
  const exe::Program &program = programOf(loaded->exe.entries[lastEntry], options.reference);
  const CollectiveTimes &t = last.each[index];
  const exe::Command &c = program.commands[static_cast<size_t>(t.command)];
  out.op = exe::collectiveOf(c).c_str();
  out.label = c.label.c_str();
  out.command = t.command;
  out.started = c.op == "start";
  for (const auto *list : {&c.inputs, &c.outputs})
    for (int32_t v : *list) {
      const exe::Value &value = program.values[static_cast<size_t>(v)];
      out.bytes = std::max(out.bytes, exe::byteSize(value.dtype, value.shape));
    }
  out.bytes_sent_per_rank = t.sentBytes;
  out.communication_ms = static_cast<double>(t.movedNs) / 1e6;
  out.hidden_ms = static_cast<double>(t.hiddenNs()) / 1e6;
  out.exposed_ms = static_cast<double>(t.exposedNs) / 1e6;
  out.late_ms = static_cast<double>(t.lateNs) / 1e6;
}

const char *Session::trace() {
  if (!options.trace || last.trace.empty())
    return nullptr;
  if (traceText.empty()) {
    const exe::Entry &entry = loaded->exe.entries[lastEntry];
    traceText = chromeTrace(programOf(entry, options.reference), loaded->exe.modelName + " " + entry.name, last.trace);
  }
  return traceText.c_str();
}

} // namespace comm::rt
