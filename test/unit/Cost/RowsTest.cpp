//===- RowsTest.cpp - CSV rows, interpolation, the built-in tables ---------===//
#include "comm/Cost/Rows.h"
#include "lib/Cost/BuiltIn.h"
#include "lib/Cost/Measured.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace comm::cost;

namespace {

CostModel load(const std::string &name) {
  Topology t;
  std::string error;
  EXPECT_TRUE(loadTopology(name, t, error)) << error;
  return CostModel(t);
}

TEST(Rows, KindsAreRecognisedByTheirColumns) {
  const std::pair<const char *, RowKind> texts[] = {
      {"system,library,library_version,table,op,dtype,ranks,bytes,cuda_graph\nh200_sxm,nccl,,,all_reduce,f16,8,1024,"
       "0\n",
       RowKind::Collective},
      {"system,framework,version,dtype,m,n,k\nh200_sxm,sglang,,bf16,1,2,3\n", RowKind::Gemm},
      {"system,framework,version,kernel,phase,dtype,batch,new_tokens,past_tokens,heads,kv_heads,head_dim,window\n"
       "h200_sxm,sglang,,fa3,context,bf16,1,128,0,32,8,128,0\n",
       RowKind::Attention},
      {"system,framework,version,kernel,dtype,distribution,hidden,inter,topk,experts,tp,ep,tokens\n"
       "h200_sxm,trtllm,,x,bf16,balanced,4096,1536,8,128,1,4,64\r\n",
       RowKind::Moe}};
  for (const auto &[text, kind] : texts) {
    RowTable table;
    std::vector<std::string> problems;
    ASSERT_TRUE(readRows(text, table, problems)) << problems[0];
    EXPECT_EQ(table.kind, kind);
    ASSERT_EQ(table.rows.size(), 1u);
    EXPECT_GT(predictUs(load(table.rows[0].system), kind, table.rows[0]), 0);
  }
}

TEST(Rows, AllProblemsAtOnceWithTheirLines) {
  RowTable table;
  std::vector<std::string> problems;
  EXPECT_FALSE(readRows("system,m,n,k\nh200_sxm,1,2,3\nh200_sxm,0,2,3\nh200_sxm,1,2\nh200_sxm,1,2,x\n,1,2,3\n", table,
                        problems));
  ASSERT_EQ(problems.size(), 4u);
  EXPECT_EQ(problems[0], "line 3: m is '0', not a whole number of at least 1");
  EXPECT_EQ(problems[1], "line 4: has 3 fields, the header 4");
  EXPECT_EQ(problems[2].rfind("line 5: k is 'x'", 0), 0u);
  EXPECT_EQ(problems[3].rfind("line 6: system", 0), 0u);
  for (const char *text : {"", "\n", "a,b\n1,2\n", "system,m,n,k,m\nh200_sxm,1,1,1,1\n", "system,op,ranks\n"}) {
    problems.clear();
    EXPECT_FALSE(readRows(text, table, problems)) << text;
    EXPECT_EQ(problems.size(), 1u);
  }
  problems.clear();
  EXPECT_FALSE(readRows("system,op,ranks,bytes\nh200_sxm,gossip,8,5\nh200_sxm,all_reduce,8,99999999999999999999\n"
                        "h200_sxm,all_reduce,8,-4\nh200_sxm,all_reduce,8,4.5\n",
                        table, problems));
  EXPECT_EQ(problems.size(), 4u);
}

KrigingModel line() {
  KrigingModel model;
  model.sizes = model.names = 1;
  model.noise = 1e-8;
  model.terms = {{1, {3}, {0.2}}};
  return model;
}

KrigingPoint at(float size, int name = 0) {
  KrigingPoint p;
  p.sizes[0] = size;
  p.names[0] = name;
  return p;
}

TEST(Kriging, GoesThroughItsRowsAndBetweenThem) {
  Kriging rows(line());
  for (int i = 0; i < 10; ++i)
    rows.add(at(static_cast<float>(i)), std::sin(0.5 * i));
  for (int i = 0; i < 10; ++i)
    EXPECT_NEAR(rows.at(at(static_cast<float>(i))), std::sin(0.5 * i), 1e-3);
  EXPECT_NEAR(rows.at(at(4.5f)), std::sin(2.25), 0.05);
  EXPECT_EQ(rows.at(at(4.5f)), rows.at(at(4.5f))); // remembered
}

// Three rows against the formula of the best linear prediction, solved by hand with Cramer's rule.
TEST(Kriging, MatchesTheFormula) {
  Kriging rows(line());
  const double x[] = {0, 1, 3}, y[] = {1, -1, 3};
  for (int i = 0; i < 3; ++i)
    rows.add(at(static_cast<float>(x[i])), y[i]);
  auto cov = [](double a, double b) {
    double z = 1.7320508 * std::fabs(a - b) / 3;
    return (1 + z) * std::exp(-z);
  };
  double a = cov(0, 1), b = cov(0, 3), c = cov(1, 3), target[] = {cov(2, 0), cov(2, 1), cov(2, 3)};
  double det = 1 + 2 * a * b * c - a * a - b * b - c * c;
  double inverse[3][3] = {
      {1 - c * c, b * c - a, a * c - b}, {b * c - a, 1 - b * b, a * b - c}, {a * c - b, a * b - c, 1 - a * a}};
  double value = 1; // the mean of the rows
  for (int i = 0; i < 3; ++i)
    for (int j = 0; j < 3; ++j)
      value += target[i] * inverse[i][j] / det * (y[j] - 1);
  EXPECT_NEAR(rows.at(at(2)), value, 1e-5);
}

TEST(Kriging, OneWildRowIsFoundAndCountsLess) {
  KrigingModel model = line();
  model.noise = 2e-2;
  Kriging rows(model);
  std::vector<int> groups;
  for (int i = 0; i < 20; ++i) {
    rows.add(at(0.5f * static_cast<float>(i)), i == 9 ? 1.0 : 0.0);
    groups.push_back(i);
  }
  rows.findOutliers(groups);
  EXPECT_EQ(rows.level(9), 3);
  EXPECT_EQ(rows.level(2), 0);
  EXPECT_LT(std::fabs(rows.at(at(4.75f))), 0.3);
}

TEST(Tables, TextSurvives) {
  std::vector<Row> rows;
  for (int64_t m : {1, 16, 4096})
    for (int64_t n : {64, 128}) {
      Row row;
      row.system = "h200_sxm";
      row.gemm.framework = "sglang";
      row.gemm.dtype = "bf16";
      row.gemm.m = m;
      row.gemm.n = n;
      row.gemm.k = 512;
      row.latencyUs = 3.0 + static_cast<double>(m * n) / 1e3;
      rows.push_back(row);
    }
  std::string text = writeTable(RowKind::Gemm, rows, {0, 1, 2, 3, 0, 0}, "notice"), error;
  EXPECT_EQ(text.rfind("# notice\n", 0), 0u);
  Measured measured;
  ASSERT_TRUE(measured.addTable(text, "", error)) << error;
  const Kriging *pool = measured.pool(RowKind::Gemm, rows[0], "h200_sxm");
  ASSERT_TRUE(pool);
  ASSERT_EQ(pool->size(), rows.size());
  for (size_t r = 0; r < pool->size(); ++r) // the table is sorted by weight, then m
    for (const Row &row : rows) {
      KrigingPoint p = Measured::pointOf(RowKind::Gemm, row, "h200_sxm");
      if (p.sizes[0] != pool->point(r).sizes[0] || p.sizes[1] != pool->point(r).sizes[1])
        continue;
      double us = std::exp(pool->value(r)) * Measured::formulaUs(Measured::preset("h200_sxm"), RowKind::Gemm, row);
      EXPECT_NEAR(us, row.latencyUs, 0.003 * row.latencyUs);
    }
  for (const char *bad :
       {"columns system m\naxis n 1\n0,h200_sxm,1|5,6\n", "axis m 1\nnonsense\n",
        "columns system n k\naxis m 1 2\n0,h200_sxm,x,1|5\n", "columns system n k\naxis m 1 2\n2,1|5\n"})
    EXPECT_FALSE(measured.addTable(bad, "", error)) << bad;
}

TEST(Tables, AllBuiltInTablesAreSound) {
  for (const char *text : {collectivesTable, gemmTable, attentionTable, moeTable}) {
    Measured measured;
    std::string error;
    EXPECT_TRUE(measured.addTable(text, "", error)) << error;
    size_t rows = 0;
    for (auto &[key, pool] : measured.pools())
      rows += pool->size();
    EXPECT_GT(rows, 5000u);
    EXPECT_NE(std::string(text).find("Apache License"), std::string::npos); // the notice travels with the numbers
  }
}

// Published points that the tables were fitted to, or that stand beside them.
TEST(Tables, Anchors) {
  const struct {
    const char *system, *op;
    int64_t ranks, bytes;
    double us, tolerance;
  } anchors[] = {
      {"h200_sxm", "all_reduce", 8, 4096, 16.0, 0.1},     {"h200_sxm", "all_reduce", 8, 1 << 20, 26.1, 0.1},
      {"h200_sxm", "all_reduce", 8, 16 << 20, 122, 0.05}, {"h200_sxm", "all_reduce", 8, 256 << 20, 1053, 0.05},
      {"h200_sxm", "all_gather", 4, 4 << 20, 35.9, 0.1},  {"h200_sxm", "all_to_all", 8, 64 << 20, 219, 0.1},
      {"b200_sxm", "all_reduce", 8, 64 << 20, 278, 0.15}, {"a100_sxm", "all_reduce", 2, 256 << 20, 1430, 0.1},
      {"l40s", "all_reduce", 8, 64 << 20, 55412, 0.25}};
  for (const auto &a : anchors) {
    CollectiveQuery q;
    q.op = a.op;
    q.dtype = "f16";
    q.library = "nccl";
    q.version = "2.29.2";
    q.ranks = a.ranks;
    q.bytes = a.bytes;
    EXPECT_NEAR(load(a.system).collectiveUs(q), a.us, a.tolerance * a.us)
        << a.system << a.op << a.ranks << " " << a.bytes;
  }
  // A captured one-shot all-reduce of two ranks: four to five times below the library.
  CollectiveQuery q;
  q.op = "all_reduce";
  q.dtype = "bf16";
  q.library = "trtllm";
  q.graph = true;
  q.ranks = 8;
  q.bytes = 32768;
  EXPECT_NEAR(load("h200_sxm").collectiveUs(q), 3.9, 0.4);
}

// A version says as much as the name of the run that measured it; of a run that nobody knows only the version counts.
TEST(Tables, UnknownRunsAreKnownByTheirVersion) {
  CostModel model = load("h200_sxm");
  CollectiveQuery q;
  q.op = "all_reduce";
  q.dtype = "bf16";
  q.library = "vllm";
  q.graph = true;
  q.ranks = 8;
  q.bytes = 1 << 20;
  q.table = "vllm-0.19.0";
  q.version = "0.19.0";
  double named = model.collectiveUs(q);
  q.table = "";
  EXPECT_EQ(model.collectiveUs(q), named);
  q.table = "somebody-else";
  EXPECT_EQ(model.collectiveUs(q), named);
  q.version = "99";
  EXPECT_NE(model.collectiveUs(q), named);
}

TEST(Tables, UnmeasuredSystemsFollowTheirRelatives) {
  CollectiveQuery q;
  q.op = "all_gather";
  q.dtype = "f16";
  q.library = "nccl";
  q.ranks = 4;
  q.bytes = 64 << 20;
  EXPECT_NEAR(load("h100_sxm").collectiveUs(q) / load("h200_sxm").collectiveUs(q), 1, 0.02);
  EXPECT_NEAR(load("gb200").collectiveUs(q) / load("b200_sxm").collectiveUs(q), 1, 0.1);
  GemmQuery weights; // bound by memory: the slower memory shows
  weights.dtype = "bf16";
  weights.framework = "sglang";
  weights.m = 1;
  weights.n = weights.k = 8192;
  EXPECT_GT(load("h100_sxm").gemmUs(weights), 1.2 * load("h200_sxm").gemmUs(weights));
}

} // namespace
