//===- ProgramBuilder.h - small executables made by hand --------*- C++ -*-===//
// For the unit tests of the format and of the runtime. Arena offsets are given out one after another (64-byte aligned),
// communication buffers first: call comm() before arena().
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <cstring>
#include <limits>
#include <tuple>
#include <utility>

namespace comm::test {
using namespace comm::exe;

class ProgramBuilder {
public:
  explicit ProgramBuilder(std::vector<Axis> axes) { program.grid.axes = std::move(axes); }

  int32_t comm(Shape shape, DType dtype = DType::F32) {
    int32_t v = arena(std::move(shape), dtype);
    program.commBytes = program.arenaBytes;
    return v;
  }
  int32_t arena(Shape shape, DType dtype = DType::F32) {
    int64_t offset = program.arenaBytes;
    program.arenaBytes += (byteSize(dtype, shape) + 63) / 64 * 64;
    return value({Storage::Arena, nextBuffer++, offset, dtype, std::move(shape), ""});
  }
  int32_t weight(int64_t index, Shape localShape, DType dtype = DType::F32) {
    return value({Storage::Weight, index, 0, dtype, std::move(localShape), ""});
  }
  int32_t input(const std::string &name, Shape whole, Layout layout = {}, DType dtype = DType::F32) {
    int64_t index = static_cast<int64_t>(program.inputs.size());
    int32_t v = value({Storage::Input, index, 0, dtype, localShape(whole, layout, program.grid), name});
    program.inputs.push_back({name, dtype, std::move(whole), std::move(layout), v});
    return v;
  }
  int32_t output(const std::string &name, Shape whole, Layout layout = {}, DType dtype = DType::F32) {
    int64_t index = static_cast<int64_t>(program.outputs.size());
    int32_t v = value({Storage::Output, index, 0, dtype, localShape(whole, layout, program.grid), name});
    program.outputs.push_back({name, dtype, std::move(whole), std::move(layout), v});
    return v;
  }
  /// An output that is a value made elsewhere.
  void outputOf(const std::string &name, int32_t v, Shape whole, Layout layout = {}) {
    program.outputs.push_back({name, program.values[v].dtype, std::move(whole), std::move(layout), v});
  }
  int32_t value(Value v) {
    program.values.push_back(std::move(v));
    return static_cast<int32_t>(program.values.size()) - 1;
  }
  Command &command(const std::string &op, std::vector<int32_t> inputs, std::vector<int32_t> outputs, Attrs attrs = {}) {
    program.commands.push_back({op, std::move(inputs), std::move(outputs), std::move(attrs), ""});
    return program.commands.back();
  }
  void copy(int32_t from, int32_t to) {
    int64_t n = numElements(program.values[from].shape);
    command("copy", {from}, {to},
            {{"dims", std::vector<int64_t>{n}},
             {"in_strides", std::vector<int64_t>{1}},
             {"out_strides", std::vector<int64_t>{1}}});
  }
  void collective(const std::string &kind, int32_t in, int32_t out, std::vector<std::string> axes, Attrs more = {}) {
    more["axes"] = std::move(axes);
    more["plan_id"] = nextPlan++;
    command(kind, {in}, {out}, std::move(more));
  }
  /// Returns the token.
  int64_t start(const std::string &kind, int32_t in, int32_t out, std::vector<std::string> axes, Attrs more = {}) {
    int64_t token = nextPlan;
    more["collective"] = kind;
    more["token"] = token;
    collective("start", in, out, std::move(axes), std::move(more));
    return token;
  }
  void wait(int64_t token) { command("wait", {}, {}, {{"token", token}}); }

