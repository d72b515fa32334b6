//===- BenchProbe.cpp - small programs that measure this machine ----------===//
#include "tools/Driver/BenchProbe.h"
#include "comm-c/runtime.h"
#include "comm/Proof/Certificate.h"
#include <algorithm>
#include <cstdio>
#include <fstream>

using namespace comm::exe;

namespace commc {
namespace {

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

Command make(const std::string &op, std::vector<int32_t> inputs, std::vector<int32_t> outputs, Attrs attrs) {
  Command command;
  command.op = op;
  command.inputs = std::move(inputs);
  command.outputs = std::move(outputs);
  command.attrs = std::move(attrs);
  return command;
}
} // namespace

/// The session of one probe; both handles are freed.
struct Probe::Running {
  comm_executable *executable = nullptr;
  comm_session *session = nullptr;
  ~Running() {
    comm_session_free(session);
    comm_executable_free(executable);
  }
};

Probe::~Probe() = default;
Probe::Probe(Probe &&) noexcept = default;

Probe::Probe(int64_t ranks, std::string folder) : ranks(ranks), folder(std::move(folder)) {
  executable.compilerVersion = executable.modelName = "bench";
  program.grid.axes = {{"r", ranks}};
}

int32_t Probe::buffer(DType dtype, const Shape &shape, bool shared) {
  Value value;
  value.dtype = dtype;
  value.shape = shape;
  if (shared) {
    value.offset = program.commBytes;
    program.commBytes += aligned(byteSize(dtype, shape));
  }
  int32_t index = static_cast<int32_t>(program.values.size());
  value.index = index;
  program.values.push_back(value);
  if (!shared)
    privateBuffers.push_back(index);
  fills.push_back(make("fill", {}, {index}, {{"value", 1.0}}));
  return index;
}

int32_t Probe::weight(DType dtype, const Shape &shape) {
  Weight weight;
  weight.name = "w" + std::to_string(executable.weights.size());
  weight.offset = static_cast<int64_t>(executable.data.size());
  weight.dtype = dtype;
  weight.shape = shape;
  int64_t count = numElements(shape);
  // Ones: 0x3f800000 as f32, 0x3f80 as bf16.
  for (int64_t i = 0; i < count; ++i) {
    if (dtype == DType::F32)
      executable.data.insert(executable.data.end(), {0, 0});
    executable.data.insert(executable.data.end(), {0x80, 0x3f});
  }
  executable.data.resize(static_cast<size_t>(aligned(static_cast<int64_t>(executable.data.size()))));
  Value value;
  value.storage = Storage::Weight;
  value.index = static_cast<int64_t>(executable.weights.size());
  value.dtype = dtype;
  value.shape = shape;
  executable.weights.push_back(weight);
  program.values.push_back(value);
  return static_cast<int32_t>(program.values.size()) - 1;
}

void Probe::command(const std::string &op, std::vector<int32_t> inputs, std::vector<int32_t> outputs, Attrs attrs) {
  // Each result is a buffer of its own on the same bytes, as nothing reads what the same command wrote before.
  for (int32_t &output : outputs) {
    Value again = program.values[static_cast<size_t>(output)];
    again.index = static_cast<int64_t>(program.values.size());
    results.emplace_back(static_cast<int32_t>(program.values.size()), output);
    output = results.back().first;
    program.values.push_back(again);
  }
  program.commands.push_back(make(op, std::move(inputs), std::move(outputs), std::move(attrs)));
}

void Probe::collective(const std::string &op, int32_t in, int32_t out, int64_t token) {
  Attrs attrs = {{"axes", std::vector<std::string>{"r"}}, {"plan_id", nextPlanId++}};
  if (op == "all_reduce" || op == "reduce_scatter")
    attrs["reduce"] = std::string("sum");
  if (token >= 0) {
    attrs["collective"] = op;
    attrs["token"] = token;
  }
  command(token >= 0 ? "start" : op, {in}, {out}, std::move(attrs));
}

void Probe::wait(int64_t token) { command("wait", {}, {}, {{"token", token}}); }

void Probe::native(const std::vector<NativeObject> &objects, const std::vector<Kernel> &kernels) {
  executable.objects = objects;
  executable.kernels = kernels;
}

bool Probe::start(std::string &error) {
  // What is not shared lies behind what is.
  int64_t at = program.commBytes;
  for (int32_t index : privateBuffers) {
    program.values[static_cast<size_t>(index)].offset = at;
    at += aligned(
        byteSize(program.values[static_cast<size_t>(index)].dtype, program.values[static_cast<size_t>(index)].shape));
  }
  for (auto [result, buffer] : results)
    program.values[static_cast<size_t>(result)].offset = program.values[static_cast<size_t>(buffer)].offset;
  program.arenaBytes = std::max<int64_t>(at, 64);
  Entry entry;
  entry.name = "probe";
  entry.split = program;
  entry.split.commands.insert(entry.split.commands.begin(), fills.begin(), fills.end());
  entry.reference.grid.axes = {};
  if (ranks == 1)
    entry.reference = entry.split;
  executable.entries = {entry};
  if (auto problems = ::comm::proof::certifyAll(executable); !problems.empty()) {
    error = problems.front();
    return false;
  }
  std::vector<uint8_t> bytes;
  std::string path = folder + "/probe.commx";
  if (!writeExecutable(executable, bytes, error))
    return false;
  std::ofstream(path, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  running = std::make_unique<Running>();
  comm_session_options options = {};
  options.struct_size = sizeof(options);
  options.threads = 1;
  options.trust_native = 1; // it was made by this process
  bool ok = comm_executable_load(path.c_str(), &running->executable) == COMM_OK &&
            comm_session_create(running->executable, &options, &running->session) == COMM_OK;
  if (!ok)
    error = comm_last_error();
  std::remove(path.c_str());
  return ok;
}

bool Probe::run(double &us, std::string &error) {
  comm_session_stats stats = {};
  stats.struct_size = sizeof(stats);
  if (comm_session_run(running->session, 0, nullptr, 0, nullptr, 0) != COMM_OK ||
      comm_session_stats_get(running->session, &stats) != COMM_OK) {
    error = comm_last_error();
    return false;
  }
  // What passes inside of the ranks: how long it takes to wake them is not the program's.
  us = (stats.compute_ms + stats.exposed_ms + stats.late_ms) * 1e3;
  return true;
}

} // namespace commc
