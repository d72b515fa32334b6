//===- RowChain.cpp - steps that run block of rows by block of rows -------===//
#include "runtime/Core/RowChain.h"
#include "runtime/Kernels/Tile/TilePlan.h"
#include <algorithm>
#include <numeric>

namespace comm::rt {
namespace {
constexpr size_t mostSteps = 64;   ///< of a chain; threads may meet that often
constexpr int64_t fewestRows = 64; ///< of a product in a block: its weights pass through the cache once per block

bool overlap(const OperandRange &a, const OperandRange &b) {
  return a.space >= 0 && a.space == b.space && a.begin < b.begin + b.bytes && b.begin < a.begin + a.bytes;
}
bool same(const OperandRange &a, const OperandRange &b) { return a.begin == b.begin && a.bytes == b.bytes; }

/// Part r of what is written touches nothing of what other parts of the reader read.
bool isApart(const OperandRange &written, const ChainStep &reader, size_t input, int64_t units) {
  const OperandRange &read = reader.inputs[input];
  return !overlap(written, read) || (same(written, read) && reader.readsOwnPart(input, units));
}

class Finder {
public:
  Finder(const std::vector<ChainStep> &steps, int64_t threads, int64_t rowsPerBlock)
      : steps(steps), threads(threads), rowsPerBlock(rowsPerBlock) {}

  std::vector<RowChain> run() const {
    std::vector<RowChain> chains;
    for (size_t i = 0; i < steps.size();) {
      RowChain best = from(i);
      if (best.count)
        chains.push_back(best);
      i += std::max<size_t>(best.count, 1);
    }
    return chains;
  }

private:
  /// The longest chain that begins at `first` and is worth it; it may go through shorter ones that are not.
  RowChain from(size_t first) const {
    RowChain best;
    int64_t units = steps[first].rows;
    for (size_t last = first, end = std::min(steps.size(), first + mostSteps); last < end; ++last) {
      int64_t before = units;
      units = std::gcd(units, steps[last].rows);
      if (steps[last].rows == 0 || units < 2)
        break;
      // A coarser cut may undo what a finer one allowed.
      bool fit = true;
      for (size_t late = units == before ? last : first; fit && late <= last; ++late)
        fit = partsAreApart(steps, first, late, [=](const ChainStep &) { return units; });
      if (!fit)
        break;
      if (RowChain chain{first, last + 1 - first, units, 0}; worthwhile(chain))
        best = chain;
    }
    return best;
  }

  bool worthwhile(RowChain &chain) const {
    int64_t largest = 0;
    bool product = false;
    for (size_t i = chain.first; i < chain.first + chain.count; ++i) {
      product |= steps[i].productRows > rowsPerBlock;
      largest = std::max(largest, steps[i].productRows);
    }
    if (!product || chain.count < 2)
      return false;
    // As many blocks as threads, or a multiple: whole blocks are what a thread gets.
    int64_t wanted = (largest + rowsPerBlock - 1) / rowsPerBlock;
    chain.blocks = std::min((wanted + threads - 1) / threads * threads, chain.units);
    bool even = chain.blocks % threads == 0 && (chain.units % chain.blocks == 0 || chain.units >= 8 * chain.blocks);
    return even && largest / chain.blocks >= fewestRows;
  }

