//===- HostileTest.cpp - malformed models give sentences, never a crash ---===//
// One test per published class of attack; each feeds at least ten files. Runs under sanitizers.
//===----------------------------------------------------------------------===//
#include "OpTable.h"
#include "ProtoWriter.h"
#include "comm/Import/Import.h"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace mlir;
using namespace mlir::comm;
namespace fs = std::filesystem;

namespace {
class Hostile : public ::testing::Test {
protected:
  void SetUp() override {
    char pattern[] = "/tmp/commc-hostile-XXXXXX";
    folder = mkdtemp(pattern);
  }
  void TearDown() override { fs::remove_all(folder); }

  std::string write(const std::string &bytes, const std::string &name = "m.onnx") {
    fs::create_directories(fs::path(folder + "/" + name).parent_path());
    std::ofstream(folder + "/" + name, std::ios::binary) << bytes;
    return folder + "/" + name;
  }
  /// Opens and, when that works, imports. The problems, checked for form.
  Problems load(const std::string &bytes, OpenOptions options = {}, ImportOptions import = {}) {
    return loadFile(write(bytes), options, import);
  }
  Problems loadFile(const std::string &path, OpenOptions options = {}, ImportOptions import = {}) {
    Problems problems;
    auto model = OnnxModel::open(path, options, problems);
    opened = model != nullptr;
    bool good = opened && model->check(problems);
    if (good) {
      OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
      good = succeeded(model->importEntry(*module, import, problems));
    }
    EXPECT_EQ(good, !hasErrors(problems)) << "a refusal needs a reason, and a reason a refusal";
    for (const Problem &problem : problems) {
      EXPECT_EQ(problem.code.size(), 4u);
      EXPECT_FALSE(problem.what.empty());
      EXPECT_EQ(problem.what.find('\n'), std::string::npos);
      EXPECT_LT(problem.str().size(), 2000u) << problem.str().substr(0, 200);
    }
    return problems;
  }
  void expectRefused(const std::string &bytes, const std::string &code, OpenOptions options = {}) {
    Problems problems = load(bytes, options);
    ASSERT_TRUE(hasErrors(problems));
    for (const Problem &problem : problems)
      if (!problem.warning) {
        EXPECT_EQ(problem.code, code) << problem.str();
        break;
      }
  }
  /// y = Add(x, w) with w outside.
  std::string withExternal(std::vector<std::string> entries, std::vector<int64_t> dims = {2, 3}) {
    proto::Graph graph = proto::small();
    graph.nodes = {proto::node("Add", {"x", "w"}, {"y"})};
    graph.initializers = {proto::external("w", std::move(dims), 1, std::move(entries))};
    return proto::model(graph.str());
  }
  MLIRContext context{MLIRContext::Threading::DISABLED};
  std::string folder;
  bool opened = false;
};

TEST_F(Hostile, GoodModelsLoad) {
  EXPECT_TRUE(load(proto::model(proto::small().str())).empty());
  write(std::string(24, '\0'), "w.bin");
  EXPECT_TRUE(load(withExternal({"location", "w.bin"})).empty());
  EXPECT_TRUE(load(withExternal({"location", "w.bin", "offset", "0", "length", "24"})).empty());
}

/// Negative numbers in constants keep their sign.
TEST_F(Hostile, NegativeConstantsLoad) {
  proto::Graph graph = proto::small();
  graph.nodes = {proto::node("CumSum", {"x", "axis"}, {"s"}), proto::node("Trilu", {"s", "k"}, {"y"})};
  graph.initializers = {proto::tensor("axis", {}, 7, std::string(8, '\xff')),
                        proto::tensor("k", {}, 7, std::string(8, '\xff'))};
  EXPECT_TRUE(load(proto::model(graph.str())).empty());
}

TEST_F(Hostile, NotAModel) {
  std::string good = proto::model(proto::small().str());
  expectRefused("", "E301");
  expectRefused("PK\3\4 rest of a zip archive", "E301");
  expectRefused("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "E301");
  expectRefused("<!DOCTYPE html><html></html>", "E301");
  expectRefused(std::string(1000, '\xff'), "E301");
  expectRefused(std::string(1000, '\0'), "E301");
  expectRefused(proto::number(1, 10), "E301");                                         // no graph
  expectRefused(proto::number(1, 10) + proto::bytes(7, proto::small().str()), "E301"); // no opset
  expectRefused(proto::number(1, 2) + proto::bytes(8, proto::number(2, 20)) + proto::bytes(7, proto::small().str()),
                "E302");
  expectRefused(proto::model(proto::small().str(), 10, 6), "E302");
  expectRefused(proto::number(1, 10) + proto::bytes(8, proto::number(2, 20)) + proto::number(7, 5),
                "E301"); // graph of the wrong wire type
  expectRefused(good + proto::varint(7 << 3 | 2) + proto::varint(uint64_t(1) << 62), "E301");
  EXPECT_TRUE(hasErrors(loadFile(folder + "/none.onnx")));
  EXPECT_TRUE(hasErrors(loadFile(folder)));
  ASSERT_EQ(mkfifo((folder + "/fifo").c_str(), 0600), 0);
  EXPECT_TRUE(hasErrors(loadFile(folder + "/fifo")));
}

TEST_F(Hostile, NewerVersionsOnlyWarn) {
  Problems problems = load(proto::model(proto::small().str(), 99, 20));
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_TRUE(problems[0].warning);
  EXPECT_EQ(problems[0].code, "E302");
  EXPECT_FALSE(hasErrors(load(proto::model(proto::small().str(), 10, 99))));
}

TEST_F(Hostile, EveryTruncationAndBitFlip) {
  proto::Graph graph = proto::small();
  graph.nodes = {proto::node("Add", {"x", "w"}, {"s"}),
                 proto::node("Softmax", {"s"}, {"y"}, proto::intAttr("axis", 1))};
  graph.initializers = {proto::tensor("w", {2, 3}, 1, std::string(24, '\1'))};
  std::string good = proto::model(graph.str());
  ASSERT_TRUE(load(good).empty());
  for (size_t size = 0; size < good.size(); ++size)
    (void)load(good.substr(0, size)); // some prefixes are smaller valid models: only the form of the answer is checked
  for (size_t at = 0; at < good.size(); ++at)
    for (int bit : {0, 3, 7}) {
      std::string bad = good;
      bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
      (void)load(bad);
    }
}

TEST_F(Hostile, PathEscapes) {
  write(std::string(24, '\0'), "w.bin");
  const std::string locations[] = {"",
                                   "../w.bin",
                                   "a/../../w.bin",
                                   "/etc/passwd",
                                   "..",
                                   ".",
                                   "a/..",
                                   "C:\\w.bin",
                                   "C:w.bin",
                                   "a\\w.bin",
                                   std::string("w.bin\0x", 7),
                                   "w.bin/",
                                   "./../w.bin",
                                   "a//../../w.bin",
                                   "/proc/self/environ",
                                   std::string(5000, 'a'),
                                   "a//w.bin",
                                   "none.bin"};
  for (const std::string &location : locations)
    expectRefused(withExternal({"location", location}), "E303");
}

TEST_F(Hostile, LinksAndOtherFiles) {
  std::string outside = folder + "-outside";
  fs::create_directories(outside);
  std::ofstream(outside + "/w.bin") << std::string(24, '\0');
  write(std::string(24, '\0'), "in/w.bin");
  auto link = [&](const std::string &target, const std::string &name) {
    fs::create_symlink(target, folder + "/" + name);
  };
  link(outside + "/w.bin", "out.bin");
  link("../" + fs::path(outside).filename().string() + "/w.bin", "relative.bin");
  link(outside, "outdir");
  link("loop", "loop");
  link("/proc/self/exe", "proc");
  link("/dev/zero", "zero");
  link("in/w.bin", "inside.bin");
  link("in", "indir");
  link(folder + "/in/w.bin", "absolute.bin");
  fs::create_hard_link(folder + "/in/w.bin", folder + "/hard.bin");
  ASSERT_EQ(mkfifo((folder + "/fifo").c_str(), 0600), 0);
  fs::create_directories(folder + "/dir");
  for (const char *name : {"out.bin", "relative.bin", "outdir/w.bin", "loop", "proc", "zero", "fifo", "dir"})
    expectRefused(withExternal({"location", name}), "E303");
  for (const char *name : {"inside.bin", "indir/w.bin", "absolute.bin", "hard.bin", "in/w.bin"})
    EXPECT_FALSE(hasErrors(load(withExternal({"location", name})))) << name;
  OpenOptions strict;
  strict.strictExternalData = true;
  for (const char *name : {"inside.bin", "indir/w.bin", "absolute.bin", "hard.bin", "in/w.bin", "out.bin"})
    expectRefused(withExternal({"location", name}), "E303", strict);
  // The Hugging Face cache: the model itself is a link, its data lies beside the real file.
  fs::create_directories(folder + "/snapshot");
  write(withExternal({"location", "data.bin"}), "blobs/model");
  write(std::string(24, '\0'), "blobs/data");
  fs::create_symlink("../blobs/model", folder + "/snapshot/model.onnx");
  fs::create_symlink("../blobs/data", folder + "/snapshot/data.bin");
  EXPECT_FALSE(hasErrors(loadFile(folder + "/snapshot/model.onnx")));
  fs::remove_all(outside);
}

TEST_F(Hostile, ExternalDataKeysAndBounds) {
  write(std::string(24, '\0'), "w.bin");
  const std::vector<std::string> entries[] = {{},
                                              {"offset", "0"},
                                              {"location", "w.bin", "location", "w.bin"},
                                              {"location", "w.bin", "offset", "0", "offset", "0"},
                                              {"location", "w.bin", "offset", "-1"},
                                              {"location", "w.bin", "offset", "4"},
                                              {"location", "w.bin", "offset", "9223372036854775807"},
                                              {"location", "w.bin", "offset", "9223372036854775808"},
                                              {"location", "w.bin", "offset", "18446744073709551615"},
                                              {"location", "w.bin", "offset", "99999999999999999999999"},
                                              {"location", "w.bin", "offset", "0x0"},
                                              {"location", "w.bin", "offset", " 0"},
                                              {"location", "w.bin", "offset", ""},
                                              {"location", "w.bin", "length", "23"},
                                              {"location", "w.bin", "length", "25"},
                                              {"location", "w.bin", "length", "-24"},
                                              {"location", "w.bin", "length", "24", "extra", "1"},
                                              {"location", "w.bin", "__class__", "x"}};
  for (const auto &list : entries)
    expectRefused(withExternal(list), "E303");
  expectRefused(withExternal({"location", "w.bin"}, {2, 4}), "E303"); // the file is too short
  expectRefused(withExternal({"location", "w.bin"}, {int64_t(1) << 40}), "E304");
  OpenOptions strict;
  strict.strictExternalData = true;
  expectRefused(withExternal({"location", "w.bin", "checksum", "0000000000000000000000000000000000000000"}), "E303",
                strict);
}

TEST_F(Hostile, TensorSizes) {
  auto withTensor = [&](const std::string &tensor) {
    proto::Graph graph = proto::small();
    graph.nodes = {proto::node("Add", {"x", "w"}, {"y"})};
    graph.initializers = {tensor};
    return proto::model(graph.str());
  };
  std::string raw(24, '\0');
  EXPECT_TRUE(load(withTensor(proto::tensor("w", {2, 3}, 1, raw))).empty());
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 1, raw.substr(1))), "E301");
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 1, raw + "x")), "E301");
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 1, "")), "E301");
  expectRefused(withTensor(proto::tensor("w", {-2, -3}, 1, raw)), "E301");
  expectRefused(withTensor(proto::tensor("w", {int64_t(1) << 61, 8}, 1, raw)), "E304");
  expectRefused(withTensor(proto::tensor("w", {INT64_MAX}, 1, raw)), "E304");
  expectRefused(withTensor(proto::tensor("w", {int64_t(1) << 32, int64_t(1) << 32}, 1, "")), "E304");
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 0, raw)), "E301");
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 77, raw)), "E301");
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 7, raw)), "E301");                        // i64 needs 48 bytes
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 1, raw) + proto::bytes(4, raw)), "E301"); // two payloads
  expectRefused(withTensor(proto::tensor("w", {2, 3}, 1, raw) + proto::bytes(3, proto::number(1, 0))),
                "E301"); // a segment
  expectRefused(withTensor(proto::number(1, 2) + proto::number(2, 1) + proto::bytes(8, "w") + proto::bytes(4, raw)),
                "E301"); // six floats for two
  expectRefused(withTensor(proto::tensor("w", std::vector<int64_t>(100, 1), 1, "abcd")), "E301");
  std::string two = withTensor(proto::tensor("w", {2, 3}, 1, raw));
  OpenOptions tight;
  tight.maxTensorBytes = 20;
  expectRefused(two, "E304", tight);
}

