//===- Support.cpp - validation shared by the kernel families -------------===//
#include "runtime/Kernels/Support.h"
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

using namespace comm;
using namespace comm::rt;

std::string comm::rt::shapeText(const exe::Shape &shape) {
  std::string text = "[";
  for (size_t d = 0; d < shape.size(); ++d)
    text += (d ? ", " : "") + std::to_string(shape[d]);
  return text + "]";
}

std::string Preparation::prefix() const {
  return command.label.empty() ? command.op + ": " : command.op + " '" + command.label + "': ";
}

/// Empty when the tensor can be addressed: every dimension is non-negative and the non-zero ones times the width fit an
/// int64.
static std::string problemOf(const TensorDesc &tensor) {
  if (uint8_t(tensor.dtype) > uint8_t(exe::DType::Bool))
    return "has an unknown element type";
  if (tensor.shape.size() > maxRank)
    return "has rank " + std::to_string(tensor.shape.size()) + ", more than " + std::to_string(maxRank);
  int64_t bytes = exe::byteWidth(tensor.dtype);
  for (int64_t size : tensor.shape) {
    if (size < 0)
      return "has a negative dimension in " + shapeText(tensor.shape);
    if (!mulFits(bytes, std::max<int64_t>(size, 1), bytes) || bytes > (int64_t(1) << 60))
      return "of shape " + shapeText(tensor.shape) + " is too large to address";
  }
  return {};
}

Status Preparation::check(size_t minInputs, size_t maxInputs, size_t outputs,
                          const std::vector<std::string> &known) const {
  if (ins.size() < minInputs || ins.size() > maxInputs) {
    std::string range = std::to_string(minInputs);
    if (maxInputs != minInputs)
      range += " to " + std::to_string(maxInputs);
    return bad("expects " + range + " inputs and has " + std::to_string(ins.size()));
  }
  if (outs.size() != outputs)
    return bad("expects " + std::to_string(outputs) + " output and has " + std::to_string(outs.size()));
  for (size_t i = 0; i < ins.size(); ++i)
    if (std::string why = problemOf(ins[i]); !why.empty())
      return bad("input " + std::to_string(i) + " " + why);
  for (size_t i = 0; i < outs.size(); ++i)
    if (std::string why = problemOf(outs[i]); !why.empty())
      return bad("output " + std::to_string(i) + " " + why);
  for (const auto &attr : command.attrs)
    if (std::find(known.begin(), known.end(), attr.first) == known.end())
      return unsupported("attribute '" + attr.first + "' is not known to this runtime");
  return Status::ok();
}

Status Preparation::intAttr(const char *name, int64_t &out, const int64_t *fallback) const {
  auto it = command.attrs.find(name);
  if (it == command.attrs.end()) {
    if (!fallback)
      return bad(std::string("attribute '") + name + "' is missing");
    out = *fallback;
    return Status::ok();
  }
  const int64_t *value = std::get_if<int64_t>(&it->second);
  if (!value)
    return bad(std::string("attribute '") + name + "' is not an integer");
  out = *value;
  return Status::ok();
}

Status Preparation::boolAttr(const char *name, bool &out, bool fallback) const {
  int64_t value = 0, byDefault = fallback;
  if (Status s = intAttr(name, value, &byDefault); !s)
    return s;
  if (value != 0 && value != 1)
    return bad(std::string("attribute '") + name + "' is " + std::to_string(value) + ", expected 0 or 1");
  out = value;
  return Status::ok();
}

Status Preparation::floatAttr(const char *name, double &out, const double *fallback) const {
  auto it = command.attrs.find(name);
  if (it == command.attrs.end()) {
    if (!fallback)
      return bad(std::string("attribute '") + name + "' is missing");
    out = *fallback;
    return Status::ok();
  }
  if (const double *value = std::get_if<double>(&it->second))
    out = *value;
  else if (const int64_t *integer = std::get_if<int64_t>(&it->second))
    out = double(*integer);
  else
    return bad(std::string("attribute '") + name + "' is not a number");
  return Status::ok();
}