  const std::vector<ChainStep> &steps;
  const int64_t threads, rowsPerBlock;
};

/// Part `part` of `units` equal contiguous ones of a tensor, as a box; false where it is none.
bool partBox(const exe::Shape &shape, int64_t units, int64_t part, Box &box) {
  if (shape.size() > Box::maxRank)
    return false;
  box = wholeBox(shape);
  int64_t left = units; // parts that the dimensions before have not made
  int64_t inner = 1;
  size_t d = 0;
  for (; d < shape.size() && left > 1; ++d) {
    if (shape[d] <= 0)
      return false;
    if (left % shape[d] != 0)
      break;
    left /= shape[d];
  }
  if (left > 1 && (d == shape.size() || shape[d] % left != 0))
    return false;
  if (left > 1) {
    box.size[d] = shape[d] / left;
    box.begin[d] = part % left * box.size[d];
    inner = left;
  }
  for (int64_t outer = part / inner; d-- > 0; outer /= shape[d]) {
    box.begin[d] = outer % shape[d];
    box.size[d] = 1;
  }
  return true;
}
} // namespace

bool partsAreApart(const std::vector<ChainStep> &steps, size_t first, size_t last,
                   const std::function<int64_t(const ChainStep &)> &units) {
  const ChainStep &b = steps[last];
  for (size_t early = first; early < last; ++early) {
    const ChainStep &a = steps[early];
    for (const OperandRange &out : a.outputs)
      for (size_t i = 0; i < b.inputs.size(); ++i)
        if (!isApart(out, b, i, units(a)))
          return false;
    for (const OperandRange &out : b.outputs) {
      for (size_t i = 0; i < a.inputs.size(); ++i)
        if (!isApart(out, a, i, units(b)))
          return false;
      for (const OperandRange &other : a.outputs)
        if (overlap(out, other) && (!same(out, other) || units(a) != units(b)))
          return false;
    }
  }
  return true;
}

std::vector<RowChain> findRowChains(const std::vector<ChainStep> &steps, int64_t threads, int64_t rowsPerBlock) {
  return Finder(steps, std::max<int64_t>(1, threads), rowsPerBlock).run();
}

KernelParts::KernelParts(const exe::Kernel &kernel) : plan(std::make_unique<TilePlan>()) {
  if (!plan->make(kernel, ""))
    plan.reset();
}
KernelParts::~KernelParts() = default;

bool KernelParts::cutsResults(int64_t iterations) const {
  if (!plan || iterations < 1 || plan->outputs.empty())
    return false;
  // The loops run over the indices of a result in order, reduced dimensions last, the leading ones as one.
  size_t outermost = 0;
  for (size_t output : plan->outputs) {
    const exe::Shape &shape = plan->values[output].shape;
    int64_t before = 1;
    size_t d = 0;
    while (d < shape.size() && before < iterations)
      before *= shape[d++];
    if (before != iterations)
      return false;
    outermost = std::max(outermost, d);
  }
  for (size_t i = 0; i < plan->steps.size(); ++i) {
    const TileStep &step = plan->steps[i];
    if (step.kind == TileStepKind::Reduce)
      for (int64_t d : step.dims)
        if (static_cast<size_t>(d) < outermost)
          return false;
    bool rows = step.kind == TileStepKind::RMSNorm || step.kind == TileStepKind::LayerNorm ||
                step.kind == TileStepKind::Softmax;
    if (rows && plan->values[plan->inputs + i].shape.size() <= outermost)
      return false;
  }
  return true;
}

bool KernelParts::readsOwnBox(size_t input, const std::function<bool(const exe::Shape &, Box &)> &part) const {
  std::vector<AskedBox> boxes(plan->values.size());
  for (size_t output : plan->outputs) {
    Box box;
    if (!part(plan->values[output].shape, box))
      return false;
    boxes[output].box.cover(box, boxes[output].empty);
    boxes[output].empty = false;
  }
  plan->askBack(boxes);
  Box own;
  if (!part(plan->values[input].shape, own))
    return false;
  Box both = own;
  if (!boxes[input].empty)
    both.cover(boxes[input].box, false);
  return both == own;
}

bool KernelParts::readsOwnPart(size_t input, int64_t units) const {
  auto [it, fresh] = known.try_emplace({input, units}, false);
  if (!fresh || !plan || input >= plan->inputs)
    return it->second;
  for (int64_t part : {int64_t(0), units / 2, units - 1})
    if (!readsOwnBox(input, [&](const exe::Shape &shape, Box &box) { return partBox(shape, units, part, box); }))
      return false;
  return it->second = true;
}

int64_t KernelParts::columns() const {
  if (!plan || plan->outputs.empty())
    return 0;
  const exe::Shape &first = plan->values[plan->outputs[0]].shape;
  for (size_t output : plan->outputs)
    if (plan->values[output].shape != first)
      return 0;
  return first.empty() ? 0 : first.back();
}

int64_t KernelParts::rowsOfColumns() const {
  return columns() > 0 ? exe::numElements(plan->values[plan->outputs[0]].shape) / columns() : 0;
}

bool KernelParts::readsOwnColumns(size_t input) const {
  if (!plan || input >= plan->inputs || columns() < 2)
    return false;
  const exe::Shape &shape = plan->values[plan->outputs[0]].shape;
  if (plan->values[input].shape != shape)
    return false;
  // All rows of one column at either end: whatever asks for a neighbour asks for more than that.
  for (int64_t column : {int64_t(0), shape.back() / 2, shape.back() - 1})
    if (!readsOwnBox(input, [&](const exe::Shape &of, Box &box) {
          box = wholeBox(of);
          box.begin[box.rank - 1] = column;
          box.size[box.rank - 1] = 1;
          return box.rank > 0;
        }))
      return false;
  return true;
}

} // namespace comm::rt