TEST_F(Hostile, GraphStructure) {
  auto refuse = [&](auto change, const char *code = "E305") {
    proto::Graph graph = proto::small();
    change(graph);
    expectRefused(proto::model(graph.str()), code);
  };
  using proto::node;
  refuse([](proto::Graph &g) { g.nodes = {node("Relu", {"y"}, {"y"})}; }); // reads itself
  refuse([](proto::Graph &g) {
    g.nodes = {node("Relu", {"b"}, {"a"}), node("Relu", {"a"}, {"b"}), node("Add", {"a", "b"}, {"y"})};
  });                                                                                                  // cycle
  refuse([](proto::Graph &g) { g.nodes = {node("Relu", {"a"}, {"y"}), node("Relu", {"x"}, {"a"})}; }); // out of order
  refuse([](proto::Graph &g) { g.nodes = {node("Relu", {"x"}, {"y"}), node("Relu", {"x"}, {"y"})}; }); // defined twice
  refuse([](proto::Graph &g) { g.nodes = {node("Relu", {"x"}, {"x"})}; }); // overwrites an input
  refuse([](proto::Graph &g) { g.nodes = {node("Relu", {"nowhere"}, {"y"})}; });
  refuse([](proto::Graph &g) { g.inputs.push_back(g.inputs[0]); });
  refuse([](proto::Graph &g) { g.outputs.push_back(g.outputs[0]); });
  refuse([](proto::Graph &g) { g.outputs = {proto::value("z", {2, 3})}; });
  refuse([](proto::Graph &g) { g.outputs.clear(); });
  refuse([](proto::Graph &g) { g.nodes.clear(); });
  refuse([](proto::Graph &g) { g.nodes = {node("", {"x"}, {"y"})}; });
  refuse([](proto::Graph &g) { g.initializers = {proto::ints("w", {1}), proto::ints("w", {1})}; });
  refuse([](proto::Graph &g) { g.initializers = {proto::ints("", {1})}; });
  refuse(
      [](proto::Graph &g) { g.nodes = {node("Relu", {"x"}, {"y"}, proto::intAttr("a", 1) + proto::intAttr("a", 2))}; });
  refuse([](proto::Graph &g) { g.nodes = {node(std::string(1 << 17, 'A'), {"x"}, {"y"})}; }, "E301");
  refuse([](proto::Graph &g) { g.nodes = {node("NoSuchOp", {"x"}, {"y"})}; }, "E401");
  refuse([](proto::Graph &g) { g.inputs = {proto::value("x", {-5})}; }, "E301");
}

