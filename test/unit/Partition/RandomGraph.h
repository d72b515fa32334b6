//===- RandomGraph.h - small models at random -------------------*- C++ -*-===//
#ifndef TEST_UNIT_PARTITION_RANDOMGRAPH_H
#define TEST_UNIT_PARTITION_RANDOMGRAPH_H
#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace commtest {
/// Axis names and sizes of a grid.
struct TestGrid {
  std::vector<std::string> names;
  std::vector<int64_t> sizes;
  std::string text() const;
};

/// The text of a module with a grid and a function @main. Equal seeds give equal texts.
class RandomGraph {
public:
  RandomGraph(uint32_t seed, TestGrid grid, bool fixedLayouts);
  std::string module();

private:
  struct Tensor {
    std::string name;
    std::vector<int64_t> shape;
  };
  int64_t pick(int64_t low, int64_t high);
  bool chance(int percent) { return pick(1, 100) <= percent; }
  std::string fresh() { return "%v" + std::to_string(counter++); }
  static std::string type(const std::vector<int64_t> &shape, const char *element = "f64");
  static std::string type(const Tensor &tensor) { return type(tensor.shape); }
  /// A layout that fits the shape, or nothing.
  std::string layout(const std::vector<int64_t> &shape);
  Tensor emit(const std::string &op, const std::vector<int64_t> &shape, const std::string &types);
  Tensor weight(const std::vector<int64_t> &shape);
  Tensor empty(const std::vector<int64_t> &shape);
  Tensor any(size_t minRank, size_t maxRank);
  Tensor add(const Tensor &value) {
    pool.push_back(value);
    return value;
  }
  Tensor transpose(const Tensor &x, const std::vector<int64_t> &permutation);
  Tensor linear(const Tensor &x, int64_t columns);
  Tensor heads(const Tensor &x, int64_t count, int64_t depth);
  void step();
  void elementwise();
  void attention();
  void reduce();
  void sliceOrConcat();
  void lookUp();

  std::mt19937 engine;
  TestGrid grid;
  bool fixedLayouts;
  int counter = 0;
  int64_t offset = 0;
  std::string body;
  std::vector<std::string> arguments;
  std::vector<Tensor> pool;
};
} // namespace commtest
#endif
