//===- RankStore.cpp - the memory of one rank, by hand (tests) ------------===//
#include "RankStore.h"
#include "runtime/Kernels/Norm/RowNorm.h"
#include <algorithm>
#include <cstring>
#include <fstream>
#include <limits>

using namespace comm;

namespace testing_run {
namespace {
template <class T> std::vector<T> load(const uint8_t *bytes, int64_t count) {
  std::vector<T> out(count);
  std::memcpy(out.data(), bytes, count * sizeof(T));
  return out;
}

template <class T> void accumulate(std::vector<uint8_t> &into, const uint8_t *from, const std::string &kind) {
  int64_t count = into.size() / sizeof(T);
  std::vector<T> a = load<T>(into.data(), count), b = load<T>(from, count);
  for (int64_t i = 0; i < count; ++i)
    a[i] = kind == "sum"    ? a[i] + b[i]
           : kind == "prod" ? a[i] * b[i]
           : kind == "max"  ? std::max(a[i], b[i])
                            : std::min(a[i], b[i]);
  std::memcpy(into.data(), a.data(), into.size());
}

int64_t sizeOf(const exe::Value &value) { return exe::numElements(value.shape) * exe::byteWidth(value.dtype); }
int64_t integer(const exe::Command &command, const char *name) { return std::get<int64_t>(command.attrs.at(name)); }
std::string text(const exe::Command &command, const char *name) {
  return std::get<std::string>(command.attrs.at(name));
}
} // namespace

std::unique_ptr<rt::NativeCode> loadNative(const exe::Executable &exe, std::string &error) {
  std::unique_ptr<rt::NativeCode> native;
  if (exe.objects.empty())
    return native;
  size_t index = 0;
  rt::Status status = rt::chooseNativeObject(exe.objects, index);
  if (status)
    status = rt::NativeCode::load(exe.objects[index].bytes.data(), exe.objects[index].bytes.size(), native);
  if (!status)
    error = status.text;
  return native;
}

RankStore::RankStore(const exe::Executable &exe, const exe::Program &program, int64_t rank,
                     const std::string &directory, const rt::NativeCode *native)
    : exe(exe), program(program), rank(rank), native(native), kernels(program.commands.size()) {
  for (const exe::Weight &weight : exe.weights)
    weights.push_back(loadWeight(weight, directory));
}

void RankStore::reset(const std::vector<Bytes> &inputs) {
  // A native kernel works on the sizes it was compiled for: room behind for a program that was changed.
  int64_t slack = 4096;
  for (const exe::Value &value : program.values)
    slack = std::max(slack, 2 * sizeOf(value));
  arena.assign(static_cast<size_t>(program.arenaBytes + slack), 0xFF); // NaN, and never a small integer
  outs.clear();
  for (const exe::Port &port : program.outputs)
    outs.push_back(Bytes(static_cast<size_t>(sizeOf(program.values[static_cast<size_t>(port.value)]) + slack), 0xFF));
  ins = inputs;
  for (size_t i = 0; i < program.inputs.size(); ++i)
    if (int32_t v = program.inputs[i].value;
        v >= 0 && program.values[static_cast<size_t>(v)].storage == exe::Storage::Arena)
      std::memcpy(pointer(v), ins[i].data(), ins[i].size());
}

int64_t RankStore::bytes(int32_t value) const { return sizeOf(program.values[static_cast<size_t>(value)]); }

Bytes RankStore::loadWeight(const exe::Weight &weight, const std::string &directory) {
  int64_t width = exe::byteWidth(weight.dtype), bytes = exe::numElements(weight.shape) * width;
  Bytes stored(bytes);
  if (weight.file < 0) {
    std::memcpy(stored.data(), exe.data.data() + weight.offset, bytes);
  } else {
    std::ifstream in(directory + "/" + exe.files[weight.file].path, std::ios::binary);
    in.seekg(weight.offset);
    in.read(reinterpret_cast<char *>(stored.data()), bytes);
    if (in.gcount() != bytes)
      error = "weight file is too short";
  }
  size_t dims = weight.shape.size();
  exe::Shape start(dims, 0), count = weight.shape, local = weight.shape;
  for (const exe::Slice &slice : weight.slices) {
    start[slice.dim] = slice.start;
    count[slice.dim] = local[slice.dim] = slice.size;
  }
  for (size_t d = 0; d < weight.layout.dims.size(); ++d) {
    exe::ShardRange range = exe::shardRange(count[d], weight.layout.dims[d], program.grid, rank);
    start[d] += range.start;
    count[d] = range.count;
    local[d] = range.local;
  }
  Bytes out(exe::numElements(local) * width, 0);
  for (int64_t i = 0, n = exe::numElements(count); i < n; ++i) {
    int64_t rest = i, from = 0, to = 0, fromStride = 1, toStride = 1;
    for (size_t d = dims; d-- > 0;) {
      int64_t at = rest % count[d];
      rest /= count[d];
      from += (start[d] + at) * fromStride;
      to += at * toStride;
      fromStride *= weight.shape[d];
      toStride *= local[d];
    }
    std::memcpy(&out[to * width], &stored[from * width], width);
  }
  return out;
}

uint8_t *RankStore::pointer(int32_t index) {
  const exe::Value &value = program.values[static_cast<size_t>(index)];
  auto number = static_cast<size_t>(value.index);
  switch (value.storage) {
  case exe::Storage::Arena:
    return arena.data() + value.offset;
  case exe::Storage::Weight:
    return weights[number].data() + value.offset;
  case exe::Storage::Input:
    return ins[number].data() + value.offset;
  default:
    return outs[number].data() + value.offset;
  }
}

std::vector<Bytes> RankStore::outputs() {
  std::vector<Bytes> result;
  for (const exe::Port &port : program.outputs)
    result.emplace_back(pointer(port.value), pointer(port.value) + bytes(port.value));
  return result;
}

bool RankStore::compute(size_t number, std::string &error) {
  const exe::Command &command = program.commands[number];
  std::vector<void *> ins, outs;
  std::vector<rt::TensorDesc> inTypes, outTypes;
  for (int32_t index : command.inputs) {
    ins.push_back(pointer(index));
    inTypes.push_back({program.values[index].dtype, program.values[index].shape});
  }
  for (int32_t index : command.outputs) {
    outs.push_back(pointer(index));
    outTypes.push_back({program.values[index].dtype, program.values[index].shape});
  }
  if (command.op == "kernel") {
    rt::NativeFunction function = native ? native->find(text(command, "symbol")) : nullptr;
    if (!function) {
      error = "no native function " + text(command, "symbol");
      return false;
    }
    ins.insert(ins.end(), outs.begin(), outs.end());
    function(ins.data(), 0, integer(command, "iterations"));
    return true;
  }
  rt::PrepareContext context;
  context.grid = &program.grid;
  context.rank = rank;
  rt::Status status;
  if (!kernels[number])
    status = rt::prepareKernel(command, inTypes, outTypes, context, kernels[number]);
  refused = !status;
  if (status)
    status = kernels[number]->run(ins.data(), outs.data());
  if (!status)
    error = status.text;
  return static_cast<bool>(status);
}

/// The same for the collectives with one operand and one result.
static bool collectiveResult(const exe::Program &program, const exe::Command &command,
                             const std::vector<const uint8_t *> &blocks, int64_t self, Bytes &result,
                             std::string &error) {
  const std::string &name = exe::collectiveOf(command);
  const exe::Value &in = program.values[command.inputs[0]], &out = program.values[command.outputs[0]];
  auto members = static_cast<int64_t>(blocks.size());
  int64_t inBytes = sizeOf(in), block = name == "all_reduce" ? inBytes : inBytes / members;
  result.clear();
  if (name == "all_gather") {
    for (const uint8_t *from : blocks)
      result.insert(result.end(), from, from + inBytes);
  } else if (name == "all_to_all") {
    for (const uint8_t *from : blocks)
      result.insert(result.end(), from + self * block, from + (self + 1) * block);
  } else if (name == "permute") {
    const uint8_t *from = blocks[((self - integer(command, "shift") % members) % members + members) % members];
    result.assign(from, from + inBytes);
  } else if (name == "all_reduce" || name == "reduce_scatter") {
    int64_t offset = name == "all_reduce" ? 0 : self * block;
    result.assign(blocks[0] + offset, blocks[0] + offset + block);
    for (int64_t i = 1; i < members; ++i)
      if (in.dtype == exe::DType::F32)
        accumulate<float>(result, blocks[i] + offset, text(command, "reduce"));
      else if (in.dtype == exe::DType::I64)
        accumulate<int64_t>(result, blocks[i] + offset, text(command, "reduce"));
      else
        error = "element type of a reduction";
  } else {
    error = "unknown collective " + name;
  }
  if (error.empty() && static_cast<int64_t>(result.size()) != sizeOf(out))
    error = "shapes of " + name + " disagree";
  return error.empty();
}

/// One member of scatter_norm_gather: its sum, and the norm of it. Fill rows are NaN.
static void sumAndNorm(const exe::Program &program, const exe::Command &command,
                       const std::vector<std::vector<const uint8_t *>> &operands, int64_t self, std::vector<float> &sum,
                       std::vector<float> &normed) {
  const exe::Shape &shape = program.values[command.inputs[0]].shape;
  bool bias = integer(command, "has_bias") != 0, normBias = integer(command, "has_norm_bias") != 0;
  rt::RowNorm norm{exe::DType::F32, 0, shape[2], std::get<double>(command.attrs.at("epsilon")),
                   integer(command, "layer_norm") != 0};
  norm.rows = std::clamp<int64_t>(integer(command, "rows") - self * shape[1], 0, shape[1]);
  auto block = static_cast<size_t>(shape[1] * shape[2]);
  sum.assign(block, 0);
  normed.assign(block, 0);
  for (const auto &member : operands)
    for (size_t i = 0; i < block; ++i)
      sum[i] += reinterpret_cast<const float *>(member[0])[static_cast<size_t>(self) * block + i];
  const std::vector<const uint8_t *> &own = operands[static_cast<size_t>(self)];
  rt::addAndNorm(norm, sum.data(), own[1], bias ? own[3] : nullptr, own[2], normBias ? own[bias ? 4 : 3] : nullptr,
                 normed.data());
  for (size_t i = static_cast<size_t>(norm.rows * shape[2]); i < block; ++i)
    sum[i] = normed[i] = std::numeric_limits<float>::quiet_NaN();
}

static bool scatterNormGather(const exe::Program &program, const exe::Command &command,
                              const std::vector<std::vector<const uint8_t *>> &operands, int64_t self,
                              std::vector<Bytes> &outs, std::string &error) {
  if (program.values[command.inputs[0]].dtype != exe::DType::F32) {
    error = "element type of a reduction";
    return false;
  }
  auto bytes = [](const std::vector<float> &values) {
    const auto *data = reinterpret_cast<const uint8_t *>(values.data());
    return Bytes(data, data + values.size() * sizeof(float));
  };
  outs.assign(3, {});
  for (size_t member = 0; member < operands.size(); ++member) {
    std::vector<float> sum, normed;
    sumAndNorm(program, command, operands, static_cast<int64_t>(member), sum, normed);
    Bytes rows = bytes(normed);
    outs[0].insert(outs[0].end(), rows.begin(), rows.end());
    if (static_cast<int64_t>(member) == self) {
      outs[1] = bytes(sum);
      outs[2] = rows;
    }
  }
  return true;
}

bool collectiveResults(const exe::Program &program, const exe::Command &command,
                       const std::vector<std::vector<const uint8_t *>> &operands, int64_t self,
                       std::vector<Bytes> &outs, std::string &error) {
  if (exe::collectiveOf(command) == "scatter_norm_gather")
    return scatterNormGather(program, command, operands, self, outs, error);
  std::vector<const uint8_t *> blocks;
  for (const auto &member : operands)
    blocks.push_back(member[0]);
  outs.resize(1);
  return collectiveResult(program, command, blocks, self, outs[0], error);
}

} // namespace testing_run