TEST_F(Hostile, DeepNesting) {
  for (int depth : {40, 99, 1000, 20000}) { // graph in attribute in node in graph ..
    std::string graph = proto::small().str();
    for (int i = 0; i < depth; ++i)
      graph = proto::bytes(1, proto::node("If", {"x"}, {"y"},
                                          proto::bytes(5, proto::bytes(1, "then_branch") + proto::number(20, 5) +
                                                              proto::bytes(6, graph))));
    EXPECT_TRUE(hasErrors(load(proto::model(graph))));
  }
  // Functions that call themselves, and each other.
  auto function = [](const std::string &name, const std::string &callee) {
    return proto::bytes(25, proto::bytes(1, name) + proto::bytes(4, "a") + proto::bytes(5, "b") +
                                proto::bytes(7, proto::node(callee, {"a"}, {"b"}, "", "f")) +
                                proto::bytes(9, proto::bytes(1, "f") + proto::number(2, 1)) + proto::bytes(10, "f"));
  };
  proto::Graph graph = proto::small();
  graph.nodes = {proto::node("A", {"x"}, {"y"}, "", "f")};
  expectRefused(proto::model(graph.str()) + function("A", "A"), "E305");
  expectRefused(proto::model(graph.str()) + function("A", "B") + function("B", "A"), "E305");
  expectRefused(proto::model(graph.str()) + function("A", "A") + function("A", "A"), "E305");
  // 2^40 nodes from forty functions.
  std::string bomb = proto::model(graph.str());
  for (int i = 0; i < 26; ++i) {
    std::string name = i == 0 ? "A" : "F" + std::to_string(i), callee = "F" + std::to_string(i + 1);
    bomb += proto::bytes(25, proto::bytes(1, name) + proto::bytes(4, "a") + proto::bytes(5, "b") +
                                 proto::bytes(7, proto::node(callee, {"a"}, {"c"}, "", "f")) +
                                 proto::bytes(7, proto::node(callee, {"c"}, {"b"}, "", "f")) +
                                 proto::bytes(9, proto::bytes(1, "f") + proto::number(2, 1)) + proto::bytes(10, "f"));
  }
  EXPECT_TRUE(hasErrors(load(bomb)));
}

