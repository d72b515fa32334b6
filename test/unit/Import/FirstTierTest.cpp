//===- FirstTierTest.cpp - the exported models of test/data ---------------===//
#include "comm/IR/CommOps.h"
#include "comm/Import/Import.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Import/Passes.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace mlir::comm;

namespace {
struct Case {
  const char *name;
  std::map<std::string, int64_t> dims;
  int attentions, states, heads, kvHeads;
};
class FirstTier : public ::testing::TestWithParam<Case> {};

std::string pathOf(const std::string &name) { return std::string(COMM_TEST_DATA) + "/models/" + name + "/model.onnx"; }

/// Attention is recognised with its own number of kv heads, caches are paired, and nothing decomposed is left.
TEST_P(FirstTier, ImportsAndRaises) {
  const Case &test = GetParam();
  Problems problems;
  auto model = OnnxModel::open(pathOf(test.name), {}, problems);
  ASSERT_TRUE(model && model->check(problems)) << (problems.empty() ? "" : problems[0].str());
  MLIRContext context;
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  ImportOptions options;
  options.dims = test.dims;
  ASSERT_TRUE(succeeded(model->importEntry(*module, options, problems))) << (problems.empty() ? "" : problems[0].str());
  PassManager manager(&context);
  buildImportPhase(manager, [](llvm::StringRef) { return true; });
  ASSERT_TRUE(succeeded(manager.run(*module)));
  int attentions = 0;
  module->walk([&](Operation *op) {
    EXPECT_FALSE(isa<SoftmaxOp>(op)) << "an attention is left decomposed";
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      ++attentions;
      EXPECT_EQ(cast<RankedTensorType>(attention.getQuery().getType()).getDimSize(1), test.heads);
      EXPECT_EQ(cast<RankedTensorType>(attention.getKey().getType()).getDimSize(1), test.kvHeads);
    }
  });
  EXPECT_EQ(attentions, test.attentions);
  auto function = *module->getOps<func::FuncOp>().begin();
  int states = 0;
  for (unsigned i = 0; i < function.getNumArguments(); ++i)
    if (auto state = function.getArgAttrOfType<StringAttr>(i, kStateAttr)) {
      int matches = 0;
      for (unsigned j = 0; j < function.getNumResults(); ++j)
        matches += function.getResultAttrOfType<StringAttr>(j, kStateAttr) == state;
      EXPECT_EQ(matches, 1);
      ++states;
    }
  EXPECT_EQ(states, test.states);
}

const Case cases[] = {
    {"mlp", {}, 0, 0, 0, 0},
    {"bert_dynamic", {{"batch", 3}, {"sequence", 12}}, 2, 0, 4, 4},
    {"bert_torchscript_op14", {{"batch", 3}, {"sequence", 11}}, 2, 0, 4, 4},
    {"gpt2_dynamic", {{"batch", 3}, {"sequence", 11}}, 2, 0, 4, 4},
    {"llama_static", {}, 2, 0, 8, 4},
    {"llama_cache", {{"batch", 2}, {"sequence", 9}, {"past_sequence", 0}, {"total_sequence", 9}}, 2, 4, 8, 4},
    {"llama_cache", {{"batch", 2}, {"sequence", 1}, {"past_sequence", 9}, {"total_sequence", 10}}, 2, 4, 8, 4},
    {"llama_cache", {{"batch", 1}, {"sequence", 3}, {"past_sequence", 9}, {"total_sequence", 12}}, 2, 4, 8, 4},
    {"genai_llama_fp32",
     {{"batch_size", 1},
      {"sequence_length", 7},
      {"past_sequence_length", 0},
      {"total_sequence_length", 7},
      {"kv_cache_dim", 16}},
     2,
     4,
     4,
     2},
    {"genai_llama_fp32",
     {{"batch_size", 1},
      {"sequence_length", 1},
      {"past_sequence_length", 7},
      {"total_sequence_length", 8},
      {"kv_cache_dim", 16}},
     2,
     4,
     4,
     2},
    {"qwen2_cache_op23", {{"batch", 1}, {"sequence", 9}, {"past_sequence", 0}, {"total_sequence", 9}}, 2, 4, 8, 2},
    {"qwen2_cache_op23", {{"batch", 1}, {"sequence", 1}, {"past_sequence", 9}, {"total_sequence", 10}}, 2, 4, 8, 2},
};
INSTANTIATE_TEST_SUITE_P(Models, FirstTier, ::testing::ValuesIn(cases), [](const auto &info) {
  return std::string(info.param.name) + "_" + std::to_string(info.index);
});

/// The refused model names its operator and node.
TEST(FirstTierRefused, NamesOperatorAndNode) {
  Problems problems;
  auto model = OnnxModel::open(pathOf("lstm_refused"), {}, problems);
  ASSERT_TRUE(model);
  EXPECT_FALSE(model->check(problems));
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].code, "E401");
  EXPECT_NE(problems[0].what.find("LSTM-20 x2, first at node 'node_LSTM"), std::string::npos) << problems[0].what;
}

/// Missing sizes come with the flags to paste.
TEST(FirstTierDims, MissingSizesAreListed) {
  Problems problems;
  auto model = OnnxModel::open(pathOf("llama_cache"), {}, problems);
  ASSERT_TRUE(model);
  MLIRContext context;
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  EXPECT_TRUE(failed(model->importEntry(*module, {}, problems)));
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].code, "E212");
  EXPECT_NE(problems[0].hint.find("--dim batch=1 --dim past_sequence=0 --dim sequence=16"), std::string::npos)
      << problems[0].hint;
  EXPECT_TRUE(module->getOps<func::FuncOp>().empty());
}
} // namespace