Status Preparation::intsAttr(const char *name, std::vector<int64_t> &out) const {
  auto it = command.attrs.find(name);
  if (it == command.attrs.end())
    return bad(std::string("attribute '") + name + "' is missing");
  if (const auto *value = std::get_if<std::vector<int64_t>>(&it->second)) {
    out = *value;
    return Status::ok();
  }
  // An empty list carries no element type.
  if (const auto *strings = std::get_if<std::vector<std::string>>(&it->second); strings && strings->empty()) {
    out.clear();
    return Status::ok();
  }
  return bad(std::string("attribute '") + name + "' is not a list of integers");
}

Status Preparation::axesAttr(std::vector<std::string> &out) const {
  auto it = command.attrs.find("axes");
  if (it == command.attrs.end())
    return bad("attribute 'axes' is missing");
  out.clear();
  if (const auto *strings = std::get_if<std::vector<std::string>>(&it->second))
    out = *strings;
  else if (const auto *ints = std::get_if<std::vector<int64_t>>(&it->second); !ints || !ints->empty())
    return bad("attribute 'axes' is not a list of names");
  for (size_t i = 0; i < out.size(); ++i) {
    const auto &axes = context.grid->axes;
    if (std::none_of(axes.begin(), axes.end(), [&](const exe::Axis &axis) { return axis.name == out[i]; }))
      return bad("the grid has no axis '" + out[i] + "'");
    if (std::find(out.begin(), out.begin() + i, out[i]) != out.begin() + i)
      return bad("axis '" + out[i] + "' is named twice");
  }
  if (context.rank < 0 || context.rank >= context.grid->ranks())
    return bad("rank " + std::to_string(context.rank) + " is outside the grid");
  return Status::ok();
}

Status Preparation::sameType(const TensorDesc &a, const TensorDesc &b) const {
  if (a.dtype == b.dtype)
    return Status::ok();
  return bad(std::string("operands differ in type: ") + exe::dtypeName(a.dtype) + " and " + exe::dtypeName(b.dtype));
}

Status Preparation::sameShape(const exe::Shape &got, const exe::Shape &expected, const char *what) const {
  if (got == expected)
    return Status::ok();
  return bad(std::string(what) + " has shape " + shapeText(got) + ", expected " + shapeText(expected));
}

namespace {
class FunctionKernel : public Kernel {
public:
  FunctionKernel(int64_t count, RunFunction function) : count(count), function(std::move(function)) {}
  int64_t iterations() const override { return count; }
  using Kernel::run;
  Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) override {
    return begin < end ? function(ins, outs, begin, end) : Status::ok();
  }

private:
  int64_t count;
  RunFunction function;
};

/// Grows and never shrinks; freed when the thread ends.
struct ScratchMemory {
  struct Block {
    void *data = nullptr;
    int64_t bytes = 0;
  };
  std::array<Block, size_t(ScratchSlot::Count)> blocks;
  ~ScratchMemory() {
    for (Block &block : blocks)
      std::free(block.data);
  }
};
} // namespace

std::unique_ptr<Kernel> comm::rt::makeKernel(int64_t iterations, RunFunction function) {
  return std::make_unique<FunctionKernel>(iterations, std::move(function));
}

void *comm::rt::scratch(ScratchSlot slot, int64_t bytes) {
  static thread_local ScratchMemory memory;
  ScratchMemory::Block &block = memory.blocks[size_t(slot)];
  if (bytes <= block.bytes && block.data)
    return block.data;
  if (bytes < 0 || bytes > (int64_t(1) << 46))
    return nullptr;
  std::free(block.data);
  block.bytes = (std::max<int64_t>(bytes, 4096) + 63) / 64 * 64;
  block.data = std::aligned_alloc(64, size_t(block.bytes));
  if (!block.data)
    block.bytes = 0;
  return block.data;
}
