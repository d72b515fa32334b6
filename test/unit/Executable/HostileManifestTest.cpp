//===- HostileManifestTest.cpp - correct hash, malicious manifest ---------===//
// Edits the JSON of a sound executable and makes header and hash fit again.
//===----------------------------------------------------------------------===//
#include "test/unit/Support/ProgramBuilder.h"
#include <functional>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

using namespace comm::test;
using Json = nlohmann::json;

namespace {
struct Parts {
  std::vector<uint8_t> start; // magic, version, offset of the manifest
  std::string manifest;
  std::vector<uint8_t> rest; // sections, page-aligned again when packed
};

Parts take() {
  Executable exe = makeRowParallelMatmul(2, 3, 8, 5, true);
  exe.files.push_back({"w.bin", 64, ""});
  exe.objects.push_back({"x86-64-v3", {1, 2, 3}});
  std::vector<uint8_t> bytes;
  std::string error;
  EXPECT_TRUE(writeExecutable(exe, bytes, error)) << error;
  uint64_t size = 0;
  std::memcpy(&size, bytes.data() + 24, 8);
  size_t sections = (64 + size + 4095) / 4096 * 4096;
  return {{bytes.begin(), bytes.begin() + 16},
          {bytes.begin() + 64, bytes.begin() + 64 + size},
          {bytes.begin() + sections, bytes.end()}};
}

std::vector<uint8_t> pack(const Parts &parts) {
  std::vector<uint8_t> out = parts.start;
  out.resize(64);
  out.insert(out.end(), parts.manifest.begin(), parts.manifest.end());
  out.resize((out.size() + 4095) / 4096 * 4096);
  out.insert(out.end(), parts.rest.begin(), parts.rest.end());
  uint64_t total = out.size(), size = parts.manifest.size();
  std::memcpy(out.data() + 16, &total, 8);
  std::memcpy(out.data() + 24, &size, 8);
  std::string hash = executableHash(out.data(), out.size());
  for (size_t i = 0; i < 32; ++i)
    out[32 + i] = static_cast<uint8_t>(std::stoi(hash.substr(2 * i, 2), nullptr, 16));
  return out;
}

std::string errorOf(const std::string &manifest) {
  Parts parts = take();
  parts.manifest = manifest;
  std::vector<uint8_t> bytes = pack(parts);
  Executable out;
  std::string error;
  return readExecutable(bytes.data(), bytes.size(), out, error) ? "" : error;
}

void expectRefused(const std::function<void(Json &)> &edit, const std::string &part) {
  Json json = Json::parse(take().manifest);
  edit(json);
  std::string error = errorOf(json.dump());
  EXPECT_NE(error.find(part), std::string::npos) << "expected '" << part << "', got '" << error << "'";
}

TEST(HostileManifest, UneditedIsAccepted) { EXPECT_EQ(errorOf(take().manifest), ""); }

TEST(HostileManifest, NotJson) {
  std::string good = take().manifest;
  for (const std::string &text :
       {std::string("{"), std::string("null"), std::string("[]"), std::string("\"\""), std::string("1e999"),
        std::string("{\"a\":\"\xff\"}"), std::string("\0\0\0", 3), good + "x", good + good, good.substr(1),
        std::string("{\"a\":\"\\ud800\"}"), std::string("\xef\xbb\xbf{}")})
    EXPECT_NE(errorOf(text).find("manifest"), std::string::npos) << text.substr(0, 20);
}

TEST(HostileManifest, DepthIsBounded) {
  for (size_t depth : {15, 100, 1000, 100000, 1000000}) {
    EXPECT_NE(errorOf(std::string(depth, '[') + std::string(depth, ']')).find("nested deeper"), std::string::npos)
        << depth;
    EXPECT_NE(errorOf(std::string(depth, '[')).find("nested deeper"), std::string::npos) << depth;
  }
  std::string objects;
  for (int i = 0; i < 50000; ++i)
    objects += "{\"a\":";
  EXPECT_NE(errorOf(objects).find("nested deeper"), std::string::npos);
}

TEST(HostileManifest, KeysOnceAndKnown) {
  std::string good = take().manifest;
  auto insert = [&](const std::string &after, const std::string &text) {
    std::string copy = good;
    size_t at = copy.find(after);
    EXPECT_NE(at, std::string::npos);
    return copy.insert(at + after.size(), text);
  };
  EXPECT_NE(errorOf(insert("{", "\"data_bytes\":0,")).find("twice"), std::string::npos);
  EXPECT_NE(errorOf(insert("\"weights\":[{", "\"file\":0,")).find("twice"), std::string::npos);
  EXPECT_NE(errorOf(insert("{", "\"later\":0,")).find("unknown key 'later'"), std::string::npos);
  EXPECT_NE(errorOf(insert("\"weights\":[{", "\"zero_copy\":0,")).find("unknown key 'zero_copy'"), std::string::npos);
  for (const char *key : {"data_bytes", "entries", "weights", "files", "objects", "final_ir"})
    expectRefused([&](Json &j) { j.erase(key); }, std::string("key '") + key + "' is missing");
}

TEST(HostileManifest, WrongTypes) {
  expectRefused([](Json &j) { j["data_bytes"] = "many"; }, "expected an integer");
  expectRefused([](Json &j) { j["data_bytes"] = 1.5; }, "expected an integer");
  expectRefused([](Json &j) { j["data_bytes"] = 18446744073709551615u; }, "does not fit 64 bits");
  expectRefused([](Json &j) { j["weights"] = Json::object(); }, "expected a list");
  expectRefused([](Json &j) { j["weights"][0] = 3; }, "expected an object");
  expectRefused([](Json &j) { j["weights"][0]["dtype"] = "f31"; }, "unknown element type");
  expectRefused([](Json &j) { j["entries"][0]["split"]["values"][0]["storage"] = "moon"; }, "unknown storage");
  expectRefused([](Json &j) { j["entries"][0]["split"]["commands"][0]["inputs"][0] = 4294967296; },
                "does not fit 32 bits");
  expectRefused([](Json &j) { j["entries"][0]["split"]["commands"][0]["attrs"]["a"] = 3; }, "expected [type, value]");
  expectRefused([](Json &j) { j["entries"][0]["split"]["commands"][0]["attrs"]["a"] = Json::array({"q", 3}); },
                "unknown attribute type");
  expectRefused([](Json &j) { j["entries"][0]["split"]["commands"][0]["attrs"]["a"] = Json::array({"f", "infinity"}); },
                "expected a number");
  expectRefused([](Json &j) { j["model_name"] = nullptr; }, "expected a string");
}

TEST(HostileManifest, SectionSizes) {
  for (int64_t bytes : {int64_t(-1), int64_t(1), int64_t(159), int64_t(161), int64_t(1) << 40, INT64_MAX, INT64_MIN})
    expectRefused([&](Json &j) { j["data_bytes"] = bytes; },
                  bytes == 1 || bytes == 159 ? "follow the last section" : "leaves the file");
  for (int64_t bytes : {int64_t(-1), int64_t(1) << 40, INT64_MAX})
    expectRefused([&](Json &j) { j["objects"][0]["bytes"] = bytes; }, "leaves the file");
  expectRefused([](Json &j) { j["objects"][0]["bytes"] = 2; }, "padding");
  expectRefused([](Json &j) { j["objects"][0]["bytes"] = 0; }, "follow the last section");
  expectRefused([](Json &j) { j["objects"].clear(); }, "follow the last section");
}

TEST(HostileManifest, HugeShapes) {
  Json huge = Json::array({int64_t(1) << 40, int64_t(1) << 40});
  expectRefused([&](Json &j) { j["weights"][0]["shape"] = huge; }, "too large");
  expectRefused([&](Json &j) { j["entries"][0]["split"]["values"][0]["shape"] = huge; }, "too large");
  expectRefused([&](Json &j) { j["entries"][0]["split"]["inputs"][0]["shape"] = huge; }, "too large");
  expectRefused([](Json &j) { j["entries"][0]["split"]["arena_bytes"] = INT64_MAX; }, "arena size");
  expectRefused([](Json &j) { j["entries"][0]["split"]["grid"]["axes"][0]["size"] = INT64_MAX; }, "grid");
  expectRefused([](Json &j) { j["entries"][0]["split"]["grid"]["axes"][0]["size"] = 0; }, "grid");
}
} // namespace
