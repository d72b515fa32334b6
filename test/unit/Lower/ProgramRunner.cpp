//===- ProgramRunner.cpp - runs a program on all ranks in lockstep (tests) ===//
#include "ProgramRunner.h"
#include "runtime/Core/NativeObject.h"
#include "runtime/Kernels/Kernel.h"
#include "runtime/Kernels/Norm/RowNorm.h"
#include <algorithm>
#include <cstring>
#include <fstream>
#include <iterator>
#include <limits>

using namespace comm;
using testing_run::Bytes;

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

class Runner {
public:
  Runner(const exe::Executable &exe, const exe::Program &program, const testing_run::RunOptions &options,
         std::string &error)
      : exe(exe), program(program), options(options), error(error), ranks(program.grid.ranks()) {}

  std::vector<std::vector<Bytes>> run(const std::vector<std::vector<Bytes>> &given) {
    if (!loadNative() || !prepareStorage(given))
      return {};
    for (const exe::Command &command : program.commands)
      if (!step(command))
        return {};
    return outputs;
  }

private:
  bool fail(const std::string &text) {
    error = text;
    return false;
  }

  bool loadNative() {
    if (exe.objects.empty())
      return true;
    size_t index = 0;
    rt::Status status = rt::chooseNativeObject(exe.objects, index);
    if (status)
      status = rt::NativeCode::load(exe.objects[index].bytes.data(), exe.objects[index].bytes.size(), native);
    return status ? true : fail(status.text);
  }

