//===- GroupEngine.cpp - several ranks, as processes or threads -----------===//
// The caller's side and the ranks' side of a session. Whole inputs and outputs lie in the memory that the launcher
// shares with all ranks; a request names the entry to run, a reply carries the counters and the trace.
//===----------------------------------------------------------------------===//
#include "runtime/Core/CommThread.h"
#include "runtime/Core/Engine.h"
#include "runtime/Core/ResidentState.h"
#include <algorithm>
#include <cstring>
#include <map>

namespace comm::rt {
namespace {
constexpr size_t alignment = 64;

/// What a rank must know to prepare the same programs as the caller; plain text, a field per line, then the two paths.
std::string formatSetup(const LoadedExecutable &loaded, const EngineOptions &o) {
  return loaded.hash + "\n" + std::to_string(o.reference) + "\n" + std::to_string(o.trace) + "\n" +
         std::to_string(o.interpret) + "\n" + std::to_string(o.computeThreads) + "\n" + std::to_string(o.timeoutMs) +
         "\n" + std::to_string(static_cast<int32_t>(o.pinning)) + "\n" + std::to_string(o.packedFolder.size()) + "\n" +
         o.packedFolder + loaded.path;
}

bool parseSetup(const std::string &text, std::string &hash, EngineOptions &o, std::string &path) {
  std::vector<std::string> fields;
  size_t begin = 0;
  for (int i = 0; i < 8; ++i) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos)
      return false;
    fields.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  hash = fields[0];
  o.reference = fields[1] == "1";
  o.trace = fields[2] == "1";
  o.interpret = fields[3] == "1";
  o.computeThreads = std::atoi(fields[4].c_str());
  o.timeoutMs = std::atoll(fields[5].c_str());
  o.pinning = static_cast<Pinning>(std::atoi(fields[6].c_str()));
  auto folderBytes = static_cast<size_t>(std::atoll(fields[7].c_str()));
  if (folderBytes > text.size() - begin)
    return false;
  o.packedFolder = text.substr(begin, folderBytes);
  path = text.substr(begin + folderBytes);
  return true;
}

/// A run that the caller asks for.
struct RunRequest {
  uint32_t entry = 0;
  bool overlap = true;
};
/// Behind it: a port of which every rank has its part, from `offset` in the shared memory.
struct PartRequest {
  uint64_t offset = 0, stride = 0;
  uint32_t port = 0;
  bool output = false;
};

/// Where inputs and outputs lie in the shared memory, by entry and port. Entries overlap: they never run together. Only
/// states have places of their own, one to read from and one to write to, so that they stay from run to run; the parts
/// of one that stay with the ranks are in the same place, as either the one or the other is in use.
struct SharedLayout {
  SharedLayout(const exe::Executable &exe, bool reference) {
    std::map<std::string, size_t> places[2]; // by the state's input: bytes, then offset
    for (const exe::Entry &e : exe.entries)
      for (const exe::StatePair &s : e.states) {
        grow(places[0][s.input], programOf(e, reference).inputs, s.input);
        grow(places[1][s.input], programOf(e, reference).outputs, s.output);
      }
    size_t stateEnd = 0;
    int64_t ranks = programOf(exe.entries[0], reference).grid.ranks();
    std::map<std::string, size_t> residents = residentStates(exe, reference);
    for (auto &[name, in] : places[0]) {
      size_t inBytes = in, outBytes = places[1][name], begin = stateEnd;
      in = begin;
      places[1][name] = begin + inBytes;
      stateEnd += inBytes + outBytes;
      if (auto it = residents.find(name); it != residents.end()) {
        parts[name] = begin;
        stateEnd = std::max(stateEnd, begin + ResidentState::strideFor(it->second) * static_cast<size_t>(ranks));
      }
    }
    size_t inputEnd = total = stateEnd;
    for (const exe::Entry &e : exe.entries) {
      std::map<std::string, size_t> own;
      for (const exe::StatePair &s : e.states)
        own[s.input] = places[0][s.input];
      inputEnd = std::max(inputEnd, place(programOf(e, reference).inputs, stateEnd, own, inputs));
    }
    for (const exe::Entry &e : exe.entries) {
      std::map<std::string, size_t> own;
      for (const exe::StatePair &s : e.states)
        own[s.output] = places[1][s.input];
      total = std::max(total, place(programOf(e, reference).outputs, inputEnd, own, outputs));
    }
  }
  std::vector<std::vector<size_t>> inputs, outputs;
  std::map<std::string, size_t> parts; ///< of states: of rank 0
  size_t total = 0;

private:
  /// Empty tensors get an address of their own.
  static size_t roomFor(const exe::Port &port) {
    return (static_cast<size_t>(exe::byteSize(port.dtype, port.shape)) + alignment) / alignment * alignment;
  }
  static void grow(size_t &bytes, const std::vector<exe::Port> &ports, const std::string &name) {
    for (const exe::Port &port : ports)
      if (port.name == name)
        bytes = std::max(bytes, roomFor(port));
  }
  static size_t place(const std::vector<exe::Port> &ports, size_t at, const std::map<std::string, size_t> &states,
                      std::vector<std::vector<size_t>> &out) {
    out.emplace_back();
    for (const exe::Port &port : ports) {
      auto state = states.find(port.name);
      out.back().push_back(state == states.end() ? at : state->second);
      if (state == states.end())
        at += roomFor(port);
    }
    return at;
  }
};

/// A reply: a RankReport, the times of `planned` collectives, trace events.
template <class T> void append(std::string &to, const std::vector<T> &list) {
  to.append(reinterpret_cast<const char *>(list.data()), list.size() * sizeof(T));
}

//===--- a rank's side ----------------------------------------------------===//
class SessionRank final : public RankMain {
public:
  SessionRank(const RankEnvironment &environment) : env(environment) {}