TEST_F(Hostile, SmallFilesWithHugeResults) {
  auto refuse = [&](const std::string &op, std::vector<std::vector<int64_t>> constants,
                    const std::string &attributes = "", std::vector<std::string> lead = {"x"},
                    std::vector<int64_t> input = {1, 4, 2, 3}) {
    proto::Graph graph;
    for (size_t i = 0; i < constants.size(); ++i) {
      lead.push_back("c" + std::to_string(i));
      graph.initializers.push_back(proto::ints(lead.back(), constants[i]));
    }
    graph.nodes = {proto::node(op, lead, {"y"}, attributes)};
    graph.inputs = {proto::value("x", input)};
    graph.outputs = {proto::value("y", {})};
    EXPECT_TRUE(hasErrors(load(proto::model(graph.str())))) << op;
  };
  int64_t big = int64_t(1) << 31, huge = int64_t(1) << 62;
  refuse("Tile", {{big, big, 1, 1}});
  refuse("Tile", {{huge, huge, huge, huge}});
  refuse("Tile", {{-1, 1, 1, 1}});
  refuse("Expand", {{big, big, 4, 2, 3}});
  refuse("Expand", {{-big, 1, 1, 4, 2, 3}});
  refuse("ConstantOfShape", {{big, big}}, "", {});
  refuse("ConstantOfShape", {{-1, 0}}, "", {});
  refuse("Reshape", {{huge, huge}});
  refuse("Reshape", {{-1, -1}});
  refuse("Reshape", {{0, 0, 0, 0, 0}});
  refuse("Pad", {{huge, 0, 0, 0, huge, 0, 0, 0}});
  refuse("Pad", {{-huge, 0, 0, 0, 0, 0, 0, 0}});
  refuse("DepthToSpace", {}, proto::intAttr("blocksize", int64_t(1) << 32));
  refuse("DepthToSpace", {}, proto::intAttr("blocksize", 0));
  refuse("SpaceToDepth", {}, proto::intAttr("blocksize", -1));
  refuse("OneHot", {{huge}, {0, 1}}, "", {"x"}, {4});
  refuse("Unsqueeze", {{0, 0}});
  refuse("Squeeze", {{huge}});
  refuse("Trilu", {{0}}, "", {"x"}, {1 << 15, 1 << 15});
  refuse("MatMul", {}, "", {"x", "x"}, {1 << 20, 1 << 20}); // in and out fit 4 TiB nowhere
  ImportOptions dims;
  for (int64_t size : {int64_t(-1), INT64_MAX, int64_t(1) << 40}) {
    proto::Graph graph = proto::small();
    graph.inputs = {proto::symbolic("x", {"n", "2*n + 1"})};
    dims.dims = {{"n", size}};
    EXPECT_TRUE(hasErrors(load(proto::model(graph.str()), {}, dims)));
  }
}

