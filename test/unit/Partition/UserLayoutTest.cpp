//===- UserLayoutTest.cpp - layouts given on the command line -------------===//
#include "SplitCase.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace mlir::comm;

namespace {
const char *kModel = R"(
comm.grid @grid ["dp", "tp"] = [2, 2]
func.func @main(%x: tensor<4x8xf32> {comm.name = "x"}) -> (tensor<4x8xf32> {comm.name = "y"}) {
  %h = comm.gelu erf %x : tensor<4x8xf32> loc("hidden")
  %y = comm.silu %h : tensor<4x8xf32>
  return %y : tensor<4x8xf32>
}
)";

struct UserLayout : testing::Test {
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(kModel, &commtest::sharedContext());
  func::FuncOp function = module->lookupSymbol<func::FuncOp>("main");
  std::string error;
};

TEST_F(UserLayout, WritesOnArgumentsResultsAndNamedOps) {
  EXPECT_TRUE(applyUserLayout(function, "x", "dp,*", error)) << error;
  EXPECT_TRUE(applyUserLayout(function, "y", "*,tp", error)) << error;
  EXPECT_TRUE(applyUserLayout(function, "hidden", "dp+tp,*", error)) << error;
  auto text = [](Attribute attr) {
    std::string out;
    llvm::raw_string_ostream(out) << attr;
    return out;
  };
  EXPECT_EQ(text(function.getArgAttr(0, kLayoutAttr)), "#comm.layout<[[\"dp\"], []]>");
  EXPECT_EQ(text(function.getResultAttr(0, kLayoutAttr)), "#comm.layout<[[], [\"tp\"]]>");
  EXPECT_EQ(text(function.getBody().front().front().getAttr(kLayoutAttr)), "#comm.layout<[[\"dp\", \"tp\"], []]>");
}

TEST_F(UserLayout, TakesPartialSumsAndAttributes) {
  EXPECT_TRUE(applyUserLayout(function, "hidden", "dp,*,partial:tp", error)) << error;
  EXPECT_TRUE(applyUserLayout(function, "x", "#comm.layout<[[], [\"tp\"]] grain [1, 4]>", error)) << error;
}

TEST_F(UserLayout, SaysWhatIsWrong) {
  EXPECT_FALSE(applyUserLayout(function, "nowhere", "*,tp", error));
  EXPECT_EQ(error, "there is no value called 'nowhere'");
  EXPECT_FALSE(applyUserLayout(function, "x", "*", error));
  EXPECT_NE(error.find("does not fit 'x'"), std::string::npos) << error;
  EXPECT_FALSE(applyUserLayout(function, "x", "*,pp", error));
  EXPECT_NE(error.find("axis that the grid does not have"), std::string::npos) << error;
  EXPECT_FALSE(applyUserLayout(function, "x", "tp,tp", error));
  EXPECT_NE(error.find("used twice"), std::string::npos) << error;
  EXPECT_FALSE(applyUserLayout(function, "x", "#comm.layout<oops>", error));
  EXPECT_FALSE(applyUserLayout(function, "x", "tp+,*", error));
  EXPECT_FALSE(function.getArgAttr(0, kLayoutAttr));
}
} // namespace
