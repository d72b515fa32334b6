//===- TopologyTest.cpp - presets, files, link texts ----------------------===//
#include "comm/Cost/Topology.h"
#include <cstdlib>
#include <fstream>
#include <gtest/gtest.h>

using namespace comm::cost;

namespace {

std::string write(const std::string &name, const std::string &text) {
  std::string path = ::testing::TempDir() + "/" + name;
  std::ofstream(path) << text;
  return path;
}

TEST(Topology, EveryPresetSurvivesItsOwnText) {
  std::vector<std::string> names = topologyNames();
  ASSERT_GE(names.size(), 20u);
  for (const std::string &name : names) {
    Topology preset, again;
    std::string error;
    ASSERT_TRUE(loadTopology(name, preset, error)) << error;
    ASSERT_TRUE(loadTopology(write("preset.json", printTopology(preset)), again, error)) << name << ": " << error;
    EXPECT_EQ(printTopology(preset), printTopology(again));
  }
}

TEST(Topology, SystemsCarryTheirDataSheets) {
  Topology t;
  std::string error;
  ASSERT_TRUE(loadTopology("h200_sxm", t, error));
  EXPECT_EQ(t.device.flopsPerUs.at("bf16"), 989e6);
  EXPECT_EQ(t.device.memoryBytesPerUs, 4800e3);
  EXPECT_EQ(t.scaleUp.bytesPerUs, 450e3);
  EXPECT_EQ(t.nodes(8), 1);
  EXPECT_EQ(t.nodes(9), 2);
  ASSERT_TRUE(loadTopology("gb300", t, error));
  EXPECT_EQ(t.nodes(72), 1); // one NVLink domain
}

TEST(Topology, RanksPerNodeAndLinkBehindAName) {
  Topology t;
  std::string error;
  ASSERT_TRUE(loadTopology("cpu@1Gbit,50us", t, error)) << error;
  EXPECT_EQ(t.ranksPerNode, 1);
  EXPECT_EQ(t.fabric, Fabric::Network);
  EXPECT_DOUBLE_EQ(t.scaleOut.bytesPerUs, 125);
  EXPECT_DOUBLE_EQ(t.scaleOut.latencyUs, 50);
  EXPECT_LT(t.coreShare, 0.05); // the link moves the bytes
  ASSERT_TRUE(loadTopology("cpu:2@10Gbit,25us", t, error)) << error;
  EXPECT_EQ(t.nodes(4), 2);
  EXPECT_EQ(t.fabric, Fabric::SharedMemory);
  EXPECT_FALSE(loadTopology("cpu:0", t, error));
  EXPECT_FALSE(loadTopology("cpu@fast", t, error));
  EXPECT_NE(error.find("1Gbit,50us"), std::string::npos);
}

TEST(Topology, LinkTexts) {
  Link link;
  ASSERT_TRUE(parseLink("1Gbit,50us", link));
  EXPECT_DOUBLE_EQ(link.bytesPerUs, 125);
  EXPECT_DOUBLE_EQ(link.latencyUs, 50);
  ASSERT_TRUE(parseLink("125MB,0.05ms", link));
  EXPECT_DOUBLE_EQ(link.bytesPerUs, 125);
  EXPECT_DOUBLE_EQ(link.latencyUs, 50);
  ASSERT_TRUE(parseLink("0.1Gbit", link));
  EXPECT_DOUBLE_EQ(link.bytesPerUs, 12.5);
  EXPECT_EQ(link.latencyUs, 0);
  ASSERT_TRUE(parseLink("inf", link));
  EXPECT_GT(link.bytesPerUs, 1e9);
  for (const char *bad : {"", ",", "Gbit", "1", "0Gbit", "1Gbit,", "1Gbit,50", "-1Gbit", "1Gbit,-5us", "1.2.3Gbit",
                          "1Gbit,5us,6us", "nan", "1e9Gbit"})
    EXPECT_FALSE(parseLink(bad, link)) << bad;
}

TEST(Topology, AFileMayStartFromAPreset) {
  Topology t;
  std::string error;
  std::string path = write("base.json", R"({"base": "h200_sxm", "name": "mine", "scale_out": {"bytes_per_us": 1000}})");
  ASSERT_TRUE(loadTopology(path, t, error)) << error;
  EXPECT_EQ(t.name, "mine");
  EXPECT_EQ(t.scaleOut.bytesPerUs, 1000);
  EXPECT_EQ(t.device.units, 132);
}

TEST(Topology, MalformedFilesAreOneSentence) {
  const std::pair<const char *, const char *> cases[] = {
      {"", "empty"},
      {"{", "not JSON"},
      {"[1, 2]", "not a JSON object"},
      {R"({"name": 3})", "'name' is not a text"},
      {R"({"base": "h900"})", "names no preset"},
      {R"({"base": "cpu", "ranks_per_node": -1})", "ranks_per_node"},
      {R"({"base": "cpu", "ranks_per_node": 1e30})", "ranks_per_node"},
      {R"({"base": "cpu", "scale_up": 5})", "not an object"},
      {R"({"base": "cpu", "scale_up": {"bytes_per_us": 0}})", "bytes_per_us"},
      {R"({"base": "cpu", "scale_upp": {}})", "unknown field 'scale_upp'"},
      {R"({"base": "cpu", "device": {"flops_per_us": {"f32": "fast"}}})", "flops_per_us"},
      {R"({"base": "cpu", "fabric": "rope"})", "fabric"},
      {R"({"name": "bare"})", "flops_per_us"},
  };
  for (const auto &[text, expected] : cases) {
    Topology t;
    std::string error;
    EXPECT_FALSE(loadTopology(write("bad.json", text), t, error)) << text;
    EXPECT_NE(error.find(expected), std::string::npos) << text << ": " << error;
    EXPECT_EQ(error.find('\n'), std::string::npos) << error;
  }
  Topology t;
  std::string error, deep(100000, '[');
  EXPECT_FALSE(loadTopology(write("deep.json", deep), t, error));
  EXPECT_FALSE(loadTopology("no_such_system", t, error));
  EXPECT_NE(error.find("h200_sxm"), std::string::npos); // the names that exist
}

} // namespace