/// Every operator with too few, too many and unfitting operands, of every rank and type, and with wild attributes.
TEST_F(Hostile, EveryOperatorWithUnfittingOperands) {
  const char *attributes[] = {"axis", "num_heads",  "kv_num_heads", "q_num_heads", "blocksize",
                              "to",   "batch_dims", "num_groups",   "transA",      "start",
                              "end",  "group",      "do_rotary"};
  int64_t wild[] = {-1, 0, 1, 2, 1 << 20, INT64_MIN, INT64_MAX};
  std::string files;
  for (const std::string &name : OpTable::get().getNames()) {
    size_t colon = name.find("::");
    std::string domain = colon == std::string::npos ? "" : name.substr(0, colon),
                op = colon == std::string::npos ? name : name.substr(colon + 2);
    for (int inputs = 0; inputs <= 8; ++inputs)
      for (int variant = 0; variant < 6; ++variant) {
        proto::Graph graph;
        std::vector<std::string> names;
        for (int i = 0; i < inputs; ++i) {
          std::string input = "x" + std::to_string(i);
          int pick = (inputs * 7 + variant * 5 + i * 3) % 11;
          if (pick == 10) {
            names.push_back("");
            continue;
          }
          if (pick == 9)
            graph.initializers.push_back(proto::ints(input, {wild[(i + variant) % 7], 1}));
          else
            graph.inputs.push_back(proto::value(input, std::vector<int64_t>(pick % 6, pick % 4),
                                                pick == 8   ? 9
                                                : pick == 7 ? 7
                                                            : 1));
          names.push_back(input);
        }
        std::string attrs;
        if (variant > 1)
          for (const char *attribute : attributes)
            attrs += proto::intAttr(attribute, wild[(variant + static_cast<int>(attribute[0])) % 7]);
        graph.nodes = {proto::node(
            op, names, variant == 5 ? std::vector<std::string>{"y", "z", "u"} : std::vector<std::string>{"y"}, attrs,
            domain)};
        graph.outputs = {proto::value("y", {})};
        SCOPED_TRACE(name + " with " + std::to_string(inputs) + " inputs, variant " + std::to_string(variant));
        (void)load(proto::model(graph.str(), 10, variant == 4 ? 9 : 24));
      }
  }
}

