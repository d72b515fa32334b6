//===- RoundTripTest.cpp - what is written is what is read ----------------===//
#include "test/unit/Support/ProgramBuilder.h"
#include <cmath>
#include <gtest/gtest.h>

using namespace comm::test;

namespace {
Executable rich() {
  Executable exe = makeRowParallelMatmul(4, 3, 8, 5, true);
  exe.options = "--devices=cpu:4";
  exe.modelSha256 = std::string(64, 'a');
  exe.files.push_back({"model.onnx.data", 4096, std::string(64, '0')});
  Weight w;
  w.name = "gewicht \xC3\xA4"; // UTF-8
  w.file = 0;
  w.offset = 1024;
  w.dtype = DType::BF16;
  w.shape = {16, 8};
  w.slices = {{0, 4, 8}};
  w.layout = splitOn(2, 0, {"tp"}, 2);
  exe.weights.push_back(w);
  exe.objects.push_back({"x86-64-v3", {1, 2, 3}});
  exe.objects.push_back({"x86-64-v4", std::vector<uint8_t>(5000, 7)});
  exe.kernels.push_back({"k",
                         {{DType::F32, {2, 3}}},
                         {{"mulf", {0, 0}, {}, DType::F32, {2, 3}},
                          {"reduce",
                           {1},
                           {{"dims", std::vector<int64_t>{1}}, {"combine", std::string("addf")}, {"init", 0.0}},
                           DType::F32,
                           {2}}},
                         {2}});
  exe.explain = {"collective all_reduce#0: \"kept\""};
  exe.predictions = {{"peak_bytes_per_rank", 1e9 + 0.1}};
  exe.finalIR = "func @main\n";
  exe.entries[0].split.commands[0].attrs = {{"i", int64_t(-9223372036854775807 - 1)},
                                            {"f", 0.1},
                                            {"neginf", -HUGE_VAL},
                                            {"nan", std::nan("")},
                                            {"s", std::string("text\n")},
                                            {"is", std::vector<int64_t>{1, 2}},
                                            {"ss", std::vector<std::string>{"tp"}},
                                            {"whole", 2.0}};
  return exe;
}

std::vector<uint8_t> write(const Executable &exe) {
  std::vector<uint8_t> bytes;
  std::string error;
  EXPECT_TRUE(writeExecutable(exe, bytes, error)) << error;
  return bytes;
}

TEST(Executable, RoundTrip) {
  Executable exe = rich(), back;
  std::vector<uint8_t> bytes = write(exe);
  std::string error;
  ASSERT_TRUE(readExecutable(bytes.data(), bytes.size(), back, error)) << error;
  EXPECT_EQ(write(back), bytes); // every field travels, and the bytes are a function of the fields
  EXPECT_EQ(back.data, exe.data);
  EXPECT_EQ(back.objects[1].bytes, exe.objects[1].bytes);
  ASSERT_EQ(back.kernels.size(), 1u);
  EXPECT_EQ(back.kernels[0].steps[1].op, "reduce");
  EXPECT_EQ(back.weights[1].name, exe.weights[1].name);
  EXPECT_EQ(back.weights[1].slices[0].start, 4);
  EXPECT_EQ(back.entries[0].split.arenaBytes, exe.entries[0].split.arenaBytes);
  const Attrs &attrs = back.entries[0].split.commands[0].attrs;
  EXPECT_EQ(std::get<double>(attrs.at("f")), 0.1);
  EXPECT_EQ(std::get<double>(attrs.at("neginf")), -HUGE_VAL);
  EXPECT_TRUE(std::isnan(std::get<double>(attrs.at("nan"))));
  EXPECT_EQ(std::get<double>(attrs.at("whole")), 2.0); // stays a double
  EXPECT_EQ(std::get<int64_t>(attrs.at("i")), INT64_MIN);
}

TEST(Executable, HashNamesTheContent) {
  Executable exe = rich();
  std::vector<uint8_t> bytes = write(exe);
  EXPECT_EQ(executableHash(bytes.data(), bytes.size()), storedHash(bytes.data(), bytes.size()));
  exe.data.back() ^= 1;
  std::vector<uint8_t> other = write(exe);
  EXPECT_NE(executableHash(bytes.data(), bytes.size()), executableHash(other.data(), other.size()));
  EXPECT_EQ(sha256(reinterpret_cast<const uint8_t *>("abc"), 3),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

// The data section can stay where it is.
TEST(Executable, ViewDoesNotCopy) {
  std::vector<uint8_t> bytes = write(rich());
  Executable back;
  DataView view;
  std::string error;
  ASSERT_TRUE(readExecutable(bytes.data(), bytes.size(), back, error, &view)) << error;
  EXPECT_TRUE(back.data.empty());
  ASSERT_EQ(view.size, rich().data.size());
  EXPECT_EQ(std::memcmp(view.bytes, rich().data.data(), view.size), 0);
  EXPECT_GE(view.bytes, bytes.data());
  EXPECT_EQ((view.bytes - bytes.data()) % 4096, 0);
}

TEST(Executable, RefusesToWriteWhatItWouldNotRead) {
  Executable exe = rich();
  exe.entries[0].split.values[0].offset = 1 << 20;
  std::vector<uint8_t> bytes;
  std::string error;
  EXPECT_FALSE(writeExecutable(exe, bytes, error));
  EXPECT_NE(error.find("leave"), std::string::npos) << error;
  exe = rich();
  exe.modelName = "\xff\xfe";
  EXPECT_FALSE(writeExecutable(exe, bytes, error));
  EXPECT_NE(error.find("UTF-8"), std::string::npos) << error;
}

TEST(Executable, PrintTellsWhatIsInside) {
  std::string text = printExecutable(rich(), true);
  for (const char *part : {"4 ranks (tp=4)", "x  f32[3, 8]  split dim 1 over tp", "1 all_reduce", "1 asynchronous",
                           "model.onnx.data", "x86-64-v4", "peak_bytes_per_rank", "collective all_reduce#0", "matmul"})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
}
} // namespace
