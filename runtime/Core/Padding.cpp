//===- Padding.cpp - calls smaller than the entry they run in -------------===//
#include "runtime/Core/Padding.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
/// Calls `row` with the offsets, in elements, of every row of `small` in a dense tensor of that shape and of `large`.
template <class Row> void forEachRow(const exe::Shape &small, const exe::Shape &large, Row row) {
  if (exe::numElements(small) <= 0)
    return;
  size_t rank = small.size();
  std::vector<int64_t> index(rank, 0);
  int64_t length = rank == 0 ? 1 : small[rank - 1];
  for (int64_t dense = 0, more = 1; more; dense += length) {
    int64_t at = 0;
    for (size_t d = 0; d < rank; ++d)
      at = at * large[d] + index[d];
    row(dense, at, length);
    more = 0;
    for (size_t d = rank < 2 ? 0 : rank - 1; d-- > 0;) {
      if (++index[d] < small[d]) {
        more = 1;
        break;
      }
      index[d] = 0;
    }
  }
}

const comm_tensor *findTensor(const comm_tensor *tensors, int32_t count, const std::string &name) {
  for (int32_t t = 0; t < count; ++t)
    if (tensors[t].name && name == tensors[t].name)
      return &tensors[t];
  return nullptr;
}

int64_t inputBytes(const exe::Program &program) {
  int64_t bytes = 0;
  for (const exe::Port &port : program.inputs)
    bytes += exe::byteSize(port.dtype, port.shape);
  return bytes;
}
} // namespace

size_t visibleInputs(const exe::Entry &entry, const exe::Program &program) {
  size_t hidden = 0;
  for (const exe::PadSymbol &symbol : entry.pads)
    hidden += symbol.input >= 0;
  return program.inputs.size() - hidden;
}

exe::Shape shapeIn(const CallSizes &call, const exe::Port &port) {
  exe::Shape shape = port.shape;
  for (const exe::PadDim &pad : port.pads)
    shape[static_cast<size_t>(pad.dim)] = call.sizes[static_cast<size_t>(pad.symbol)] + pad.offset;
  return shape;
}

Status readSizes(const exe::Entry &entry, const exe::Program &program, const comm_tensor *inputs, int32_t count,
                 CallSizes &out) {
  out.sizes.clear();
  for (const exe::PadSymbol &symbol : entry.pads)
    out.sizes.push_back(symbol.size);
  out.exact = true;
  std::vector<const exe::Port *> source(entry.pads.size(), nullptr);
  for (const exe::Port &port : program.inputs) {
    const comm_tensor *tensor = port.pads.empty() ? nullptr : findTensor(inputs, count, port.name);
    if (!tensor || tensor->rank < 0 || static_cast<size_t>(tensor->rank) != port.shape.size() || !tensor->dims)
      continue; // said by whoever binds the tensors
    for (const exe::PadDim &pad : port.pads) {
      auto number = static_cast<size_t>(pad.symbol);
      const exe::PadSymbol &symbol = entry.pads[number];
      int64_t given = tensor->dims[pad.dim], size = given - pad.offset;
      if (given < 0 || size < symbol.least || size > symbol.size)
        return {Code::InvalidArgument, "input '" + port.name + "': dimension " + std::to_string(pad.dim) + " is " +
                                           std::to_string(given) + ", entry '" + entry.name + "' takes " +
                                           std::to_string(symbol.least + pad.offset) + " to " +
                                           std::to_string(symbol.size + pad.offset)};
      if (source[number] && size != out.sizes[number])
        return {Code::InvalidArgument, "inputs '" + source[number]->name + "' and '" + port.name +
                                           "' differ in the size of '" + symbol.name +
                                           "': " + std::to_string(out.sizes[number]) + " and " + std::to_string(size)};
      source[number] = &port;
      out.sizes[number] = size;
      out.exact &= size == symbol.size;
    }
  }
  return Status::ok();
}

Status checkShapes(const exe::Entry &entry, const CallSizes &call, const comm_tensor *inputs, int32_t count) {
  for (size_t i = 0; i < visibleInputs(entry, entry.split); ++i) {
    const exe::Port &port = entry.split.inputs[i];
    const comm_tensor *tensor = findTensor(inputs, count, port.name);
    exe::Shape shape = shapeIn(call, port);
    if (!tensor || tensor->rank < 0 || static_cast<size_t>(tensor->rank) != shape.size() ||
        (!shape.empty() && (!tensor->dims || !std::equal(shape.begin(), shape.end(), tensor->dims))))
      return {Code::InvalidArgument, "entry '" + entry.name + "' does not take the shape of input '" + port.name + "'"};
  }
  return Status::ok();
}

int32_t entryFor(const exe::Executable &exe, const comm_tensor *inputs, int32_t count) {
  int32_t best = -1;
  int64_t bestBytes = 0;
  bool bestExact = false;
  for (size_t e = 0; e < exe.entries.size(); ++e) {
    const exe::Entry &entry = exe.entries[e];
    CallSizes call;
    if (!readSizes(entry, entry.split, inputs, count, call) || !checkShapes(entry, call, inputs, count))
      continue;
    int64_t bytes = inputBytes(entry.split);
    if (best >= 0 && (call.exact < bestExact || (call.exact == bestExact && bytes >= bestBytes)))
      continue;
    best = static_cast<int32_t>(e);
    bestBytes = bytes;
    bestExact = call.exact;
  }
  return best;
}

void padInto(const exe::Shape &small, const exe::Shape &large, exe::DType dtype, const void *from, void *to,
             bool poison) {
  bool isFloat =
      dtype == exe::DType::F32 || dtype == exe::DType::F16 || dtype == exe::DType::BF16 || dtype == exe::DType::F64;
  int fill = poison && isFloat ? 0xff : 0; // all bits set are a NaN of every width
  int64_t width = exe::byteWidth(dtype);
  auto *out = static_cast<uint8_t *>(to);
  const auto *in = static_cast<const uint8_t *>(from);
  int64_t filled = 0; // rows come in rising order: what lies between two of them is fill
  forEachRow(small, large, [&](int64_t dense, int64_t at, int64_t length) {
    std::memset(out + filled * width, fill, static_cast<size_t>((at - filled) * width));
    std::memcpy(out + at * width, in + dense * width, static_cast<size_t>(length * width));
    filled = at + length;
  });
  std::memset(out + filled * width, fill, static_cast<size_t>((exe::numElements(large) - filled) * width));
}

void cutFrom(const exe::Shape &large, const exe::Shape &small, int64_t width, const void *from, void *to) {
  auto *out = static_cast<uint8_t *>(to);
  const auto *in = static_cast<const uint8_t *>(from);
  forEachRow(small, large, [&](int64_t dense, int64_t at, int64_t length) {
    std::memcpy(out + dense * width, in + at * width, static_cast<size_t>(length * width));
  });
}

} // namespace comm::rt
