//===- TuningTest.cpp - tuning files: rows, gaps, broken files -------------===//
#include "comm/Cost/CostModel.h"
#include <cmath>
#include <fstream>
#include <gtest/gtest.h>

using namespace comm::cost;

namespace {

CostModel load(const std::string &name) {
  Topology t;
  std::string error;
  EXPECT_TRUE(loadTopology(name, t, error)) << error;
  return CostModel(t);
}

std::string write(const std::string &text) {
  std::string path = ::testing::TempDir() + "/tuning.json";
  std::ofstream(path) << text;
  return path;
}

std::string file(const std::string &sections) {
  return write(R"({"format": "commc-tuning", "version": 1)" + (sections.empty() ? "" : ", " + sections) + "}");
}

CollectiveQuery allReduce(int64_t ranks, int64_t bytes) {
  CollectiveQuery q;
  q.op = "all_reduce";
  q.ranks = ranks;
  q.bytes = bytes;
  return q;
}

TEST(Tuning, RowsOverrideFormulas) {
  CostModel model = load("cpu");
  std::string error;
  ASSERT_TRUE(model.addTuning(file(R"("collectives": [{"op": "all_reduce", "ranks": 2, "bytes": 4096, "us": 7},
    {"op": "all_reduce", "ranks": 2, "bytes": 16384, "us": 20}],
    "gemm": [{"dtype": "f32", "m": 64, "n": 64, "k": 64, "us": 99}], "memory": [{"bytes": 1000, "us": 3},
    {"kind": "loop", "bytes": 1000, "us": 8}],
    "attention": [{"dtype": "f32", "new_tokens": 16, "heads": 4, "head_dim": 64, "us": 44}], "chunk_overhead_us": 9)"),
                              error))
      << error;
  EXPECT_NEAR(model.collectiveUs(allReduce(2, 4096)), 7, 1e-9);
  EXPECT_NEAR(model.collectiveUs(allReduce(2, 16384)), 20, 1e-9);
  double between = model.collectiveUs(allReduce(2, 8192));
  EXPECT_GT(between, 7);
  EXPECT_LT(between, 20);
  GemmQuery gemm;
  gemm.m = gemm.n = gemm.k = 64;
  EXPECT_NEAR(model.gemmUs(gemm), 99, 1e-9);
  EXPECT_NEAR(model.memoryUs({1000, 0, "f32"}), 3, 1e-9);
  EXPECT_NEAR(model.memoryUs({1000, 0, "f32", "loop"}), 8, 1e-9);
  EXPECT_NEAR(model.memoryUs({1000, 0, "f32", "norm"}), 3, 1e-9); // no rows of its own
  AttentionQuery attention;
  attention.newTokens = 16;
  attention.heads = attention.kvHeads = 4;
  attention.headDim = 64;
  EXPECT_NEAR(model.attentionUs(attention), 44, 1e-6);
  EXPECT_EQ(model.chunkOverheadUs(), 9);
}

TEST(Tuning, AMissingRowIsTheFormula) {
  CostModel plain = load("cpu"), tuned = load("cpu");
  std::string error;
  ASSERT_TRUE(tuned.addTuning(file(""), error)) << error; // an empty file changes nothing
  EXPECT_EQ(tuned.collectiveUs(allReduce(4, 1 << 20)), plain.collectiveUs(allReduce(4, 1 << 20)));
  ASSERT_TRUE(
      tuned.addTuning(file(R"("collectives": [{"op": "all_gather", "ranks": 2, "bytes": 4096, "us": 70}])"), error));
  EXPECT_EQ(tuned.collectiveUs(allReduce(4, 1 << 20)), plain.collectiveUs(allReduce(4, 1 << 20)));
  GemmQuery gemm;
  gemm.m = gemm.n = gemm.k = 64;
  EXPECT_EQ(tuned.gemmUs(gemm), plain.gemmUs(gemm));
}

// A row of one measuring mode says nothing about the other.
TEST(Tuning, GraphRowsAreNotEagerRows) {
  CostModel plain = load("h200_sxm"), tuned = load("h200_sxm");
  std::string error;
  ASSERT_TRUE(tuned.addTuning(
      file(R"("collectives": [{"op": "all_reduce", "ranks": 2, "bytes": 4096, "graph": true, "us": 700}])"), error));
  EXPECT_EQ(tuned.collectiveUs(allReduce(2, 4096)), plain.collectiveUs(allReduce(2, 4096)));
  CollectiveQuery graph = allReduce(2, 4096);
  graph.graph = true;
  EXPECT_NEAR(tuned.collectiveUs(graph), 700, 1e-6);
}