  bool prepareStorage(const std::vector<std::vector<Bytes>> &given) {
    inputs = given;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      arenas.push_back(Bytes(program.arenaBytes, 0xFF)); // NaN, and never a small integer
      outputs.emplace_back();
      for (const exe::Port &port : program.outputs)
        outputs.back().push_back(Bytes(sizeOf(program.values[port.value]), 0xFF));
      weights.emplace_back();
      for (const exe::Weight &weight : exe.weights)
        weights.back().push_back(loadWeight(weight, rank));
    }
    return error.empty();
  }

  static int64_t sizeOf(const exe::Value &value) { return exe::numElements(value.shape) * exe::byteWidth(value.dtype); }

  Bytes loadWeight(const exe::Weight &weight, int64_t rank) {
    int64_t width = exe::byteWidth(weight.dtype), bytes = exe::numElements(weight.shape) * width;
    Bytes stored(bytes);
    if (weight.file < 0) {
      std::memcpy(stored.data(), exe.data.data() + weight.offset, bytes);
    } else {
      std::ifstream in(options.directory + "/" + exe.files[weight.file].path, std::ios::binary);
      in.seekg(weight.offset);
      in.read(reinterpret_cast<char *>(stored.data()), bytes);
      if (in.gcount() != bytes)
        fail("weight file is too short");
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

  uint8_t *pointer(int64_t rank, int32_t index) {
    const exe::Value &value = program.values[index];
    switch (value.storage) {
    case exe::Storage::Arena:
      return arenas[rank].data() + value.offset;
    case exe::Storage::Weight:
      return weights[rank][value.index].data() + value.offset;
    case exe::Storage::Input:
      return inputs[rank][value.index].data() + value.offset;
    default:
      return outputs[rank][value.index].data() + value.offset;
    }
  }

  static int64_t integer(const exe::Command &command, const char *name) {
    return std::get<int64_t>(command.attrs.at(name));
  }
  static std::string text(const exe::Command &command, const char *name) {
    return std::get<std::string>(command.attrs.at(name));
  }

  bool step(const exe::Command &command) {
    if (command.op == "start") {
      pending[integer(command, "token")] = &command;
      return options.collectivesAtWait || collective(command, text(command, "collective"));
    }
    if (command.op == "wait") {
      const exe::Command *started = pending.at(integer(command, "token"));
      return !options.collectivesAtWait || collective(*started, text(*started, "collective"));
    }
    if (command.attrs.count("plan_id"))
      return collective(command, command.op);
    for (int64_t rank = 0; rank < ranks; ++rank)
      if (!compute(command, rank))
        return false;
    return true;
  }

  bool compute(const exe::Command &command, int64_t rank) {
    std::vector<void *> ins, outs;
    std::vector<rt::TensorDesc> inTypes, outTypes;
    for (int32_t index : command.inputs) {
      ins.push_back(pointer(rank, index));
      inTypes.push_back({program.values[index].dtype, program.values[index].shape});
    }
    for (int32_t index : command.outputs) {
      outs.push_back(pointer(rank, index));
      outTypes.push_back({program.values[index].dtype, program.values[index].shape});
    }
    if (command.op == "kernel") {
      rt::NativeFunction function = native ? native->find(text(command, "symbol")) : nullptr;
      if (!function)
        return fail("no native function " + text(command, "symbol"));
      ins.insert(ins.end(), outs.begin(), outs.end());
      function(ins.data(), 0, integer(command, "iterations"));
      return true;
    }
    rt::PrepareContext context;
    context.grid = &program.grid;
    context.rank = rank;
    std::unique_ptr<rt::Kernel> kernel;
    rt::Status status = rt::prepareKernel(command, inTypes, outTypes, context, kernel);
    if (status)
      status = kernel->run(ins.data(), outs.data());
    return status ? true : fail(status.text);
  }

  bool collective(const exe::Command &command, const std::string &name) {
    const auto &axes = std::get<std::vector<std::string>>(command.attrs.at("axes"));
    const exe::Value &in = program.values[command.inputs[0]], &out = program.values[command.outputs[0]];
    int64_t members = program.grid.shards(axes), inBytes = sizeOf(in), outBytes = sizeOf(out);
    if (name == "scatter_norm_gather")
      return scatterNormGather(command, axes, members);
    std::vector<Bytes> results;
    for (int64_t rank = 0; rank < ranks; ++rank) {
      // The group, in order of the coordinate over the axes.
      std::vector<const uint8_t *> blocks(members);
      for (int64_t other = 0; other < ranks; ++other)
        if (sameGroup(rank, other, axes))
          blocks[program.grid.coordinate(other, axes)] = pointer(other, command.inputs[0]);
      int64_t self = program.grid.coordinate(rank, axes), block = name == "all_reduce" ? inBytes : inBytes / members;
      Bytes result;
      if (name == "all_gather") {
        for (const uint8_t *from : blocks)
          result.insert(result.end(), from, from + inBytes);
      } else if (name == "all_to_all") {
        for (const uint8_t *from : blocks)
          result.insert(result.end(), from + self * block, from + (self + 1) * block);
      } else if (name == "all_reduce" || name == "reduce_scatter") {
        int64_t offset = name == "all_reduce" ? 0 : self * block;
        result.assign(blocks[0] + offset, blocks[0] + offset + block);
        for (int64_t i = 1; i < members; ++i)
          if (in.dtype == exe::DType::F32)
            accumulate<float>(result, blocks[i] + offset, text(command, "reduce"));
          else if (in.dtype == exe::DType::I64)
            accumulate<int64_t>(result, blocks[i] + offset, text(command, "reduce"));
          else
            return fail("element type of a reduction");
      } else {
        return fail("unknown collective " + name);
      }
      if (static_cast<int64_t>(result.size()) != outBytes)
        return fail("shapes of " + name + " disagree");
      results.push_back(std::move(result));
    }
    for (int64_t rank = 0; rank < ranks; ++rank)
      std::memcpy(pointer(rank, command.outputs[0]), results[rank].data(), outBytes);
    return true;
  }

  /// Fill rows stay what they are, 0xFF: NaN.
  bool scatterNormGather(const exe::Command &command, const std::vector<std::string> &axes, int64_t members) {
    const exe::Shape &shape = program.values[command.inputs[0]].shape;
    rt::RowNorm norm{exe::DType::F32, 0, shape[2], std::get<double>(command.attrs.at("epsilon")),
                     integer(command, "layer_norm") != 0};
    size_t block = static_cast<size_t>(shape[1] * shape[2]);
    bool bias = integer(command, "has_bias") != 0, normBias = integer(command, "has_norm_bias") != 0;
    std::vector<std::vector<float>> sums(ranks, std::vector<float>(block)), norms(sums);
    for (int64_t rank = 0; rank < ranks; ++rank) {
      int64_t self = program.grid.coordinate(rank, axes);
      for (int64_t member = 0; member < members; ++member)
        for (int64_t other = 0; other < ranks; ++other)
          if (sameGroup(rank, other, axes) && program.grid.coordinate(other, axes) == member)
            for (size_t i = 0; i < block; ++i)
              sums[rank][i] += reinterpret_cast<const float *>(
                  pointer(other, command.inputs[0]))[static_cast<size_t>(self) * block + i];
      norm.rows = std::clamp<int64_t>(integer(command, "rows") - self * shape[1], 0, shape[1]);
      rt::addAndNorm(norm, sums[rank].data(), pointer(rank, command.inputs[1]),
                     bias ? pointer(rank, command.inputs[3]) : nullptr, pointer(rank, command.inputs[2]),
                     normBias ? pointer(rank, command.inputs[bias ? 4 : 3]) : nullptr, norms[rank].data());
      for (size_t i = static_cast<size_t>(norm.rows * shape[2]); i < block; ++i)
        sums[rank][i] = norms[rank][i] = std::numeric_limits<float>::quiet_NaN();
    }
    for (int64_t rank = 0; rank < ranks; ++rank) {
      std::memcpy(pointer(rank, command.outputs[1]), sums[rank].data(), block * sizeof(float));
      for (int64_t other = 0; other < ranks; ++other)
        if (sameGroup(rank, other, axes))
          std::memcpy(pointer(rank, command.outputs[0]) +
                          static_cast<size_t>(program.grid.coordinate(other, axes)) * block * sizeof(float),
                      norms[other].data(), block * sizeof(float));
    }
    return true;
  }

  bool sameGroup(int64_t a, int64_t b, const std::vector<std::string> &axes) {
    for (const exe::Axis &axis : program.grid.axes)
      if (std::find(axes.begin(), axes.end(), axis.name) == axes.end() &&
          program.grid.coordinate(a, {axis.name}) != program.grid.coordinate(b, {axis.name}))
        return false;
    return true;
  }

  const exe::Executable &exe;
  const exe::Program &program;
  const testing_run::RunOptions &options;
  std::string &error;
  int64_t ranks;
  std::unique_ptr<rt::NativeCode> native;
  std::vector<Bytes> arenas;
  std::vector<std::vector<Bytes>> weights, inputs, outputs;
  std::map<int64_t, const exe::Command *> pending;
};
} // namespace

std::vector<std::vector<Bytes>> testing_run::run(const exe::Executable &exe, const exe::Program &program,
                                                 const std::vector<std::vector<Bytes>> &inputs,
                                                 const RunOptions &options, std::string &error) {
  return Runner(exe, program, options, error).run(inputs);
}
