//===- EqualityCollectives.cpp - what collectives compute -----------------===//
// All members of a group at once.
//===----------------------------------------------------------------------===//
#include "EqualityRules.h"
#include <algorithm>
#include <optional>

using namespace comm::exe;

namespace comm::proof {
namespace {
constexpr const char *badShapes = "operands whose shapes do not fit";

class CollectiveRule {
public:
  CollectiveRule(State &state, int64_t first, const Command &c, const std::vector<std::vector<SharedView>> &operands)
      : s(state), first(first), c(c), operands(operands), n(static_cast<int64_t>(operands.size())),
        kind(collectiveOf(c)) {}

  std::vector<std::vector<SharedView>> run() {
    require(!c.inputs.empty() && !c.outputs.empty(), "another number of operands");
    for (const std::vector<SharedView> &member : operands)
      require(member.size() == c.inputs.size(), "another number of operands");
    std::vector<std::vector<SharedView>> out;
    if (kind == "scatter_norm_gather")
      return scatterNormGather();
    require(c.inputs.size() == 1 && c.outputs.size() == 1, "another number of operands");
    for (int64_t member = 0; member < n; ++member) {
      View v = of(member);
      v.size = elements(c.outputs[0]);
      simplify(v);
      out.push_back({std::make_shared<View>(std::move(v))});
    }
    return out;
  }

private:
  int64_t elements(int32_t v) const { return numElements(s.value(first, v).shape); }
  const View &operand(int64_t member) const { return *operands[static_cast<size_t>(member)][0]; }

  /// The sum over the group, made once.
  const View &sumOfAll() {
    if (!sum) {
      require(kind == "scatter_norm_gather" || n == 1 || textOf(c.attrs, "reduce") == "sum",
              "a reduction that is no sum");
      std::vector<const View *> views;
      for (int64_t m = 0; m < n; ++m)
        views.push_back(&operand(m));
      sum = s.terms.sum(views);
    }
    return *sum;
  }

  /// Appends `count` elements of a view, from `source` on, at `target`.
  static void place(View &to, const View &from, int64_t source, int64_t count, int64_t target) {
    View part = compose(from, {source, target, {count}, {1}, {1}}, to.size);
    to.pieces.insert(to.pieces.end(), part.pieces.begin(), part.pieces.end());
  }

  View of(int64_t mine) {
    int64_t x = elements(c.inputs[0]), y = elements(c.outputs[0]);
    View v{y, {}};
    if (kind == "all_reduce") {
      require(x == y, badShapes);
      return sumOfAll();
    }
    if (kind == "reduce_scatter") {
      require(x == y * n, badShapes);
      place(v, sumOfAll(), mine * y, y, 0);
    } else if (kind == "all_gather") {
      require(y == x * n, badShapes);
      for (int64_t i = 0; i < n; ++i)
        place(v, operand(i), 0, x, i * x);
    } else if (kind == "all_to_all") {
      require(x == y && x % n == 0, badShapes);
      for (int64_t i = 0; i < n; ++i)
        place(v, operand(i), mine * (x / n), x / n, i * (x / n));
    } else if (kind == "broadcast") {
      int64_t root = intOf(c.attrs, "root");
      require(x == y && root >= 0 && root < n, badShapes);
      return operand(root);
    } else if (kind == "permute") {
      int64_t from = ((mine - intOf(c.attrs, "shift") % n) % n + n) % n;
      require(x == y, badShapes);
      return operand(from);
    } else {
      throw NoRule{"a collective without a rule"};
    }
    return v;
  }

  /// Block of the sum + bias + residual, its norm, and the norms of all members; fill rows are undefined.
  std::vector<std::vector<SharedView>> scatterNormGather() {
    bool hasBias = intOf(c.attrs, "has_bias") != 0, hasNormBias = intOf(c.attrs, "has_norm_bias") != 0;
    require(c.inputs.size() == 3 + size_t(hasBias) + size_t(hasNormBias) && c.outputs.size() == 3,
            "another number of operands");
    const Shape &block = s.value(first, c.inputs[1]).shape;
    int64_t rows = intOf(c.attrs, "rows"), size = numElements(block);
    require(block.size() == 2 && block[1] > 0 && rows >= 0 && rows < (int64_t(1) << 40), badShapes);
    int64_t R = block[0], C = block[1];
    require(elements(c.inputs[0]) == n * size && elements(c.inputs[2]) == C && elements(c.outputs[0]) == n * size &&
                elements(c.outputs[1]) == size && elements(c.outputs[2]) == size && rows <= n * R,
            badShapes);
    std::vector<SharedView> blocks, own;
    for (size_t r = 0; r < operands.size(); ++r) {
      auto mine = static_cast<int64_t>(r);
      int64_t count = std::clamp<int64_t>(rows - mine * R, 0, R);
      View x{size, {}}, residual{size, {}};
      place(x, sumOfAll(), mine * size, count * C, 0);
      place(residual, *operands[r][1], 0, count * C, 0);
      std::vector<const View *> views = {&x, &residual};
      View bias;
      if (hasBias) {
        require(elements(c.inputs[3]) == C, badShapes);
        bias = compose(*operands[r][3], {0, 0, {count, C}, {C, 1}, {0, 1}}, size);
        views.push_back(&bias);
      }
      blocks.push_back(std::make_shared<View>(s.terms.sum(views)));
      Operation o;
      o.op = intOf(c.attrs, "layer_norm") != 0 ? "layer_norm" : "rms_norm";
      o.attrs = std::string(dtypeName(s.value(first, c.inputs[1]).dtype)) + " " + exact(floatOf(c.attrs, "epsilon"));
      o.add(R, kEach, C);
      o.add(C, 'c', 1);
      o.size = size;
      o.operands.push_back({blocks.back(), 0, {C, 1}});
      o.operands.push_back({operands[r][2], 0, {0, 1}});
      if (hasNormBias) {
        require(elements(c.inputs.back()) == C, badShapes);
        o.operands.push_back({operands[r].back(), 0, {0, 1}});
      }
      own.push_back(std::make_shared<View>(apply(s.terms, std::move(o))));
    }
    std::vector<std::vector<SharedView>> out;
    for (size_t r = 0; r < operands.size(); ++r) {
      View normed{n * size, {}};
      for (int64_t m = 0; m < n; ++m)
        place(normed, *own[static_cast<size_t>(m)], 0, size, m * size);
      simplify(normed);
      out.push_back({std::make_shared<View>(std::move(normed)), blocks[r], own[r]});
    }
    return out;
  }

  State &s;
  int64_t first;
  const Command &c;
  const std::vector<std::vector<SharedView>> &operands;
  int64_t n; ///< members
  const std::string &kind;
  std::optional<View> sum;
};
} // namespace

std::vector<std::vector<SharedView>> applyCollective(State &state, int64_t first, const Command &command,
                                                     const std::vector<std::vector<SharedView>> &operands) {
  return CollectiveRule(state, first, command, operands).run();
}

} // namespace comm::proof
