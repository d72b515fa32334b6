//===- StridedCopy.h - y[i.so] = x[i.si], as fast as the strides allow ----===//
#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

namespace comm::rt {

/// A checked strided copy, simplified: size-1 dimensions are gone, dimensions that walk both sides alike are merged,
/// the rest is ordered by output stride. Strides and offsets in elements.
class StridedCopy {
public:
  StridedCopy() = default;
  /// `dims` non-negative; every index within both operands (the caller checked).
  StridedCopy(int64_t width, std::vector<int64_t> dims, std::vector<int64_t> inStrides, std::vector<int64_t> outStrides,
              int64_t inOffset, int64_t outOffset);
  int64_t iterations() const { return count; }
  /// Size of the outermost dimension where equal contiguous parts of all `in` and `out` elements belong together along
  /// it; else 0.
  int64_t rows(int64_t in, int64_t out) const;
  /// Thread-safe on disjoint iterations.
  void run(const void *in, void *out, int64_t begin, int64_t end) const;

private:
  enum class Inner : uint8_t { Run, Splat, Strided, Transpose };
  template <typename T> void runTyped(const T *in, T *out, int64_t begin, int64_t end) const;
  template <typename T> void inner(const T *in, T *out, int64_t block) const;

  int64_t width = 1, count = 0, inOffset = 0, outOffset = 0;
  Inner kind = Inner::Run;
  /// Outer dimensions, last fastest.
  std::vector<int64_t> dims, inStrides, outStrides;
  /// Innermost dimension; `transposed` is the second one of a transpose (input stride 1), cut in `blocks`.
  int64_t size = 1, inStride = 1, outStride = 1, transposed = 1, rowOutStride = 0, blocks = 1;
};

} // namespace comm::rt