  /// `shared` is the caller's executable when the rank is a thread, else null and the rank loads it by itself.
  Status create(const LoadedExecutable *shared, const WeightFiles *sharedFiles, const NativeCode *sharedNative) {
    std::string hash, path;
    if (!parseSetup(env.setup, hash, options, path))
      return {Code::Internal, "a rank got a setup that it cannot read"};
    loaded = shared;
    files = sharedFiles;
    native = sharedNative;
    if (!loaded)
      if (Status s = loadAlone(path); !s)
        return s;
    if (loaded->hash != hash)
      return {Code::BadExecutable, "rank " + std::to_string(env.rank) + " found another executable at " + path + ": " +
                                       loaded->hash + ", not " + hash};
    void *arena = nullptr;
    if (Status s = env.transport->allocateArena(static_cast<size_t>(arenaBytes(loaded->exe, options.reference)), arena);
        !s)
      return s;
    comm = std::make_unique<CommThread>(*env.transport,
                                        CommThreadOptions{options.timeoutMs, env.threadSpinNs, env.callerSpinNs});
    layout = std::make_unique<SharedLayout>(loaded->exe, options.reference);
    Placement placement = placeRank(options.pinning, env.rank, env.ranks, options.computeThreads, allowedCpus());
    // This thread is the rank's for good; the communication thread, which exists already, may run anywhere.
    if (!placement.cpus.empty())
      pinThisThread(placement.cpus.front());
    RankOptions o{options.reference, options.computeThreads, placement};
    o.packedFolder = options.packedFolder;
    o.sharedPacks = env.fds.empty() ? -1 : env.fds[0];
    o.timeoutMs = options.timeoutMs;
    o.memoryBefore = ownLoaded ? 0 : -1; // ranks that are threads share what there is
    return Rank::create(*loaded, files, native, o, env.rank, static_cast<uint8_t *>(arena), comm.get(), rank);
  }

  Status handle(const std::string &request, std::string &reply) override {
    RankReport head;
    head.weights = rank->weightUse();
    std::vector<TraceEvent> events;
    std::vector<CollectiveTimes> each;
    if (!request.empty())
      if (Status s = run(request, head, each, events); !s)
        return s;
    head.peakBytes = rank->peakBytes();
    reply.assign(reinterpret_cast<const char *>(&head), sizeof(head));
    append(reply, each);
    append(reply, events);
    return Status::ok();
  }

private:
  Status loadAlone(const std::string &path) {
    if (Status s = LoadedExecutable::load(path, ownLoaded); !s)
      return s;
    loaded = ownLoaded.get();
    if (Status s = WeightFiles::open(loaded->exe, path, false, ownFiles); !s) // the caller has checked the hashes
      return s;
    files = ownFiles.get();
    if (options.interpret ||
        !usesNativeCode(loaded->exe, options.reference)) // the caller has checked that it is trusted
      return Status::ok();
    Status s = loadNativeCode(loaded->exe, ownNative);
    native = ownNative.get();
    return s;
  }

