//===- TilePlan.h - a kernel's steps cut into tiles -------------*- C++ -*-===//
// Results of one shape are a group: each tile of the group's index space asks, from the results back to the inputs,
// which box of every value it needs.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Kernels/Tile/Boxes.h"
#include "runtime/Transport/Transport.h"

namespace comm::rt {

enum class TileStepKind { Elementwise, Constant, Broadcast, Reduce, RMSNorm, LayerNorm, Softmax, Rotary };

struct TileStep {
  TileStepKind kind = TileStepKind::Elementwise;
  std::vector<size_t> operands; ///< values
  TileLoop loop = nullptr;      ///< of elements, or how a reduction combines
  std::vector<int64_t> dims;
  double epsilon = 0;
  bool interleaved = false;
  std::vector<uint8_t> value;  ///< of a constant, or the first of a reduction: one element
  std::vector<uint8_t> filled; ///< a constant as often as a tile needs it
};

struct TileValue {
  exe::DType stored = exe::DType::F32, type = exe::DType::F32; ///< in memory, and while computing
  exe::Shape shape;
  int64_t width = 4; ///< bytes of `type`
};

/// Values computed together: results of one shape and what they need.
struct TileGroup {
  exe::Shape shape;
  std::vector<size_t> results;        ///< positions among the outputs
  std::vector<bool> needed;           ///< by value
  std::vector<int64_t> slots;         ///< by value: offset in the scratch memory; -1: none
  std::vector<int64_t> outputOf;      ///< by value: the output it may be computed in; -1: none
  std::array<int64_t, 3> temporary{}; ///< for operands of which a part is read
  int64_t bytes = 0, split = 0, along = 1, tiles = 1;

  /// Tile `t`: single indices before dimension `split`, a range of it, all of the rest.
  Box tile(int64_t t) const {
    Box box = wholeBox(shape);
    if (shape.empty())
      return box;
    auto d = static_cast<size_t>(split);
    int64_t parts = (shape[d] + along - 1) / along, outer = t / parts, first = t % parts * along;
    box.begin[d] = first;
    box.size[d] = std::min(along, shape[d] - first);
    while (d-- > 0) {
      box.begin[d] = outer % shape[d];
      box.size[d] = 1;
      outer /= shape[d];
    }
    return box;
  }
};

/// A box that is asked for, of one value.
struct AskedBox {
  Box box;
  bool empty = true;
};

class TilePlan {
public:
  std::vector<TileValue> values; ///< the kernel's inputs, then one per step
  std::vector<TileStep> steps;
  std::vector<size_t> outputs; ///< values
  std::vector<TileGroup> groups;
  size_t inputs = 0;

  /// Of a checked declaration. Unsupported: a step without a loop; `where` begins the sentence.
  Status make(const exe::Kernel &declared, const std::string &where);
  /// Boxes that tile `t` needs, by value.
  void ask(const TileGroup &group, int64_t t, std::vector<AskedBox> &boxes) const;
  /// Adds to the boxes that are asked for those that they need of their operands.
  void askBack(std::vector<AskedBox> &boxes) const;
  /// The part of operand `i` that the step of value `v` needs for `box` of its result.
  Box partOf(size_t v, size_t i, const Box &box) const;

private:
  void addValue(exe::DType stored, const exe::Shape &shape);
  bool bind(const exe::KernelStep &s, TileStep &step) const;
  void addToGroup(size_t output);
  void plan(TileGroup &group);
  void chooseTiles(TileGroup &group) const;
  void layOut(TileGroup &group, const std::vector<int64_t> &most);
};

} // namespace comm::rt
