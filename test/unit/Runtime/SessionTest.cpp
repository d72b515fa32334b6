//===- SessionTest.cpp - programs through the C interface -----------------===//
// Every program runs over 1 to 4 ranks as threads and as processes. All numbers are small integers, so results are
// exact.
//===----------------------------------------------------------------------===//
#include "RuntimeTest.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <tuple>

using namespace comm::test;

namespace {
class Ranks : public testing::TestWithParam<std::tuple<int, comm_ranks_as>> {
protected:
  int ranks() const { return std::get<0>(GetParam()); }
  comm_session_options options() const {
    comm_session_options o = defaults();
    o.ranks_as = std::get<1>(GetParam());
    return o;
  }
  TemporaryFolder folder;
};

std::vector<float> multiply(const Floats &x, int64_t n) {
  int64_t m = x.dims[0], k = x.dims[1];
  std::vector<float> y(static_cast<size_t>(m * n), 0);
  for (int64_t i = 0; i < m; ++i)
    for (int64_t j = 0; j < n; ++j)
      for (int64_t l = 0; l < k; ++l)
        y[static_cast<size_t>(i * n + j)] +=
            x.data[static_cast<size_t>(i * k + l)] * static_cast<float>((l * n + j) % 7 - 3);
  return y;
}

void expectMatmul(const Executable &exe, const std::string &path, const comm_session_options &options, int64_t m,
                  int64_t k, int64_t n) {
  ExecutableHandle e = load(saveExecutable(exe, path));
  SessionHandle s = open(e, options);
  ASSERT_TRUE(s);
  for (int run = 0; run < 3; ++run) {
    Floats x = floats("x", {m, k}, static_cast<float>(run) - 4), y = floats("y", {m, n}, NAN);
    comm_tensor in = x.view(), out = y.view();
    ASSERT_EQ(comm_session_run(s.get(), 0, &in, 1, &out, 1), COMM_OK) << comm_last_error();
    EXPECT_EQ(y.data, multiply(x, n)) << "run " << run;
    comm_session_stats stats = {};
    stats.struct_size = sizeof(stats);
    ASSERT_EQ(comm_session_stats_get(s.get(), &stats), COMM_OK);
    int64_t ranks = exe.entries[0].split.grid.ranks();
    EXPECT_EQ(stats.collectives_planned, options.reference ? 0 : 1);
    EXPECT_EQ(stats.collectives_executed, stats.collectives_planned);
    EXPECT_EQ(stats.ranks, options.reference ? 1 : ranks);
    EXPECT_EQ(stats.bytes_sent_per_rank > 0, ranks > 1 && !options.reference);
    EXPECT_GT(stats.last_ms, 0);
    EXPECT_GT(stats.weight_bytes, 0);
  }
}

TEST_P(Ranks, RowParallelMatmul) {
  expectMatmul(makeRowParallelMatmul(ranks()), folder / "m.commx", options(), 3, 8, 5);
}

// 10 rows of weight over 3 or 4 ranks: the last shard is shorter and zero-filled.
TEST_P(Ranks, UnevenShards) {
  expectMatmul(makeRowParallelMatmul(ranks(), 3, 10, 5), folder / "m.commx", options(), 3, 10, 5);
}

TEST_P(Ranks, StartAndWait) {
  expectMatmul(makeRowParallelMatmul(ranks(), 7, 12, 9, true), folder / "m.commx", options(), 7, 12, 9);
}

// With and without overlap, over a link or not: the same numbers; and what was measured adds up.
TEST_P(Ranks, CountersOfCollectives) {
  for (const char *link : {static_cast<const char *>(nullptr), "1Gbit,10us"}) {
    comm_session_options o = options();
    o.link = link;
    ExecutableHandle e = load(saveExecutable(makeRowParallelMatmul(ranks(), 7, 12, 9, true), folder / "m.commx"));
    SessionHandle s = open(e, o);
    ASSERT_TRUE(s);
    EXPECT_STREQ(comm_session_link(s.get()), link ? "1 Gbit/s, 10 us" : "native");
    EXPECT_EQ(comm_session_collective_count(s.get()), 0); // nothing ran
    for (int32_t overlap : {1, 0, 1}) {
      ASSERT_EQ(comm_session_set_overlap(s.get(), overlap), COMM_OK);
      Floats x = floats("x", {7, 12}, -4), y = floats("y", {7, 9}, NAN);
      comm_tensor in = x.view(), out = y.view();
      ASSERT_EQ(comm_session_run(s.get(), 0, &in, 1, &out, 1), COMM_OK) << comm_last_error();
      EXPECT_EQ(y.data, multiply(x, 9));
      comm_session_stats stats = {};
      stats.struct_size = sizeof(stats);
      ASSERT_EQ(comm_session_stats_get(s.get(), &stats), COMM_OK);
      EXPECT_NEAR(stats.hidden_ms + stats.exposed_ms, stats.communication_ms, 1e-9);
      EXPECT_GE(stats.hidden_ms, 0);
      EXPECT_GE(stats.exposed_ms, 0);
      ASSERT_EQ(comm_session_collective_count(s.get()), 1);
      comm_collective_stats c = {};
      c.struct_size = sizeof(c);
      ASSERT_EQ(comm_session_collective(s.get(), 0, &c), COMM_OK);
      EXPECT_STREQ(c.op, "all_reduce");
      EXPECT_EQ(c.started, 1);
      EXPECT_EQ(c.bytes, 7 * 9 * 4);
      EXPECT_EQ(c.bytes_sent_per_rank > 0, ranks() > 1);
      EXPECT_NEAR(c.communication_ms, stats.communication_ms, 1e-9);
      if (!overlap) // nothing runs beside it
        EXPECT_NEAR(c.hidden_ms, 0, 1e-9);
      EXPECT_EQ(comm_session_collective(s.get(), 1, &c), COMM_INVALID_ARGUMENT);
      EXPECT_EQ(comm_session_collective(s.get(), -1, &c), COMM_INVALID_ARGUMENT);
    }
  }
}

TEST_P(Ranks, ReferenceProgram) {
  comm_session_options o = options();
  o.reference = 1;
  expectMatmul(makeRowParallelMatmul(ranks()), folder / "m.commx", o, 3, 8, 5);
}

TEST_P(Ranks, ComputeThreads) {
  comm_session_options o = options();
  o.threads = 3;
  expectMatmul(makeRowParallelMatmul(ranks(), 33, 8, 70), folder / "m.commx", o, 33, 8, 70);
}

// Tensors at any address, also one that suits no float.
TEST_P(Ranks, TensorsOfAnyAlignment) {
  ExecutableHandle e = load(saveExecutable(makeRowParallelMatmul(ranks()), folder / "m.commx"));
  SessionHandle s = open(e, options());
  Floats x = floats("x", {3, 8}), y = floats("y", {3, 5}, NAN);
  for (size_t shift : {0, 1, 4, 16, 63}) {
    std::vector<char> in(x.data.size() * sizeof(float) + 64), out(y.data.size() * sizeof(float) + 64);
    std::memcpy(in.data() + shift, x.data.data(), x.data.size() * sizeof(float));
    comm_tensor input = x.view(), output = y.view();
    input.data = in.data() + shift;
    output.data = out.data() + shift;
    ASSERT_EQ(comm_session_run(s.get(), 0, &input, 1, &output, 1), COMM_OK) << comm_last_error();
    std::memcpy(y.data.data(), out.data() + shift, y.data.size() * sizeof(float));
    EXPECT_EQ(y.data, multiply(x, 5)) << "shift " << shift;
  }
}

// Two entries, state split over ranks: prefill, then decode with the state of the first call.
TEST_P(Ranks, StateGoesThroughTheCaller) {
  ExecutableHandle e = load(saveExecutable(makeDecoder(ranks()), folder / "d.commx"));
  SessionHandle s = open(e, options());
  ASSERT_TRUE(s);
  Floats past = floats("past", {2, 0}), x = floats("x", {2, 3}, 1), present = floats("present", {2, 3}),
         total = floats("total", {2, 1});
  comm_tensor in[] = {past.view(), x.view()}, out[] = {total.view(), present.view()}; // any order
  ASSERT_EQ(comm_session_run(s.get(), 0, in, 2, out, 2), COMM_OK) << comm_last_error();
  EXPECT_EQ(present.data, x.data);
  EXPECT_EQ(total.data, (std::vector<float>{6, 15}));
  Floats step = floats("x", {2, 1}, 7), grown = floats("present", {2, 4});
  present.name = "past";
  comm_tensor in2[] = {step.view(), present.view()}, out2[] = {grown.view()}; // total is not asked for
  ASSERT_EQ(comm_session_run(s.get(), 1, in2, 2, out2, 1), COMM_OK) << comm_last_error();
  EXPECT_EQ(grown.data, (std::vector<float>{1, 2, 3, 7, 4, 5, 6, 8}));
}

/// Every kind of collective on one axis of a [2, ranks] grid: the wrong group shows as a wrong number.
Executable makeZoo(int64_t ranks) {
  Executable exe;
  exe.compilerVersion = exe.modelName = "zoo";
  auto build = [&](std::vector<Axis> axes) {
    ProgramBuilder b(std::move(axes));
    bool split = !b.program.grid.axes.empty();
    int64_t r = split ? ranks : 1;
    std::vector<int32_t> values;
    // x holds 2 * ranks rows of 2; rank (d, t) has row d * ranks + t.
    Layout rows = split ? splitOn(2, 0, {"dp", "tp"}) : Layout{};
    if (!split) {
      int32_t x = b.input("x", {2 * ranks, 2});
      for (auto [name, rowsOut] : {std::make_pair("gathered", 2 * ranks * ranks), std::make_pair("moved", 2 * ranks),
                                   std::make_pair("root", 2 * ranks), std::make_pair("scattered", 2 * ranks)}) {
        (void)x;
        b.command("fill", {}, {b.output(name, {rowsOut, 2})}, {{"value", 0.0}});
      }
      return b.program;
    }
    int32_t mine = b.comm({1, 2}), all = b.comm({r, 2}), moved = b.comm({1, 2}), root = b.comm({1, 2}),
            scattered = b.comm({1, 2});
    b.program.inputs.push_back(
        {"x", DType::F32, {2 * ranks, 2}, rows, mine}); // copied into the arena before the first command
    b.collective("all_gather", mine, all, {"tp"});
    int64_t token = b.start("permute", mine, moved, {"tp"}, {{"shift", int64_t(1)}});
    int64_t token2 = b.start("broadcast", mine, root, {"tp"}, {{"root", r - 1}});
    b.copy(all, b.output("gathered", {2 * ranks * ranks, 2}, splitOn(2, 0, {"dp", "tp"})));
    b.wait(token2);
    b.wait(token);
    b.collective("reduce_scatter", all, scattered, {"tp"}, {{"reduce", std::string("sum")}});
    b.outputOf("moved", moved, {2 * ranks, 2}, rows);
    b.outputOf("root", root, {2 * ranks, 2}, rows);
    b.outputOf("scattered", scattered, {2 * ranks, 2}, rows);
    return b.program;
  };
  exe.entries.push_back({"main", build({{"dp", 2}, {"tp", ranks}}), build({}), {}});
  return exe;
}

TEST_P(Ranks, SubGroupsOfATwoDimensionalGrid) {
  int64_t n = ranks();
  ExecutableHandle e = load(saveExecutable(makeZoo(n), folder / "z.commx"));
  SessionHandle s = open(e, options());
  ASSERT_TRUE(s);
  Floats x = floats("x", {2 * n, 2}), gathered = floats("gathered", {2 * n * n, 2}, NAN),
         moved = floats("moved", {2 * n, 2}, NAN), root = floats("root", {2 * n, 2}, NAN),
         scattered = floats("scattered", {2 * n, 2}, NAN);
  comm_tensor in = x.view(), out[] = {gathered.view(), moved.view(), root.view(), scattered.view()};
  ASSERT_EQ(comm_session_run(s.get(), 0, &in, 1, out, 4), COMM_OK) << comm_last_error();
  auto row = [&](const std::vector<float> &v, int64_t i) {
    return std::vector<float>{v[static_cast<size_t>(2 * i)], v[static_cast<size_t>(2 * i + 1)]};
  };
  for (int64_t d = 0; d < 2; ++d)
    for (int64_t t = 0; t < n; ++t) {
      int64_t rank = d * n + t;
      for (int64_t j = 0; j < n; ++j)
        EXPECT_EQ(row(gathered.data, rank * n + j), row(x.data, d * n + j));
      EXPECT_EQ(row(moved.data, rank), row(x.data, d * n + (t + n - 1) % n)); // from the left neighbour
      EXPECT_EQ(row(root.data, rank), row(x.data, d * n + n - 1));
      std::vector<float> sum = row(x.data, d * n + t);
      for (float &v : sum)
        v *= static_cast<float>(n); // every member holds the same gathered rows
      EXPECT_EQ(row(scattered.data, rank), sum);
    }
}

// The fused collective in all its variants: sums are exact, norms close, and the NaN beyond the last row is nowhere.
TEST_P(Ranks, ScatterNormGather) {
  const float gain[] = {1, 2, -1, 0}, bias[] = {1, 2, -1, 1}, shift[] = {1, 2, -1, 2};
  for (int variant : {0, 1, 2, 3, 7, 8, 15})
    for (int64_t rows : {4, 5, 7, 9}) {
      ExecutableHandle e = load(saveExecutable(makeScatterNorm(ranks(), rows, variant), folder / "s.commx"));
      SessionHandle s = open(e, options());
      ASSERT_TRUE(s);
      for (int run = 0; run < 2; ++run) {
        Floats x = floats("x", {rows, 4}, static_cast<float>(run)), r = floats("r", {rows, 4}, -3),
               normed = floats("normed", {rows, 4}, NAN), sum = floats("sum", {rows, 4}, NAN);
        comm_tensor in[] = {x.view(), r.view()}, out[] = {normed.view(), sum.view()};
        ASSERT_EQ(comm_session_run(s.get(), 0, in, 2, out, 2), COMM_OK) << comm_last_error();
        for (size_t row = 0; row < static_cast<size_t>(rows); ++row) {
          float mean = 0, square = 0;
          for (size_t i = row * 4; i < row * 4 + 4; ++i) {
            EXPECT_EQ(sum.data[i],
                      x.data[i] * static_cast<float>(ranks()) + ((variant & 2) ? bias[i % 4] : 0) + r.data[i])
                << rows << " rows, variant " << variant;
            mean += (variant & 1) ? sum.data[i] / 4 : 0;
          }
          for (size_t i = row * 4; i < row * 4 + 4; ++i)
            square += (sum.data[i] - mean) * (sum.data[i] - mean) / 4;
          for (size_t i = row * 4; i < row * 4 + 4; ++i)
            EXPECT_NEAR(normed.data[i],
                        (sum.data[i] - mean) / std::sqrt(square + 1e-3F) * gain[i % 4] +
                            ((variant & 4) ? shift[i % 4] : 0),
                        1e-5)
                << rows << " rows, variant " << variant;
        }
        comm_session_stats stats = {};
        stats.struct_size = sizeof(stats);
        ASSERT_EQ(comm_session_stats_get(s.get(), &stats), COMM_OK);
        EXPECT_EQ(stats.collectives_executed, 1) << "one command is one collective";
      }
    }
}

/// y = table[ids], rows of the table split over ranks, one all_reduce; another collective is in flight meanwhile.
Executable makeEmbedding(int64_t ranks) {
  Executable exe;
  exe.compilerVersion = exe.modelName = "embedding";
  std::vector<float> table(10 * 3);
  for (size_t i = 0; i < table.size(); ++i)
    table[i] = static_cast<float>(i);
  addWeight(exe, "table", {10, 3}, table, splitOn(2, 0, {"tp"}));
  auto build = [&](std::vector<Axis> axes) {
    ProgramBuilder b(std::move(axes));
    bool split = !b.program.grid.axes.empty();
    std::vector<std::string> over = split ? std::vector<std::string>{"tp"} : std::vector<std::string>{};
    int32_t partial = b.comm({4, 3}), sum = b.comm({4, 3}), other = b.comm({8}), moved = b.comm({8});
    int32_t ids = b.input("ids", {4}, {}, DType::I64);
    int64_t rows = shardRange(10, {{"tp"}, 1}, b.program.grid, 0).local;
    b.command("fill", {}, {other}, {{"value", 1.0}});
    int64_t token = b.start("all_reduce", other, moved, over, {{"reduce", std::string("sum")}});
    b.command("embedding", {b.weight(0, {rows, 3}), ids}, {partial}, {{"vocab", int64_t(10)}, {"axes", over}}).label =
        "words";
    b.wait(token);
    b.collective("all_reduce", partial, sum, over, {{"reduce", std::string("sum")}});
    b.outputOf("y", sum, {4, 3});
    return b.program;
  };
  exe.entries.push_back({"main", build({{"tp", ranks}}), build({}), {}});
  return exe;
}

// An id that is out of range is the caller's fault: named, and the session goes on.
TEST_P(Ranks, BadDataFailsTheRunOnly) {
  ExecutableHandle e = load(saveExecutable(makeEmbedding(ranks()), folder / "e.commx"));
  SessionHandle s = open(e, options());
  ASSERT_TRUE(s);
  for (int round = 0; round < 3; ++round)
    for (int64_t bad : {int64_t(-2), int64_t(10), int64_t(-11), INT64_MAX}) {
      int64_t dims[] = {4}, ids[] = {0, 9, bad, 4};
      Floats y = floats("y", {4, 3}, NAN);
      comm_tensor in{"ids", COMM_I64, 1, dims, ids, sizeof(ids)}, out = y.view();
      comm_status status = comm_session_run(s.get(), 0, &in, 1, &out, 1);
      if (bad == -2) { // counts from the end
        ASSERT_EQ(status, COMM_OK) << comm_last_error();
        EXPECT_EQ(y.data, (std::vector<float>{0, 1, 2, 27, 28, 29, 24, 25, 26, 12, 13, 14}));
      } else {
        EXPECT_EQ(status, COMM_INVALID_ARGUMENT);
        EXPECT_NE(std::string(comm_last_error()).find("words"), std::string::npos) << comm_last_error();
      }
    }
}

TEST_P(Ranks, TraceHasEveryCommandOfEveryRank) {
  comm_session_options o = options();
  o.trace = 1;
  ExecutableHandle e = load(saveExecutable(makeRowParallelMatmul(ranks(), 3, 8, 5, true), folder / "m.commx"));
  SessionHandle s = open(e, o);
  ASSERT_TRUE(s);
  EXPECT_EQ(comm_session_trace(s.get()), nullptr); // nothing ran
  Floats x = floats("x", {3, 8});
  comm_tensor in = x.view();
  ASSERT_EQ(comm_session_run(s.get(), 0, &in, 1, nullptr, 0), COMM_OK) << comm_last_error();
  const char *text = comm_session_trace(s.get());
  ASSERT_NE(text, nullptr);
  auto json = nlohmann::json::parse(text);
  std::map<std::string, int> categories, phases;
  std::map<int64_t, std::string> arrows;
  for (const auto &event : json["traceEvents"]) {
    ++phases[event["ph"]];
    if (event["ph"] == "X") {
      ++categories[event["cat"]];
      EXPECT_GE(event["ts"].get<double>(), 0);
      EXPECT_GE(event["dur"].get<double>(), 0);
      EXPECT_LT(event["pid"].get<int>(), ranks());
    } else if (event["ph"] != "M")
      arrows[event["id"]] += event["ph"].get<std::string>();
  }
  EXPECT_EQ(categories["compute"], 2 * ranks()); // matmul, copy
  EXPECT_EQ(categories["communication"], ranks());
  EXPECT_EQ(categories["exposed"], ranks());
  EXPECT_EQ(arrows.size(), static_cast<size_t>(ranks()));
  for (auto &[id, path] : arrows) {
    std::sort(path.begin(), path.end());
    EXPECT_EQ(path, "fst");
  }
}

INSTANTIATE_TEST_SUITE_P(All, Ranks,
                         testing::Combine(testing::Values(1, 2, 3, 4),
                                          testing::Values(COMM_RANKS_THREADS, COMM_RANKS_PROCESSES)),
                         [](const auto &info) {
                           return std::to_string(std::get<0>(info.param)) +
                                  (std::get<1>(info.param) == COMM_RANKS_THREADS ? "Threads" : "Processes");
                         });
} // namespace
