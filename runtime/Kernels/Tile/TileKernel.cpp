//===- TileKernel.cpp - run of the tile interpreter -----------------------===//
#include "runtime/Kernels/Tile/TileKernel.h"
#include "runtime/Kernels/Convert.h"
#include "runtime/Kernels/Support.h"
#include "runtime/Kernels/Tile/TilePlan.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
/// One thread's way through the tiles of a group.
struct TileRun {
  const TilePlan &plan;
  const TileGroup &group;
  void *const *ins;
  void *const *outs;
  uint8_t *memory;
  std::vector<AskedBox> boxes;
  int64_t current = 0;
  std::vector<void *> places; ///< where the box of a value is, contiguous, in the type that is computed in

  void tile(int64_t t) {
    current = t;
    plan.ask(group, t, boxes);
    for (size_t v = 0; v < plan.values.size(); ++v)
      if (group.needed[v] && !boxes[v].empty)
        v < plan.inputs ? load(v) : compute(v);
    for (size_t output : group.results)
      store(output);
  }

  void *slot(size_t v) const { return memory + group.slots[v]; }

  void load(size_t v) {
    const TileValue &value = plan.values[v];
    BoxLayout layout = layoutIn(boxes[v].box, wholeBox(value.shape));
    int64_t stored = exe::byteWidth(value.stored);
    const auto *from = static_cast<const uint8_t *>(ins[v]);
    if (layout.contiguous() && value.stored == value.type) {
      places[v] = const_cast<uint8_t *>(from + layout.offset * stored);
      return;
    }
    auto *to = static_cast<uint8_t *>(places[v] = slot(v));
    forRuns(layout, [&](int64_t offset, int64_t length, int64_t done) {
      if (value.stored == value.type)
        std::memcpy(to + done * stored, from + offset * stored, static_cast<size_t>(length * stored));
      else
        convertToF32(value.stored, from + offset * stored, reinterpret_cast<float *>(to) + done, length);
    });
  }

  /// Operand `i` of the step of value `v`, the part of it that `box` names.
  const void *operand(const TileStep &step, size_t i, const Box &box) {
    size_t v = step.operands[i];
    const Box &have = boxes[v].box;
    if (have == box)
      return places[v];
    int64_t width = plan.values[v].width;
    BoxLayout layout = layoutIn(box, have);
    const auto *from = static_cast<const uint8_t *>(places[v]);
    if (layout.contiguous())
      return from + layout.offset * width;
    uint8_t *to = memory + group.temporary[std::min<size_t>(i, 2)];
    forRuns(layout, [&](int64_t offset, int64_t length, int64_t done) {
      std::memcpy(to + done * width, from + offset * width, static_cast<size_t>(length * width));
    });
    return to;
  }

  void compute(size_t v) {
    const TileStep &step = plan.steps[v - plan.inputs];
    const Box &box = boxes[v].box;
    if (step.kind == TileStepKind::Constant) {
      places[v] = const_cast<uint8_t *>(step.filled.data());
      return;
    }
    int64_t output = group.outputOf[v];
    void *y = slot(v);
    if (output >= 0) {
      BoxLayout layout = layoutIn(box, wholeBox(plan.values[v].shape));
      y = static_cast<uint8_t *>(outs[output]) + layout.offset * plan.values[v].width;
    }
    places[v] = y;
    int64_t n = box.elements(), width = plan.values[v].width;
    const void *operands[3] = {};
    for (size_t i = 0; i < step.operands.size(); ++i)
      operands[i] = operand(step, i, plan.partOf(v, i, box));
    switch (step.kind) {
    case TileStepKind::Elementwise:
      return step.loop(operands, y, n);
    case TileStepKind::Broadcast:
      return repeatBox(operands[0], y, box, step.dims, width);
    case TileStepKind::Reduce:
      for (int64_t i = 0; i < n; ++i)
        std::memcpy(static_cast<uint8_t *>(y) + i * width, step.value.data(), static_cast<size_t>(width));
      return foldBox(operands[0], y, plan.partOf(v, 0, box), step.dims, step.loop, width);
    case TileStepKind::Rotary:
      return rotate(step, box, operands, static_cast<float *>(y));
    default:
      return rows(step, box, operands, static_cast<float *>(y));
    }
  }

  void rows(const TileStep &step, const Box &box, const void *const *operands, float *y) const {
    const TileRows &table = tileTable().rows;
    int64_t n = box.size[box.rank - 1];
    const auto *x = static_cast<const float *>(operands[0]), *weight = static_cast<const float *>(operands[1]),
               *bias = static_cast<const float *>(operands[2]);
    auto epsilon = static_cast<float>(step.epsilon);
    for (int64_t r = 0, count = n ? box.elements() / n : 0; r < count; ++r, x += n, y += n)
      if (step.kind == TileStepKind::RMSNorm)
        table.rmsNorm(x, weight, y, n, epsilon);
      else if (step.kind == TileStepKind::LayerNorm)
        table.layerNorm(x, weight, bias, y, n, epsilon);
      else
        table.softmax(x, y, n);
  }

