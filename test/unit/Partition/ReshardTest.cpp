//===- ReshardTest.cpp - every pair of layouts has a right way ------------===//
#include "SplitCase.h"
#include "comm/Analysis/Layout.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace mlir::comm;
using commtest::compareSplit;

namespace {
struct TestAxes {
  const char *text;
  SmallVector<std::string> names;
};

/// All layouts of a matrix over the axes: each axis on a dimension, partial, or nowhere, in every order.
SmallVector<std::string> allLayouts(ArrayRef<std::string> axes, ArrayRef<int64_t> grains) {
  SmallVector<std::string> out;
  SmallVector<std::string> order(axes);
  llvm::sort(order);
  do {
    int64_t count = 1;
    for (size_t i = 0; i < order.size(); ++i)
      count *= 4;
    for (int64_t code = 0; code < count; ++code) {
      std::string dims[2], partial;
      int64_t rest = code;
      for (const std::string &axis : order) {
        int64_t to = rest % 4;
        rest /= 4;
        std::string &list = to < 2 ? dims[to] : partial;
        if (to < 3)
          list += (list.empty() ? "\"" : ", \"") + axis + "\"";
      }
      std::string text = "#comm.layout<[[" + dims[0] + "], [" + dims[1] + "]]" +
                         (partial.empty() ? "" : " partial [" + partial + "]") + " grain [" +
                         std::to_string(grains[0]) + ", " + std::to_string(grains[1]) + "]>";
      if (!llvm::is_contained(out, text))
        out.push_back(text);
    }
  } while (std::next_permutation(order.begin(), order.end()));
  return out;
}

void checkAllPairs(const std::string &grid, ArrayRef<std::string> axes, const std::string &type,
                   ArrayRef<int64_t> grains, size_t stride) {
  SmallVector<std::string> layouts = allLayouts(axes, grains);
  size_t number = 0;
  for (const std::string &from : layouts)
    for (const std::string &to : layouts) {
      if (number++ % stride != 0)
        continue;
      std::string text = grid + "func.func @main(%x: " + type + " {comm.layout = " + from + "}) -> (" + type +
                         " {comm.layout = " + to + "}) {\n  return %x : " + type + "\n}\n";
      ASSERT_EQ(compareSplit(text, number, {}), "") << text;
    }
}

TEST(Reshard, AllPairsOn2x2) {
  checkAllPairs("comm.grid @grid [\"a\", \"b\"] = [2, 2]\n", {"a", "b"}, "tensor<8x4xf32>", {1, 1}, 1);
}
TEST(Reshard, AllPairsOn2x3Uneven) {
  checkAllPairs("comm.grid @grid [\"a\", \"b\"] = [2, 3]\n", {"a", "b"}, "tensor<7x10xf32>", {1, 1}, 1);
}
TEST(Reshard, AllPairsOn2x2Grains) {
  checkAllPairs("comm.grid @grid [\"a\", \"b\"] = [2, 2]\n", {"a", "b"}, "tensor<20x8xf32>", {4, 4}, 1);
}
TEST(Reshard, SomePairsOn2x2x3) {
  checkAllPairs("comm.grid @grid [\"a\", \"b\", \"c\"] = [2, 2, 3]\n", {"a", "b", "c"}, "tensor<12x5xf32>", {1, 1}, 37);
}
} // namespace
