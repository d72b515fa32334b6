//===- LayoutTest.cpp - takeShard, assemble, weights under layouts --------===//
#include "TestSupport.h"
#include "mlir/AsmParser/AsmParser.h"

using namespace testing_interpreter;

namespace {
struct World {
  OwningOpRef<ModuleOp> module;
  GridOp grid;
  explicit World(const std::string &gridText) : module(parse(gridText)), grid(getGrid(*module)) {}
  LayoutAttr layout(const std::string &text) const {
    return cast<LayoutAttr>(parseAttribute("#comm.layout<" + text + ">", &context()));
  }
};

HostTensor hostTensor(ArrayRef<int64_t> shape, const Numbers &numbers) {
  return toTensor(RankedTensorType::get(shape, Float32Type::get(&context())), numbers);
}

Args shards(const World &world, const HostTensor &whole, LayoutAttr layout, std::vector<HostTensor> *out = nullptr) {
  Args numbers;
  for (int64_t rank = 0; rank < GridOp(world.grid).getNumRanks(); ++rank) {
    HostTensor shard = takeShard(whole, layout, world.grid, rank);
    numbers.push_back(toNumbers(shard));
    if (out)
      out->push_back(std::move(shard));
  }
  return numbers;
}
const char *kGrid22 = "comm.grid @grid [\"dp\", \"tp\"] = [2, 2]";
const char *kGrid23 = "comm.grid @grid [\"dp\", \"tp\"] = [2, 3]";
} // namespace

TEST(Layout, TakeShardByHand) {
  World world(kGrid22);
  HostTensor whole = hostTensor({2, 3}, {1, 2, 3, 4, 5, 6});
  EXPECT_EQ(shards(world, whole, world.layout("[[], []]")), Args(4, counting(6)));
  EXPECT_EQ(shards(world, whole, world.layout("[[\"dp\"], []]")), Args({{1, 2, 3}, {1, 2, 3}, {4, 5, 6}, {4, 5, 6}}));
  EXPECT_EQ(shards(world, whole, world.layout("[[\"dp\"], [\"tp\"]]")), Args({{1, 2}, {3, 0}, {4, 5}, {6, 0}}));
  EXPECT_EQ(shards(world, whole, world.layout("[[], [\"tp\", \"dp\"]]")), Args({{1, 4}, {3, 6}, {2, 5}, {0, 0}}));
  EXPECT_EQ(shards(world, whole, world.layout("[[\"dp\"], []] partial [\"tp\"]")),
            Args({{1, 2, 3}, {0, 0, 0}, {4, 5, 6}, {0, 0, 0}}));
}

TEST(Layout, RoundTrips) {
  for (const char *grid : {kGrid22, kGrid23}) {
    World world(grid);
    for (const char *text :
         {"[[], []]", "[[\"dp\"], []]", "[[], [\"tp\"]]", "[[\"tp\"], [\"dp\"]]", "[[\"tp\", \"dp\"], []]",
          "[[], []] partial [\"tp\"]", "[[\"dp\"], []] partial [\"tp\"]", "[[], []] partial [\"dp\", \"tp\"]",
          "[[\"tp\"], []] grain [2, 1]", "[[], [\"dp\", \"tp\"]] grain [1, 4]", "[[\"tp\"], [\"dp\"]] grain [4, 2]"})
      for (const std::vector<int64_t> &shape : {std::vector<int64_t>{4, 8}, {8, 4}, {0, 4}}) {
        HostTensor whole = hostTensor(shape, counting(shape[0] * shape[1]));
        std::vector<HostTensor> parts;
        shards(world, whole, world.layout(text), &parts);
        FailureOr<HostTensor> again = assemble(parts, whole.type, world.layout(text), world.grid);
        ASSERT_TRUE(succeeded(again)) << grid << " " << text;
        EXPECT_TRUE(*again == whole) << grid << " " << text;
      }
  }
}

TEST(Layout, UnevenSizesRoundTrip) {
  World world("comm.grid @grid [\"tp\"] = [4]");
  for (int64_t size : {1, 2, 3, 5, 6, 7, 9}) {
    HostTensor whole = hostTensor({size}, counting(size));
    std::vector<HostTensor> parts;
    shards(world, whole, world.layout("[[\"tp\"]]"), &parts);
    FailureOr<HostTensor> again = assemble(parts, whole.type, world.layout("[[\"tp\"]]"), world.grid);
    ASSERT_TRUE(succeeded(again)) << size;
    EXPECT_TRUE(*again == whole) << size;
  }
}

