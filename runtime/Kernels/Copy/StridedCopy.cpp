//===- StridedCopy.cpp - plan and loops of a strided copy -----------------===//
#include "runtime/Kernels/Copy/StridedCopy.h"
#include "runtime/Kernels/Copy/Transpose.h"
#include <algorithm>
#include <cstring>
#include <numeric>

using namespace comm::rt;

namespace {
/// Rows of a transpose per iteration; a block of 64 input columns stays within L1 lines of all its rows.
constexpr int64_t transposeRows = 64;
} // namespace

StridedCopy::StridedCopy(int64_t width, std::vector<int64_t> sizes, std::vector<int64_t> ins, std::vector<int64_t> outs,
                         int64_t inOffset, int64_t outOffset)
    : width(width), inOffset(inOffset), outOffset(outOffset) {
  std::vector<size_t> order;
  for (size_t d = 0; d < sizes.size(); ++d) {
    if (sizes[d] == 0)
      return; // nothing to copy: zero iterations
    if (sizes[d] > 1)
      order.push_back(d);
  }
  auto magnitude = [](int64_t v) { return v < 0 ? -v : v; };
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return magnitude(outs[a]) != magnitude(outs[b]) ? magnitude(outs[a]) > magnitude(outs[b]) : a < b;
  });
  for (size_t d : order) {
    if (!dims.empty() && inStrides.back() == ins[d] * sizes[d] && outStrides.back() == outs[d] * sizes[d]) {
      dims.back() *= sizes[d];
      inStrides.back() = ins[d];
      outStrides.back() = outs[d];
      continue;
    }
    dims.push_back(sizes[d]);
    inStrides.push_back(ins[d]);
    outStrides.push_back(outs[d]);
  }
  if (!dims.empty()) {
    size = dims.back();
    inStride = inStrides.back();
    outStride = outStrides.back();
    dims.pop_back();
    inStrides.pop_back();
    outStrides.pop_back();
  }
  kind = outStride != 1 ? Inner::Strided : inStride == 1 ? Inner::Run : inStride == 0 ? Inner::Splat : Inner::Strided;
  if (kind == Inner::Strided && outStride == 1)
    for (size_t d = 0; d < dims.size(); ++d)
      if (inStrides[d] == 1 && dims[d] >= 4 && size >= 4) {
        kind = Inner::Transpose;
        transposed = dims[d];
        rowOutStride = outStrides[d];
        blocks = (transposed + transposeRows - 1) / transposeRows;
        dims.erase(dims.begin() + d);
        inStrides.erase(inStrides.begin() + d);
        outStrides.erase(outStrides.begin() + d);
        break;
      }
  count = std::accumulate(dims.begin(), dims.end(), blocks, std::multiplies<int64_t>());
}

int64_t StridedCopy::rows(int64_t in, int64_t out) const {
  if (dims.empty() || inOffset != 0 || outOffset != 0 || inStrides[0] * dims[0] != in || outStrides[0] * dims[0] != out)
    return 0;
  // The other dimensions stay within one part.
  int64_t inReach = 0, outReach = 0;
  auto reach = [&](int64_t n, int64_t inStep, int64_t outStep) {
    inReach += (n - 1) * inStep;
    outReach += (n - 1) * outStep;
    return inStep >= 0 && outStep >= 0;
  };
  bool forward = reach(size, inStride, outStride) && reach(transposed, 1, rowOutStride);
  for (size_t d = 1; d < dims.size(); ++d)
    forward &= reach(dims[d], inStrides[d], outStrides[d]);
  return forward && inReach < inStrides[0] && outReach < outStrides[0] ? dims[0] : 0;
}

template <typename T> void StridedCopy::inner(const T *in, T *out, int64_t block) const {
  switch (kind) {
  case Inner::Run:
    // Constant sizes become plain moves.
    switch (size * int64_t(sizeof(T))) {
    case 8:
      std::memcpy(out, in, 8);
      return;
    case 16:
      std::memcpy(out, in, 16);
      return;
    case 32:
      std::memcpy(out, in, 32);
      return;
    case 64:
      std::memcpy(out, in, 64);
      return;
    case 128:
      std::memcpy(out, in, 128);
      return;
    default:
      std::memcpy(out, in, size_t(size) * sizeof(T));
      return;
    }
  case Inner::Splat:
    std::fill_n(out, size, *in);
    return;
  case Inner::Strided:
    for (int64_t i = 0; i < size; ++i)
      out[i * outStride] = in[i * inStride];
    return;
  case Inner::Transpose: {
    int64_t first = block * transposeRows, some = std::min(transposeRows, transposed - first);
    constexpr int64_t step = 64 / int64_t(sizeof(T)) * 4;
    for (int64_t c = 0; c < size; c += step)
      transposeTile(in + first + c * inStride, out + first * rowOutStride + c, some, std::min(step, size - c), inStride,
                    rowOutStride);
    return;
  }
  }
}

template <typename T> void StridedCopy::runTyped(const T *in, T *out, int64_t begin, int64_t end) const {
  in += inOffset;
  out += outOffset;
  int64_t block = begin % blocks, rest = begin / blocks;
  std::vector<int64_t> index(dims.size());
  int64_t inAt = 0, outAt = 0;
  for (size_t d = dims.size(); d-- > 0; rest /= dims[d]) {
    index[d] = rest % dims[d];
    inAt += index[d] * inStrides[d];
    outAt += index[d] * outStrides[d];
  }
  for (int64_t i = begin; i < end; ++i) {
    inner(in + inAt, out + outAt, block);
    if (++block < blocks)
      continue;
    block = 0;
    for (size_t d = dims.size(); d-- > 0;) {
      inAt += inStrides[d];
      outAt += outStrides[d];
      if (++index[d] < dims[d])
        break;
      inAt -= dims[d] * inStrides[d];
      outAt -= dims[d] * outStrides[d];
      index[d] = 0;
    }
  }
}

void StridedCopy::run(const void *in, void *out, int64_t begin, int64_t end) const {
  if (begin >= end)
    return;
  switch (width) {
  case 1:
    return runTyped(static_cast<const uint8_t *>(in), static_cast<uint8_t *>(out), begin, end);
  case 2:
    return runTyped(static_cast<const uint16_t *>(in), static_cast<uint16_t *>(out), begin, end);
  case 4:
    return runTyped(static_cast<const uint32_t *>(in), static_cast<uint32_t *>(out), begin, end);
  default:
    return runTyped(static_cast<const uint64_t *>(in), static_cast<uint64_t *>(out), begin, end);
  }
}
