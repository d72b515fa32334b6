//===- TokenWeaveTest.cpp - the simulated experiment ----------------------===//
#include "comm/Simulator/TokenWeave.h"
#include "SimTest.h"
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>

namespace comm::test {
namespace {
using sim::WeavePlan;

/// A study whose numbers make sums: fused kernels take what their tokens are, 10 us at least.
nlohmann::json sample() {
  std::vector<double> tokens = {64, 1024}, us = {64, 1024};
  nlohmann::json kernels = {{"tokens", tokens}};
  for (const char *name : {"all_reduce", "norm", "norm_shard", "reduce_scatter", "all_gather", "fused",
                           "reduce_scatter_library", "all_gather_library"})
    kernels[name] = us;
  nlohmann::json point = {{"tokens", 512},  {"attention_units", 8}, {"mlp_units", 4}, {"offset", 128},
                          {"base_ms", 2.0}, {"deleted_ms", 1.0},    {"split_ms", 1.5}};
  nlohmann::json model = {{"name", "m"},  {"ranks", 8},    {"layers", 3},      {"hidden", 8192},
                          {"heads", 64},  {"kv_heads", 8}, {"head_dim", 128},  {"inter", 8192},
                          {"experts", 0}, {"topk", 0},     {"points", {point}}};
  return {{"format", "commc-token-weave"},
          {"version", 1},
          {"source", "made up"},
          {"launch_us", 1.0},
          {"join_us", 2.0},
          {"collective_factor", 1.0},
          {"kernels", kernels},
          {"units",
           {{"units", {4, 8, 16}},
            {"rows", {{{"tokens", 64}, {"fused", {40, 20, 10}}}, {{"tokens", 1024}, {"fused", {40, 20, 10}}}}}}},
          {"models", {model}}};
}

bool load(const nlohmann::json &json, sim::WeaveStudy &study, std::string &error) {
  std::string path = testing::TempDir() + "study.json";
  std::ofstream(path) << json.dump();
  bool ok = sim::loadWeaveStudy(path, study, error);
  std::remove(path.c_str());
  return ok;
}

cost::CostModel h100() {
  cost::Topology topology;
  std::string error;
  EXPECT_TRUE(cost::loadTopology("h100_sxm", topology, error)) << error;
  return cost::CostModel(topology);
}

struct TokenWeave : testing::Test {
  void SetUp() override { ASSERT_TRUE(load(sample(), study, error)) << error; }
  const sim::WeaveModel &model() const { return study.models[0]; }
  const sim::WeavePoint &point() const { return study.models[0].points[0]; }
  sim::SimResult run(WeavePlan plan, sim::WeaveProgram &p) {
    machine.build(study, model(), point(), plan, p);
    sim::SimOptions options;
    options.ranksPerNode = 8;
    sim::SimResult r;
    EXPECT_TRUE(sim::simulate(p.program, *p.costs, options, r, error)) << error;
    return r;
  }
  sim::WeaveStudy study;
  std::string error;
  sim::WeaveMachine machine{h100()};
};

TEST_F(TokenWeave, TablesAreInterpolated) {
  EXPECT_DOUBLE_EQ(study.kernels.of("norm", 544), 544);
  EXPECT_DOUBLE_EQ(study.kernels.of("norm", 1), 64);
  EXPECT_DOUBLE_EQ(study.kernels.of("norm", 2048), 2048); // the last line goes on
  EXPECT_DOUBLE_EQ(study.kernels.of("no such kernel", 64), 0);
  EXPECT_DOUBLE_EQ(study.kernels.fused(512, 0), 512);
  EXPECT_DOUBLE_EQ(study.kernels.fused(512, 4), 4 * 512);
  EXPECT_DOUBLE_EQ(study.kernels.fused(512, 12), 1.5 * 512);
}

TEST_F(TokenWeave, PlainIsASum) {
  sim::WeaveProgram p, without;
  sim::SimResult plain = run(WeavePlan::Plain, p), deleted = run(WeavePlan::Deleted, without);
  // Two collectives in a layer of three, each as long as its tokens.
  EXPECT_NEAR(plain.stepUs - deleted.stepUs, 6 * 512, 1e-6);
  EXPECT_NEAR(plain.critical().exposedUs, 6 * 512, 1e-6);
  // Unfused: scatter, own rows, gather for reduce, all rows.
  sim::WeaveProgram u;
  EXPECT_NEAR(run(WeavePlan::Unfused, u).stepUs - plain.stepUs, 6 * 512, 1e-6);
}

// Four windows a layer, the first without its collective, and the exposed last one.
TEST_F(TokenWeave, SplitHasFourWindows) {
  sim::WeaveProgram p;
  sim::SimResult r = run(WeavePlan::Split, p);
  const auto &c = r.critical().collectives;
  ASSERT_EQ(c.size(), 3u * 4);
  // Prefix 384, suffix 128 tokens; 8 SMs beside attention (twice the time), 4 beside the MLP (four times).
  EXPECT_NEAR(c[0].movedUs, 2 * 384, 1e-6);
  EXPECT_NEAR(c[1].movedUs, 4 * 128, 1e-6);
  EXPECT_NEAR(c[2].movedUs, 4 * 384, 1e-6);
  EXPECT_NEAR(c[3].movedUs, 2 * 128, 1e-6);
  EXPECT_NEAR(c.back().movedUs, 128, 1e-6);
  EXPECT_NEAR(c.back().exposedUs, 128, 1e-6);
  EXPECT_GT(r.critical().hiddenUs, 0);
}

TEST_F(TokenWeave, ClockMeetsThePublishedBound) {
  sim::WeaveProgram p;
  double before = run(WeavePlan::Deleted, p).stepUs;
  double factor = machine.fitClock(study);
  double after = run(WeavePlan::Deleted, p).stepUs;
  EXPECT_EQ(factor > 1, after > before);
  if (factor > 0.26 && factor < 3.9)
    EXPECT_NEAR(after, 1000 * point().deletedMs, 0.01);
}

TEST_F(TokenWeave, BadStudies) {
  auto errorOf = [&](const char *path, nlohmann::json value) {
    nlohmann::json json = sample();
    json[nlohmann::json::json_pointer(path)] = std::move(value);
    sim::WeaveStudy other;
    std::string text;
    EXPECT_FALSE(load(json, other, text)) << path;
    return text;
  };
  EXPECT_NE(errorOf("/format", "else").find("no study"), std::string::npos);
  EXPECT_NE(errorOf("/version", 2).find("no study"), std::string::npos);
  EXPECT_NE(errorOf("/launch_us", -1).find("'launch_us'"), std::string::npos);
  EXPECT_NE(errorOf("/kernels/fused", {1, 2, 3}).find("'fused'"), std::string::npos);
  EXPECT_NE(errorOf("/kernels/tokens", {1024, 64}).find("does not rise"), std::string::npos);
  EXPECT_NE(errorOf("/kernels", 3).find("'kernels'"), std::string::npos);
  EXPECT_NE(errorOf("/units/rows", nlohmann::json::array()).find("'rows'"), std::string::npos);
  EXPECT_NE(errorOf("/models/0/ranks", 7).find("divides neither"), std::string::npos);
  EXPECT_NE(errorOf("/models/0/points/0/offset", 256).find("'offset'"), std::string::npos);
  EXPECT_NE(errorOf("/models/0/points/0/split_ms", "fast").find("'split_ms'"), std::string::npos);
  EXPECT_NE(errorOf("/models/0/layers", 1e12).find("'layers'"), std::string::npos);
  sim::WeaveStudy none;
  EXPECT_FALSE(sim::loadWeaveStudy("/nonexistent/study.json", none, error));
}

} // namespace
} // namespace comm::test