TEST(Layout, PartialSumsAreAdded) {
  World world(kGrid22);
  LayoutAttr layout = world.layout("[[\"dp\"]] partial [\"tp\"]");
  std::vector<HostTensor> parts = {hostTensor({1}, {1}), hostTensor({1}, {10}), hostTensor({1}, {2}),
                                   hostTensor({1}, {20})};
  FailureOr<HostTensor> whole = assemble(parts, hostTensor({2}, {0, 0}).type, layout, world.grid);
  ASSERT_TRUE(succeeded(whole));
  EXPECT_EQ(whole->floats, Numbers({11, 22}));
  // Under stand-ins the sum is modular.
  parts[0].floats[0] = parts[1].floats[0] = 2147483646;
  InterpreterOptions standIns;
  standIns.integerStandIns = true;
  whole = assemble(parts, hostTensor({2}, {0, 0}).type, layout, world.grid, standIns);
  ASSERT_TRUE(succeeded(whole));
  EXPECT_EQ(whole->floats, Numbers({2147483645, 22}));
}

TEST(Layout, DisagreementIsFound) {
  World world(kGrid22);
  RankedTensorType type = hostTensor({2}, {0, 0}).type;
  auto all = [&](const char *layout, const std::vector<HostTensor> &parts) {
    return succeeded(assemble(parts, type, world.layout(layout), world.grid));
  };
  std::vector<HostTensor> same(4, hostTensor({2}, {1, kNaN})), other = same;
  other[2].floats[0] = 1.5;
  EXPECT_TRUE(all("[[]]", same)); // NaN agrees with NaN
  EXPECT_FALSE(all("[[]]", other));
  other[2].floats[0] = kNaN;
  EXPECT_FALSE(all("[[]]", other));
  // Ranks 0, 2 and 1, 3 hold the same shard.
  EXPECT_TRUE(
      all("[[\"tp\"]]", {hostTensor({1}, {1}), hostTensor({1}, {2}), hostTensor({1}, {1}), hostTensor({1}, {2})}));
  EXPECT_FALSE(
      all("[[\"tp\"]]", {hostTensor({1}, {1}), hostTensor({1}, {2}), hostTensor({1}, {1}), hostTensor({1}, {3})}));
  // Sums that disagree between replicas.
  EXPECT_TRUE(all("[[]] partial [\"tp\"]", {hostTensor({2}, {1, 1}), hostTensor({2}, {2, 2}), hostTensor({2}, {3, 3}),
                                            hostTensor({2}, {0, 0})}));
  EXPECT_FALSE(all("[[]] partial [\"tp\"]", {hostTensor({2}, {1, 1}), hostTensor({2}, {2, 2}), hostTensor({2}, {3, 3}),
                                             hostTensor({2}, {0, 1})}));
  // Too few shards, and shards of another shape.
  EXPECT_FALSE(all("[[]]", {hostTensor({2}, {1, 1})}));
  EXPECT_FALSE(all("[[]]", {}));
  EXPECT_FALSE(all("[[\"tp\"]]", same));
}

TEST(Layout, WeightsAreSlicedThenSplit) {
  // Stored [4, 3], rows 1..3, columns split over 2 ranks: 2 and 1 with fill.
  std::string text = R"(comm.grid @grid ["tp"] = [2]
    func.func @f() -> tensor<2x2xf32> {
      %w = comm.weight "w" in "w.bin" at 0 slices [#comm.slice<0, 1, 2>] layout <[[], ["tp"]]>
        : tensor<4x3xf32> -> tensor<2x2xf32>
      return %w : tensor<2x2xf32> })";
  InterpreterOptions options;
  options.weight = [](WeightOp op) -> FailureOr<HostTensor> {
    return toTensor(cast<RankedTensorType>(op.getStored()), counting(12, 0));
  };
  EXPECT_EQ(runRanks(text, {{}, {}}, options), Args({{3, 4, 6, 7}, {5, 0, 8, 0}}));
  options.weight = [](WeightOp) -> FailureOr<HostTensor> { return hostTensor({1}, {1}); };
  EXPECT_TRUE(tryRanks(text, {{}, {}}, options).empty());
}

TEST(Layout, MadeUpWeightsDependOnTheirPlaceOnly) {
  auto text = [](const std::string &slices, const std::string &type, int offset) {
    return "func.func @f() -> " + type + " { %w = comm.weight \"w\" in \"w.bin\" at " + std::to_string(offset) + " " +
           slices + " : tensor<4x2xf32> -> " + type + "\n return %w : " + type + " }";
  };
  Numbers whole = run(text("", "tensor<4x2xf32>", 0), {});
  EXPECT_EQ(run(text("slices [#comm.slice<0, 2, 2>]", "tensor<2x2xf32>", 0), {}),
            Numbers(whole.begin() + 4, whole.end()));
  EXPECT_NE(run(text("", "tensor<4x2xf32>", 64), {}), whole);
  for (double x : whole)
    EXPECT_TRUE(x == std::floor(x) && std::fabs(x) <= 3) << x;
}