// Found by fuzzing: a convolution over nothing.
TEST_F(Hostile, WindowsOverEmptyInputs) {
  proto::Graph graph;
  graph.inputs = {proto::value("x", {2, 4, 0}), proto::value("w", {4, 1, 1})};
  graph.nodes = {proto::node("CausalConvWithState", {"x", "w"}, {"y", "state"})};
  graph.outputs = {proto::value("y", {2, 4, 0}), proto::value("state", {2, 4, 0})};
  expectRefused(proto::model(graph.str(), 13, 27), "E313");
  graph.nodes = {
      proto::node("MaxPool", {"x"}, {"y"},
                  {proto::bytes(5, proto::bytes(1, "kernel_shape") + proto::number(8, 1) + proto::number(20, 7))})};
  graph.inputs.pop_back();
  graph.outputs.pop_back();
  expectRefused(proto::model(graph.str()), "E313");
}

// Found by fuzzing: a kernel without a size.
TEST_F(Hostile, TransposedConvolutionWithNothing) {
  proto::Graph graph;
  graph.inputs = {proto::value("x", {1, 1, 3, 4, 5}), proto::value("w", {1, 2, 3, 3, 0})};
  graph.nodes = {proto::node("ConvTranspose", {"x", "w"}, {"y"})};
  graph.outputs = {proto::value("y", {1, 2, 5, 6, 7})};
  expectRefused(proto::model(graph.str()), "E313");
}