  void rotate(const TileStep &step, const Box &box, const void *const *operands, float *y) const {
    const TileRows &table = tileTable().rows;
    const Box &angles = boxes[step.operands[1]].box;
    int64_t n = box.size[3], half = angles.size[2], tokens = box.size[2];
    const auto *x = static_cast<const float *>(operands[0]), *cos = static_cast<const float *>(operands[1]),
               *sin = static_cast<const float *>(operands[2]);
    // The part of the angles that was asked for has one batch, or as many as the box.
    int64_t perBatch = plan.values[step.operands[1]].shape[0] == 1 ? 0 : tokens * half;
    for (int64_t b = 0; b < box.size[0]; ++b)
      for (int64_t h = 0; h < box.size[1]; ++h)
        for (int64_t s = 0; s < tokens; ++s, x += n, y += n)
          table.rotary(x, cos + b * perBatch + s * half, sin + b * perBatch + s * half, y, n, half, step.interleaved);
  }

  void store(size_t output) {
    size_t v = plan.outputs[output];
    const TileValue &value = plan.values[v];
    if (group.outputOf[v] == static_cast<int64_t>(output))
      return;
    Box box = group.tile(current);
    const void *from = places[v];
    BoxLayout inValue = layoutIn(box, boxes[v].box), inOutput = layoutIn(box, wholeBox(value.shape));
    int64_t stored = exe::byteWidth(value.stored), at = inOutput.offset;
    auto *to = static_cast<uint8_t *>(outs[output]);
    // A tile is contiguous in its output; what was computed may be more than the tile.
    forRuns(inValue, [&](int64_t offset, int64_t length, int64_t done) {
      const uint8_t *part = static_cast<const uint8_t *>(from) + offset * value.width;
      if (value.stored == value.type)
        std::memcpy(to + (at + done) * stored, part, static_cast<size_t>(length * stored));
      else
        convertFromF32(value.stored, reinterpret_cast<const float *>(part), to + (at + done) * stored, length);
    });
  }
};

class TileKernel : public Kernel {
public:
  TilePlan plan;

  int64_t iterations() const override {
    int64_t n = 0;
    for (const TileGroup &group : plan.groups)
      n += group.tiles;
    return n;
  }

  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override {
    int64_t first = 0;
    for (const TileGroup &group : plan.groups) {
      int64_t from = std::max<int64_t>(begin - first, 0), to = std::min(end - first, group.tiles);
      if (from < to) {
        auto *memory = static_cast<uint8_t *>(scratch(ScratchSlot::Tile, group.bytes));
        if (!memory)
          return {Code::OutOfMemory, "no " + std::to_string(group.bytes) + " bytes for the tiles of a kernel"};
        TileRun run{plan, group, ins, outs, memory, {}, 0, {}};
        run.boxes.resize(plan.values.size());
        run.places.resize(plan.values.size());
        for (int64_t t = from; t < to; ++t)
          run.tile(t);
      }
      first += group.tiles;
    }
    return Status::ok();
  }
};
} // namespace

Status prepareTileKernel(const exe::Kernel &declared, const std::vector<TensorDesc> &ins,
                         const std::vector<TensorDesc> &outs, const std::string &where, std::unique_ptr<Kernel> &out) {
  auto fits = [](const TensorDesc &d, const exe::TensorType &t) { return d.dtype == t.dtype && d.shape == t.shape; };
  bool same = ins.size() == declared.inputs.size() && outs.size() == declared.outputs.size();
  for (size_t i = 0; same && i < ins.size(); ++i)
    same = fits(ins[i], declared.inputs[i]);
  for (size_t i = 0; same && i < outs.size(); ++i) {
    auto v = static_cast<size_t>(declared.outputs[i]);
    same =
        fits(outs[i], v < declared.inputs.size() ? declared.inputs[v]
                                                 : exe::TensorType{declared.steps[v - declared.inputs.size()].dtype,
                                                                   declared.steps[v - declared.inputs.size()].shape});
  }
  if (!same)
    return {Code::BadExecutable, where + "its operands are not those that the kernel declares"};
  auto kernel = std::make_unique<TileKernel>();
  if (Status s = kernel->plan.make(declared, where); !s)
    return s;
  out = std::move(kernel);
  return Status::ok();
}

} // namespace comm::rt