  Status run(const std::string &request, RankReport &head, std::vector<CollectiveTimes> &each,
             std::vector<TraceEvent> &events) {
    RunRequest wanted;
    if (request.size() < sizeof(wanted) || (request.size() - sizeof(wanted)) % sizeof(PartRequest) != 0)
      return {Code::Internal, "a rank got a request that it cannot read"};
    std::memcpy(&wanted, request.data(), sizeof(wanted));
    rank->setOverlap(wanted.overlap);
    size_t entry = wanted.entry;
    std::vector<const void *> in;
    std::vector<void *> out;
    for (size_t offset : layout->inputs[entry])
      in.push_back(env.shared + offset);
    for (size_t offset : layout->outputs[entry])
      out.push_back(env.shared + offset);
    PartPorts parts{std::vector<size_t>(in.size()), std::vector<size_t>(out.size())};
    for (size_t at = sizeof(wanted); at < request.size(); at += sizeof(PartRequest)) {
      PartRequest part;
      std::memcpy(&part, request.data() + at, sizeof(part));
      uint8_t *mine = env.shared + part.offset + static_cast<size_t>(env.rank) * part.stride;
      (part.output ? parts.outputs : parts.inputs)[part.port] = part.stride;
      if (part.output)
        out[part.port] = mine;
      else
        in[part.port] = mine;
    }
    events.resize(options.trace ? static_cast<size_t>(rank->traceCapacity(entry)) : 0);
    TraceBuffer trace{events.data(), static_cast<int64_t>(events.size()), 0};
    RunCounters counters;
    int64_t sentBefore = comm->bytesSent();
    Status s = rank->run(entry, in, out, parts, counters, options.trace ? &trace : nullptr);
    events.resize(static_cast<size_t>(trace.count));
    head.set(counters, rank->plannedCollectives(entry));
    head.events = trace.count;
    head.bytesSent = comm->bytesSent() - sentBefore;
    each = std::move(counters.each);
    return s;
  }

  const RankEnvironment env;
  EngineOptions options;
  std::unique_ptr<LoadedExecutable> ownLoaded;
  std::unique_ptr<WeightFiles> ownFiles;
  std::unique_ptr<NativeCode> ownNative;
  const LoadedExecutable *loaded = nullptr;
  const WeightFiles *files = nullptr;
  const NativeCode *native = nullptr;
  std::unique_ptr<CommThread> comm;
  std::unique_ptr<SharedLayout> layout;
  std::unique_ptr<Rank> rank; ///< after what it borrows
};

//===--- the caller's side ------------------------------------------------===//
class GroupEngine final : public Engine {
public:
  GroupEngine(const LoadedExecutable &loaded, const EngineOptions &options)
      : loaded(loaded), options(options), layout(loaded.exe, options.reference) {}

  Status create(const WeightFiles *files, const NativeCode *native) {
    RankGroupOptions o;
    o.as = options.threads ? RanksAs::Threads : RanksAs::Processes;
    o.ranks = static_cast<int32_t>(programOf(loaded.exe.entries[0], options.reference).grid.ranks());
    o.arenaBytes = static_cast<size_t>(arenaBytes(loaded.exe, options.reference));
    o.sharedBytes = layout.total;
    o.setup = formatSetup(loaded, options);
    o.timeoutMs = options.timeoutMs;
    o.link = options.link;
    if (int64_t names = sharedWeights(); names > 0 && SharedPacks::create(names, packs))
      o.fds = {packs->fd()};
    const LoadedExecutable *shared = &loaded;
    auto factory = [shared, files, native](const RankEnvironment &env, std::unique_ptr<RankMain> &out) {
      auto rank = std::make_unique<SessionRank>(env);
      Status s = rank->create(shared, files, native);
      out = std::move(rank);
      return s;
    };
    if (Status s = RankGroup::start(o, factory, group); !s)
      return s;
    std::vector<std::string> replies;
    if (Status s = group->call("", replies); !s)
      return s;
    for (const std::string &text : replies) {
      RankReport reply;
      if (!parse(text, reply))
        return {Code::Internal, "a rank sent a reply that cannot be read"};
      weights.add(reply.weights);
      peak = std::max(peak, reply.peakBytes);
    }
    return Status::ok();
  }

