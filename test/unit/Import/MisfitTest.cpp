//===- MisfitTest.cpp - operands, sizes and attributes that do not fit ----===//
// One test per way in which a node can ask for what cannot be built; each ends in one sentence that names the node.
//===----------------------------------------------------------------------===//
#include "ProtoWriter.h"
#include "comm/Import/Import.h"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>

using namespace mlir;
using namespace mlir::comm;

namespace {
constexpr int64_t kHuge = int64_t(1) << 62;
using Shapes = std::vector<std::vector<int64_t>>;

/// One node with inputs x0, x1, ... of the given shapes; "" names one that is left out, others an initializer.
struct OneNode {
  std::string op, attributes, domain;
  std::vector<std::string> inputs;
  proto::Graph graph;
  int64_t opset = 24;

  explicit OneNode(std::string op, const Shapes &shapes = {}, std::string attributes = "", std::string domain = "")
      : op(std::move(op)), attributes(std::move(attributes)), domain(std::move(domain)) {
    for (const std::vector<int64_t> &shape : shapes)
      input(shape);
  }
  OneNode &input(const std::vector<int64_t> &shape, int type = 1) {
    inputs.push_back("x" + std::to_string(inputs.size()));
    graph.inputs.push_back(proto::value(inputs.back(), shape, type));
    return *this;
  }
  OneNode &ints(const std::vector<int64_t> &values) {
    inputs.push_back("c" + std::to_string(inputs.size()));
    graph.initializers.push_back(proto::ints(inputs.back(), values));
    return *this;
  }
  OneNode &scalar(int64_t value) {
    std::string raw(reinterpret_cast<const char *>(&value), 8);
    inputs.push_back("c" + std::to_string(inputs.size()));
    graph.initializers.push_back(proto::tensor(inputs.back(), {}, 7, raw));
    return *this;
  }
  OneNode &floats(const std::vector<float> &values) {
    std::string raw(reinterpret_cast<const char *>(values.data()), values.size() * 4);
    inputs.push_back("c" + std::to_string(inputs.size()));
    // In float_data: those are constants, what lies in the file is a weight.
    graph.initializers.push_back(proto::number(1, static_cast<int64_t>(values.size())) + proto::number(2, 1) +
                                 proto::bytes(8, inputs.back()) + proto::bytes(4, raw));
    return *this;
  }
  OneNode &nothing() {
    inputs.emplace_back();
    return *this;
  }
};

class Misfit : public ::testing::Test {
protected:
  void SetUp() override {
    char pattern[] = "/tmp/commc-misfit-XXXXXX";
    folder = mkdtemp(pattern);
  }
  void TearDown() override { std::filesystem::remove_all(folder); }