// Rows measured in shared memory do not speak of links between nodes.
TEST(Tuning, LinksKeepTheirFormula) {
  CostModel plain = load("cpu@1Gbit,50us"), tuned = load("cpu@1Gbit,50us");
  std::string error;
  ASSERT_TRUE(tuned.addTuning(
      file(R"("collectives": [{"op": "all_reduce", "ranks": 2, "bytes": 4096, "us": 1}], "core_share": 0.9)"), error));
  EXPECT_EQ(tuned.collectiveUs(allReduce(2, 4096)), plain.collectiveUs(allReduce(2, 4096)));
  EXPECT_EQ(tuned.topology().coreShare, plain.topology().coreShare);
}

TEST(Tuning, ChangesTheFingerprintAndNotItsCopies) {
  CostModel model = load("cpu"), copy = model;
  std::string before = model.fingerprint(), error;
  double us = copy.memoryUs({1 << 20, 0, "f32"});
  ASSERT_TRUE(model.addTuning(file(R"("device": {"memory_bytes_per_us": 5000}, "core_share": 0.7)"), error)) << error;
  EXPECT_NE(model.fingerprint(), before);
  EXPECT_EQ(copy.fingerprint(), before);
  EXPECT_EQ(copy.memoryUs({1 << 20, 0, "f32"}), us);
  EXPECT_GT(model.memoryUs({1 << 20, 0, "f32"}), us);
  EXPECT_EQ(model.topology().coreShare, 0.7);
}

TEST(Tuning, BrokenFilesAreOneSentenceAndChangeNothing) {
  const std::pair<std::string, const char *> cases[] = {
      {"", "empty"},
      {"{\"format\": \"commc-tuning\"", "not JSON"},
      {"[]", "not a tuning file"},
      {R"({"format": "else"})", "not a tuning file"},
      {R"({"format": "commc-tuning", "version": 2})", "version"},
      {R"({"format": "commc-tuning", "version": 1, "gemm": {}})", "not a list"},
      {R"({"format": "commc-tuning", "version": 1, "gemm": [5]})", "not an object"},
      {R"({"format": "commc-tuning", "version": 1, "gemm": [{"m": 1, "n": 1, "us": 1}]})", "lacks 'k'"},
      {R"({"format": "commc-tuning", "version": 1, "gemm": [{"m": -1, "n": 1, "k": 1, "us": 1}]})", "'m' is not"},
      {R"({"format": "commc-tuning", "version": 1, "gemm": [{"m": 1e99, "n": 1, "k": 1, "us": 1}]})", "'m' is not"},
      {R"({"format": "commc-tuning", "version": 1, "memory": [{"bytes": 5, "us": 0}]})", "'us' is not"},
      {R"({"format": "commc-tuning", "version": 1, "memory": [{"bytes": 5, "us": "1"}]})", "'us' is not"},
      {R"({"format": "commc-tuning", "version": 1, "memory": [{"bytes": 5}]})", "lacks 'us'"},
      {R"({"format": "commc-tuning", "version": 1, "collectives": [{"op": "gossip", "ranks": 2, "bytes": 8, "us": 1}]})",
       "unknown op"},
      {R"({"format": "commc-tuning", "version": 1, "device": {"launch_us": 1e400}})", ""},
      {R"({"format": "commc-tuning", "version": 1, "device": 7})", "not an object"},
      {R"({"format": "commc-tuning", "version": 1, "core_share": 2})", "core_share"},
      {std::string(200000, '['), ""},
  };
  for (const auto &[text, expected] : cases) {
    CostModel model = load("cpu");
    std::string before = model.fingerprint(), error;
    EXPECT_FALSE(model.addTuning(write(text), error)) << text.substr(0, 100);
    EXPECT_NE(error.find(expected), std::string::npos) << error;
    EXPECT_FALSE(error.empty());
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
    EXPECT_EQ(model.fingerprint(), before);
  }
  CostModel model = load("cpu");
  std::string error;
  EXPECT_FALSE(model.addTuning("/no/such/file.json", error));
}

} // namespace