// Found by fuzzing: channels that are not there; and windows that nobody has room for.
TEST_F(Hostile, LocalResponseOfNothingAndOfTooMuch) {
  proto::Graph graph;
  graph.inputs = {proto::value("x", {5, 0, 5})};
  graph.nodes = {proto::node("LRN", {"x"}, {"y"}, proto::intAttr("size", 3))};
  graph.outputs = {proto::value("y", {5, 0, 5})};
  EXPECT_FALSE(hasErrors(load(proto::model(graph.str()))));
  graph.inputs = {proto::value("x", {5, 100000, 500})};
  graph.outputs = {proto::value("y", {5, 100000, 500})};
  graph.nodes = {proto::node("LRN", {"x"}, {"y"}, proto::intAttr("size", INT32_MAX))};
  EXPECT_TRUE(hasErrors(load(proto::model(graph.str()))));
}

// Found by fuzzing: beta of another batch.
TEST_F(Hostile, LinearAttentionOfTwoBatches) {
  for (int64_t batch : {2, 4}) {
    proto::Graph graph;
    graph.inputs = {proto::value("q", {2, 4, 64}), proto::value("k", {2, 4, 8}), proto::value("v", {2, 4, 8}),
                    proto::value("decay", {2, 4, 8}), proto::value("beta", {batch, 4, 1})};
    graph.nodes = {proto::node("LinearAttention", {"q", "k", "v", "", "decay", "beta"}, {"y", "state"},
                               proto::intAttr("kv_num_heads", 1) + proto::intAttr("q_num_heads", 8))};
    graph.outputs = {proto::value("y", {2, 4, 64}), proto::value("state", {2, 1, 8, 8})};
    std::string bytes = proto::model(graph.str(), 13, 27);
    if (batch == 2)
      EXPECT_FALSE(hasErrors(load(bytes)));
    else
      expectRefused(bytes, "E313");
  }
}

TEST_F(Hostile, ShapesThatDoNotFit) {
  proto::Graph graph = proto::small();
  graph.inputs = {proto::symbolic("x", {"batch", "past + new"})};
  std::string bytes = proto::model(graph.str());
  auto refuse = [&](std::map<std::string, int64_t> dims, std::map<std::string, std::vector<int64_t>> shapes,
                    const char *code) {
    ImportOptions options;
    options.dims = std::move(dims);
    options.inputShapes = std::move(shapes);
    Problems problems = load(bytes, {}, options);
    ASSERT_TRUE(hasErrors(problems));
    EXPECT_EQ(problems[0].code, code) << problems[0].str();
  };
  refuse({}, {}, "E212");
  refuse({{"batch", 1}}, {}, "E212");
  refuse({{"batch", 1}, {"past", 2}}, {}, "E212");
  refuse({{"batch", 1}, {"past", 2}, {"new", 1}, {"other", 1}}, {}, "E212");
  refuse({{"batch", -1}, {"past", 2}, {"new", 1}}, {}, "E212");
  refuse({}, {{"z", {1, 2}}}, "E214");
  refuse({}, {{"x", {1}}}, "E214");
  refuse({}, {{"x", {1, -2}}}, "E214");
  refuse({{"batch", 2}, {"past", 1}}, {{"x", {1, 3}}}, "E214");
  refuse({{"past", 5}}, {{"x", {1, 3}}}, "E214");
  ImportOptions good;
  good.dims = {{"past", 1}};
  good.inputShapes = {{"x", {1, 3}}};
  EXPECT_FALSE(hasErrors(load(bytes, {}, good)));
}
} // namespace