  Problems load(const std::string &bytes) {
    std::ofstream(folder + "/m.onnx", std::ios::binary) << bytes;
    Problems problems;
    auto model = OnnxModel::open(folder + "/m.onnx", {}, problems);
    bool good = model && model->check(problems);
    if (good) {
      OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
      good = succeeded(model->importEntry(*module, {}, problems));
    }
    EXPECT_EQ(good, !hasErrors(problems));
    return problems;
  }
  Problems load(const OneNode &one) {
    proto::Graph graph = one.graph;
    graph.nodes = {proto::node(one.op, one.inputs, {"y"}, one.attributes, one.domain)};
    graph.outputs = {proto::value("y", {})};
    return load(proto::model(graph.str(), 10, one.opset));
  }
  void refuse(const OneNode &one, const std::string &code) {
    Problems problems = load(one);
    ASSERT_TRUE(hasErrors(problems)) << one.op;
    EXPECT_EQ(problems[0].code, code) << problems[0].str();
    EXPECT_NE(problems[0].where.find("'y'"), std::string::npos) << problems[0].str();
  }
  void accept(const OneNode &one) {
    Problems problems = load(one);
    EXPECT_FALSE(hasErrors(problems)) << one.op << ": " << (problems.empty() ? "" : problems[0].str());
  }
  MLIRContext context{MLIRContext::Threading::DISABLED};
  std::string folder;
};

std::string text(const std::string &name, const std::string &value) {
  return proto::bytes(5, proto::bytes(1, name) + proto::bytes(4, value) + proto::number(20, 3));
}
std::string list(const std::string &name, const std::vector<int64_t> &values) {
  std::string out = proto::bytes(1, name) + proto::number(20, 7);
  for (int64_t value : values)
    out += proto::number(8, value);
  return proto::bytes(5, out);
}
std::string body(const std::string &name, const proto::Graph &graph) {
  return proto::bytes(5, proto::bytes(1, name) + proto::number(20, 5) + proto::bytes(6, graph.str()));
}
using proto::intAttr;

TEST_F(Misfit, OperandsOfOtherShapes) {
  // The bias says how wide the keys are.
  refuse(
      OneNode("MultiHeadAttention", {{1, 4, 8}, {1, 4, 6}, {1, 4, 8}, {24}}, intAttr("num_heads", 2), "com.microsoft"),
      "E313");
  // Positions of another shape than the ids.
  OneNode embed("EmbedLayerNormalization", {}, "", "com.microsoft");
  embed.input({2, 3}, 6).nothing().input({10, 8}).input({10, 8}).nothing().input({8}).input({8}).nothing();
  refuse(embed.input({5, 7}, 6), "E313");
  // Rotary tables that are single numbers.
  refuse(OneNode("RotaryEmbedding", {{1, 2, 3, 4}, {}, {}}, intAttr("rotary_embedding_dim", 4)), "E313");
  // Indices that are no integers.
  OneNode rotary("RotaryEmbedding", {{1, 2, 3, 4}, {8, 2}, {8, 2}});
  refuse(rotary.input({1, 3}, 9), "E313");
  // Padding on one side that the other side cuts off.
  refuse(OneNode("ConvTranspose", {{1, 1, 4}, {1, 1, 3}}, list("pads", {100, -200})), "E313");
  refuse(OneNode("STFT", {{1, 16, 1}}).scalar(4).input({}).scalar(4), "E402");
  // A mask of integers where a mask is combined with another.
  OneNode attention("Attention", {{1, 2, 3, 4}, {1, 2, 3, 4}, {1, 2, 3, 4}}, intAttr("left_window_size", 1));
  refuse(attention.input({3, 3}, 7), "E313");
}

TEST_F(Misfit, InputsLeftOut) {
  refuse(OneNode("Einsum", {{2, 3}}, text("equation", "ij,jk->ik")).nothing(), "E402");
  refuse(OneNode("Max", {{2, 3}}).nothing(), "E402");
  refuse(OneNode("Concat", {{2, 3}}, intAttr("axis", 0)).nothing(), "E402");
  refuse(OneNode("Gather").nothing().ints({0}), "E402");
  OneNode resize("Resize", {{1, 1, 4, 4}}, text("coordinate_transformation_mode", "tf_crop_and_resize"));
  refuse(resize.nothing().nothing().ints({1, 1, 2, 2}), "E402");
  proto::Graph one;
  one.nodes = {proto::node("Constant", {}, {"z"}, intAttr("value_int", 1))};
  one.outputs = {proto::value("z", {})};
  refuse(OneNode("If", {}, body("then_branch", one) + body("else_branch", one)).nothing(), "E402");
  // A loop that does not run gives what came in.
  proto::Graph loop;
  loop.inputs = {proto::value("i", {}, 7), proto::value("go", {}, 9), proto::value("s", {2})};
  loop.nodes = {proto::node("Identity", {"go"}, {"on"}), proto::node("Identity", {"s"}, {"t"})};
  loop.outputs = {proto::value("on", {}, 9), proto::value("t", {2})};
  refuse(OneNode("Loop", {}, body("body", loop)).scalar(0).nothing().nothing(), "E402");
}

TEST_F(Misfit, HugeSizesBesideAnEmptyDimension) {
  int64_t large = int64_t(1) << 40;
  for (const char *op : {"Flatten", "Relu", "Size", "GlobalAveragePool", "Softmax"}) {
    Problems problems = load(OneNode(op, {{large, large, 0}}));
    ASSERT_TRUE(hasErrors(problems)) << op;
    EXPECT_EQ(problems[0].code, "E304");
  }
  refuse(OneNode("Tile", {{0, 2}}).ints({kHuge, 4}), "E304");
  refuse(OneNode("Reshape", {{0, 2}}).ints({0, large, large}), "E304");
  refuse(OneNode("ConstantOfShape").ints({0, large, large}), "E304");
  proto::Graph graph = proto::small();
  graph.nodes = {proto::node("Add", {"x", "w"}, {"y"})};
  graph.initializers = {proto::tensor("w", {0, large, large}, 1, "")};
  Problems problems = load(proto::model(graph.str()));
  ASSERT_TRUE(hasErrors(problems));
  EXPECT_EQ(problems[0].code, "E304") << problems[0].str();
  accept(OneNode("Flatten", {{0, 1024, 1024}}));
}

TEST_F(Misfit, EmptyPartsFit) {
  accept(OneNode("Slice", {{8}}).ints({8}).ints({8}));
  accept(OneNode("Slice", {{4, 8}}).ints({8}).ints({100}).ints({1}));
  accept(OneNode("Slice", {{8}}).ints({8}).ints({8}).ints({0}).ints({2}));
  accept(OneNode("Split", {{8}}, intAttr("axis", 0)).ints({8}));
  accept(OneNode("Gather", {{8, 3}}).ints({}));
}

TEST_F(Misfit, TooManyDimensions) {
  std::vector<int64_t> axes(65536);
  for (size_t i = 0; i < axes.size(); ++i)
    axes[i] = static_cast<int64_t>(i);
  refuse(OneNode("Unsqueeze", {{2}}).ints(axes), "E304");
  Problems problems = load(OneNode("Relu", {std::vector<int64_t>(65, 1)}));
  ASSERT_TRUE(hasErrors(problems));
  EXPECT_EQ(problems[0].code, "E304");
  accept(OneNode("Relu", {std::vector<int64_t>(64, 1)}));
}

TEST_F(Misfit, NumbersThatOverflow) {
  OneNode group("GroupQueryAttention", {}, intAttr("num_heads", kHuge) + intAttr("kv_num_heads", kHuge),
                "com.microsoft");
  refuse(group.input({1, 2, 0}).nothing().nothing().nothing().nothing().ints({1}).ints({2}), "E313");
  refuse(OneNode("Conv", {{1, 0, 4}, {0, 4, 1}}, intAttr("group", kHuge)), "E313");
  refuse(OneNode("ConvTranspose", {{1, 0, 4}, {0, 4, 1}}, intAttr("group", kHuge)), "E313");
  refuse(OneNode("ReverseSequence", {{2, 3}}, intAttr("batch_axis", INT64_MAX) + intAttr("time_axis", 1)).ints({1, 1}),
         "E402");
  refuse(OneNode("Attention", {{1, 2, 8}, {8, 24}}, list("qkv_hidden_sizes", {kHuge, kHuge, kHuge}), "com.microsoft"),
         "E313");
  refuse(OneNode("Trilu", {{2, 2}}).scalar(INT64_MAX), "E313");
  accept(OneNode("EyeLike", {{2, 2}}, intAttr("k", INT64_MAX)));
  refuse(OneNode("Range").scalar(INT64_MIN).scalar(INT64_MAX).scalar(kHuge), "E402");
  float nan = std::nanf(""), inf = INFINITY;
  for (float wild : {nan, inf, 1e30f}) {
    OneNode resize("Resize", {{2, 2}}, text("coordinate_transformation_mode", "tf_crop_and_resize"));
    refuse(resize.floats({0, wild, 1, 1}).nothing().ints({2, 3}), "E313");
  }
}

/// What would be written out number by number, and is small in the file.
TEST_F(Misfit, TablesThatAreTooLong) {
  int64_t rows = int64_t(1) << 26;
  refuse(OneNode("Pad", {{rows}}, text("mode", "edge")).ints({1, 1}), "E304");
  refuse(OneNode("Slice", {{rows}}).ints({-1}).ints({INT64_MIN}).ints({0}).ints({-1}), "E304");
  refuse(OneNode("ArgMax", {{rows}}), "E304");
  refuse(OneNode("AveragePool", {{1, 1, rows}}, list("kernel_shape", {2})), "E304");
}

TEST_F(Misfit, RowsOfAScanThatGrow) {
  proto::Graph scan;
  scan.inputs = {proto::value("s", {2}), proto::value("e", {})};
  scan.nodes = {proto::node("Concat", {"s", "s"}, {"t"}, intAttr("axis", 0)), proto::node("Identity", {"t"}, {"row"})};
  scan.outputs = {proto::value("t", {}), proto::value("row", {})};
  proto::Graph graph;
  graph.inputs = {proto::value("x", {2}), proto::value("each", {3})};
  graph.nodes = {proto::node("Scan", {"x", "each"}, {"y", "rows"}, body("body", scan) + intAttr("num_scan_inputs", 1))};
  graph.outputs = {proto::value("y", {}), proto::value("rows", {})};
  Problems problems = load(proto::model(graph.str()));
  ASSERT_TRUE(hasErrors(problems));
  EXPECT_EQ(problems[0].code, "E402") << problems[0].str();
}

/// Operators that only commc makes have been checked by what makes them.
TEST_F(Misfit, OwnDomain) {
  refuse(OneNode("QuantizedMatMul", {{2, 3}, {3}, {}}, "", "commc"), "E401");
  refuse(OneNode("GroupedMatMul", {{2, 3}}, "", "commc"), "E401");
}

/// Files that are small and ask for work without end.
TEST_F(Misfit, WorkWithoutEnd) {
  auto function = [](const std::string &name, const std::string &nodes) {
    return proto::bytes(25, proto::bytes(1, name) + proto::bytes(4, "a") + proto::bytes(5, "b") + nodes +
                                proto::bytes(9, proto::bytes(1, "f") + proto::number(2, 1)) +
                                proto::bytes(9, proto::number(2, 20)) + proto::bytes(10, "f"));
  };
  proto::Graph graph = proto::small();
  graph.nodes = {proto::node("F0", {"x"}, {"y"}, "", "f")};
  // 2^31 calls of a function that does nothing.
  std::string calls = proto::model(graph.str());
  for (int i = 0; i < 31; ++i) {
    std::string next = "F" + std::to_string(i + 1);
    calls += function("F" + std::to_string(i), proto::bytes(7, proto::node(next, {"a"}, {}, "", "f")) +
                                                   proto::bytes(7, proto::node(next, {"a"}, {}, "", "f")) +
                                                   proto::bytes(7, proto::node("Identity", {"a"}, {"b"})));
  }
  calls += function("F31", "");
  Problems problems = load(calls);
  ASSERT_TRUE(hasErrors(problems));
  EXPECT_EQ(problems[0].code, "E304") << problems[0].str();
}
} // namespace