  Program program;

private:
  int64_t nextPlan = 0, nextBuffer = 0;
};

/// Appends an embedded f32 weight; returns its number.
inline int64_t addWeight(Executable &exe, const std::string &name, Shape shape, const std::vector<float> &data,
                         Layout layout = {}) {
  Weight w;
  w.name = name;
  w.offset = static_cast<int64_t>(exe.data.size());
  w.shape = std::move(shape);
  w.layout = std::move(layout);
  const auto *bytes = reinterpret_cast<const uint8_t *>(data.data());
  exe.data.insert(exe.data.end(), bytes, bytes + data.size() * sizeof(float));
  exe.weights.push_back(std::move(w));
  return static_cast<int64_t>(exe.weights.size()) - 1;
}

inline Layout splitOn(size_t rank, size_t dim, std::vector<std::string> axes, int64_t grain = 1) {
  Layout layout;
  layout.dims.resize(rank);
  layout.dims[dim] = {std::move(axes), grain};
  return layout;
}

/// y = x @ w with w split on its rows and x on its columns over `ranks` ranks: one all_reduce. `async`: as start and
/// wait.
inline Executable makeRowParallelMatmul(int64_t ranks, int64_t m = 3, int64_t k = 8, int64_t n = 5,
                                        bool async = false) {
  Executable exe;
  exe.compilerVersion = "test";
  exe.modelName = "row parallel";
  std::vector<float> data;
  for (int64_t i = 0; i < k * n; ++i)
    data.push_back(static_cast<float>(i % 7 - 3));
  addWeight(exe, "w", {k, n}, data, splitOn(2, 0, {"tp"}));
  auto build = [&](std::vector<Axis> axes) {
    ProgramBuilder b(std::move(axes));
    bool split = !b.program.grid.axes.empty();
    int32_t partial = split ? b.comm({m, n}) : -1, sum = split ? b.comm({m, n}) : -1;
    int32_t x = b.input("x", {m, k}, split ? splitOn(2, 1, {"tp"}) : Layout{});
    int32_t y = b.output("y", {m, n});
    int64_t local = shardRange(k, {{"tp"}, 1}, b.program.grid, 0).local;
    int32_t w = b.weight(0, {local, n});
    b.command("matmul", {x, w}, {split ? partial : y}).label = "proj";
    if (split) {
      if (async)
        b.wait(b.start("all_reduce", partial, sum, {"tp"}, {{"reduce", std::string("sum")}}));
      else
        b.collective("all_reduce", partial, sum, {"tp"}, {{"reduce", std::string("sum")}});
      b.copy(sum, y);
    }
    return b.program;
  };
  Entry entry;
  entry.name = "main";
  entry.split = build({{"tp", ranks}});
  entry.reference = build({});
  exe.entries.push_back(std::move(entry));
  return exe;
}

/// normed, sum = scatter_norm_gather of `rows` rows of 4 over `ranks` ranks: every rank gives x, the residual r is
/// split by rows. Room beyond the rows holds NaN. Variant bits: 1 layer_norm, 2 bias, 4 norm_bias (with 1), 8 as start
/// and wait.
inline Executable makeScatterNorm(int64_t ranks, int64_t rows, int variant = 0) {
  Executable exe;
  exe.compilerVersion = exe.modelName = "scatter norm";
  for (const char *name : {"gain", "bias", "shift"})
    addWeight(exe, name, {4}, {1, 2, -1, static_cast<float>(exe.weights.size())});
  auto build = [&](std::vector<Axis> axes) {
    ProgramBuilder b(std::move(axes));
    bool split = !b.program.grid.axes.empty();
    int64_t n = split ? ranks : 1, own = (rows + n - 1) / n;
    int32_t in = b.comm({n, own, 4}), normed = b.comm({n, own, 4}), sum = b.comm({own, 4}), room = b.comm({own, 4}),
            residual = b.arena({own, 4});
    const Value &place = b.program.values[normed];
    int32_t result = b.value({Storage::Arena, place.index, place.offset, DType::F32, {rows, 4}, ""});
    const Value &whole = b.program.values[in];
    int32_t inRows = b.value({Storage::Arena, whole.index, whole.offset, DType::F32, {rows, 4}, ""});
    Layout byRows = split ? splitOn(2, 0, {"tp"}) : Layout{};
    int32_t x = b.input("x", {rows, 4});
    int32_t r = b.input("r", {rows, 4}, byRows);
    if (n * own > rows) {
      const Value &all = b.program.values[in];
      int32_t tail = b.value({Storage::Arena, all.index, all.offset + rows * 16, DType::F32, {n * own - rows, 4}, ""});
      b.command("fill", {}, {tail}, {{"value", std::numeric_limits<double>::quiet_NaN()}});
    }
    b.copy(x, inRows);
    b.copy(r, residual);
    std::vector<int32_t> ins{in, residual, b.weight(0, {4})};
    if (variant & 2)
      ins.push_back(b.weight(1, {4}));
    if (variant & 4)
      ins.push_back(b.weight(2, {4}));
    Attrs attrs{{"rows", rows},
                {"epsilon", 1e-3},
                {"layer_norm", int64_t(variant & 1)},
                {"has_bias", int64_t((variant & 2) != 0)},
                {"has_norm_bias", int64_t((variant & 4) != 0)},
                {"axes", split ? std::vector<std::string>{"tp"} : std::vector<std::string>{}},
                {"plan_id", int64_t(0)}};
    if (variant & 8) {
      attrs["collective"] = std::string("scatter_norm_gather");
      attrs["token"] = int64_t(0);
    }
    b.command((variant & 8) ? "start" : "scatter_norm_gather", ins, {normed, sum, room}, attrs).label = "site";
    if (variant & 8)
      b.wait(0);
    b.outputOf("normed", result, {rows, 4});
    b.outputOf("sum", sum, {rows, 4}, byRows);
    return b.program;
  };
  exe.entries.push_back({"main", build({{"tp", ranks}}), build({}), {}});
  return exe;
}

/// A growing state, two entries as prefill and decode: `present` [2, past + s] is `past` followed by `x` [2, s], and
/// `total` [2, 1] sums its rows. Entry "prefill": past 0, s 3; "decode": past 3, s 1. The state is split on its first
/// dimension.
inline Executable makeDecoder(int64_t ranks) {
  Executable exe;
  exe.compilerVersion = "test";
  exe.modelName = "decoder";
  addWeight(exe, "ones", {4, 1}, {1, 1, 1, 1});
  auto build = [&](std::vector<Axis> axes, int64_t past, int64_t s) {
    ProgramBuilder b(std::move(axes));
    Layout rows = b.program.grid.axes.empty() ? Layout{} : splitOn(2, 0, {"tp"});
    int64_t n = past + s, r = shardRange(2, {{"tp"}, 1}, b.program.grid, 0).local;
    int32_t in = b.input("past", {2, past}, rows), x = b.input("x", {2, s}, rows);
    int32_t present = b.output("present", {2, n}, rows), total = b.output("total", {2, 1}, rows);
    auto strided = [](int64_t rows, int64_t cols, int64_t to, int64_t offset) {
      return Attrs{{"dims", std::vector<int64_t>{rows, cols}},
                   {"in_strides", std::vector<int64_t>{cols, 1}},
                   {"out_strides", std::vector<int64_t>{to, 1}},
                   {"out_offset", offset}};
    };
    if (past > 0)
      b.command("copy", {in}, {present}, strided(r, past, n, 0));
    b.command("copy", {x}, {present}, strided(r, s, n, past));
    b.command("matmul", {present, b.weight(0, {n, 1})}, {total});
    return b.program;
  };
  for (auto [name, past, s] : {std::make_tuple("prefill", 0, 3), std::make_tuple("decode", 3, 1)}) {
    Entry entry;
    entry.name = name;
    entry.split = build({{"tp", ranks}}, past, s);
    entry.reference = build({}, past, s);
    entry.states = {{"past", "present"}};
    exe.entries.push_back(std::move(entry));
  }
  return exe;
}

} // namespace comm::test