  Status run(size_t entry, const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
             const PartPorts &parts, RunResult &result) override {
    const exe::Program &program = programOf(loaded.exe.entries[entry], options.reference);
    uint8_t *memory = group->shared();
    std::string request;
    append(request, std::vector<RunRequest>{{static_cast<uint32_t>(entry), overlap}});
    auto asPart = [&](const std::vector<size_t> &strides, size_t port, const void *at, bool output) {
      size_t stride = PartPorts::stride(strides, port);
      if (stride > 0)
        append(request, std::vector<PartRequest>{{static_cast<uint64_t>(static_cast<const uint8_t *>(at) - memory),
                                                  stride, static_cast<uint32_t>(port), output}});
      return stride > 0;
    };
    for (size_t i = 0; i < inputs.size(); ++i)
      if (uint8_t *to = memory + layout.inputs[entry][i];
          !asPart(parts.inputs, i, inputs[i], false) && to != inputs[i]) {
        std::memcpy(to, inputs[i], bytesOf(program.inputs[i]));
        result.passedBytes += static_cast<int64_t>(bytesOf(program.inputs[i]));
      }
    std::vector<bool> whole(outputs.size());
    for (size_t i = 0; i < outputs.size(); ++i)
      whole[i] = !asPart(parts.outputs, i, outputs[i], true);
    std::vector<std::string> replies;
    if (Status s = group->call(request, replies); !s)
      return s;
    for (const std::string &text : replies) {
      RankReport reply;
      if (!parse(text, reply))
        return {Code::Internal, "a rank sent a reply that cannot be read"};
      size_t timesBytes = static_cast<size_t>(reply.planned) * sizeof(CollectiveTimes);
      std::vector<CollectiveTimes> each(static_cast<size_t>(reply.planned));
      std::vector<TraceEvent> events((text.size() - sizeof(RankReport) - timesBytes) / sizeof(TraceEvent));
      if (!each.empty())
        std::memcpy(each.data(), text.data() + sizeof(RankReport), timesBytes);
      if (!events.empty())
        std::memcpy(events.data(), text.data() + sizeof(RankReport) + timesBytes, events.size() * sizeof(TraceEvent));
      addReport(reply, each, std::move(events), replies.size(), result);
    }
    if (Status s = checkPlanned(result); !s)
      return s;
    for (size_t i = 0; i < outputs.size(); ++i)
      if (const uint8_t *from = memory + layout.outputs[entry][i]; whole[i] && from != outputs[i]) {
        std::memcpy(outputs[i], from, bytesOf(program.outputs[i]));
        result.passedBytes += static_cast<int64_t>(bytesOf(program.outputs[i]));
      }
    return Status::ok();
  }

  void setOverlap(bool on) override { overlap = on; }
  bool pinned() const override {
    int64_t ranks = programOf(loaded.exe.entries[0], options.reference).grid.ranks();
    return !placeRank(options.pinning, 0, ranks, options.computeThreads, allowedCpus()).cpus.empty();
  }
  void *portMemory(size_t entry, size_t port, bool output) override {
    return group->shared() + (output ? layout.outputs : layout.inputs)[entry][port];
  }
  int64_t partRanks() const override { return group->ranks(); }
  uint8_t *partMemory(const std::string &state) override { return group->shared() + layout.parts.at(state); }
  WeightUse weightUse() const override { return weights; }
  int64_t peakBytes() const override { return peak; }

private:
  /// Uses of weights that several ranks have whole or in the same part.
  int64_t sharedWeights() const {
    int64_t uses = 0;
    WeightStore store(loaded.exe, loaded.data, nullptr);
    for (const exe::Entry &entry : loaded.exe.entries) {
      const exe::Program &program = programOf(entry, options.reference);
      for (const exe::Command &c : program.commands)
        for (int32_t v : c.inputs)
          if (const exe::Value &value = program.values[v]; value.storage == exe::Storage::Weight)
            uses += store.sharers(value.index, program.grid) > 1;
    }
    return uses;
  }
  static size_t bytesOf(const exe::Port &port) { return static_cast<size_t>(exe::byteSize(port.dtype, port.shape)); }
  static bool parse(const std::string &text, RankReport &reply) {
    if (text.size() < sizeof(RankReport))
      return false;
    std::memcpy(&reply, text.data(), sizeof(RankReport));
    size_t rest = text.size() - sizeof(RankReport), most = rest / sizeof(CollectiveTimes);
    if (rest == 0) // the answer to the empty request
      return true;
    return reply.planned >= 0 && static_cast<size_t>(reply.planned) <= most &&
           (rest - static_cast<size_t>(reply.planned) * sizeof(CollectiveTimes)) % sizeof(TraceEvent) == 0;
  }

  const LoadedExecutable &loaded;
  const EngineOptions options;
  const SharedLayout layout;
  std::unique_ptr<SharedPacks> packs; ///< null: no weight is shared, or there is no such memory
  std::unique_ptr<RankGroup> group;   ///< after what it borrows
  bool overlap = true;
  WeightUse weights;
  int64_t peak = 0; ///< of ranks after loading
};
} // namespace

Status createGroupEngine(const LoadedExecutable &loaded, const WeightFiles *files, const NativeCode *native,
                         const EngineOptions &options, std::unique_ptr<Engine> &out) {
  auto engine = std::make_unique<GroupEngine>(loaded, options);
  if (Status s = engine->create(files, native); !s)
    return s;
  out = std::move(engine);
  return Status::ok();
}

Status createProcessRank(const RankEnvironment &env, std::unique_ptr<RankMain> &out) {
  auto rank = std::make_unique<SessionRank>(env);
  Status s = rank->create(nullptr, nullptr, nullptr);
  out = std::move(rank);
  return s;
}

} // namespace comm::rt
