//===- Compare.cpp - are two results the same? ----------------------------===//
#include "Compare.h"
#include <cmath>
#include <cstdio>
#include <cstring>

namespace commrun {
namespace {
std::string number(double v) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.9g", v);
  return text;
}

std::string indexText(int64_t flat, const std::vector<int64_t> &dims) {
  std::vector<int64_t> index(dims.size());
  for (size_t d = dims.size(); d-- > 0; flat /= dims[d])
    index[d] = flat % dims[d];
  return shapeText(index);
}
} // namespace

Difference compare(const std::string &name, const Tensor &got, const Tensor &expected, comm_dtype portType,
                   const Tolerance &tolerance) {
  Difference out;
  if (got.dims != expected.dims) {
    out.ok = false;
    out.worst = "tensor '" + name + "': expected shape " + shapeText(expected.dims) + ", got " + shapeText(got.dims);
    return out;
  }
  bool exact = !isFloat(portType);
  double rtol = tolerance.rtol.value_or(exact ? 0 : portType == COMM_F16 ? 1e-2 : portType == COMM_BF16 ? 5e-2 : 1e-4);
  double atol = tolerance.atol.value_or(exact ? 0 : portType == COMM_F16 ? 1e-3 : portType == COMM_BF16 ? 1e-2 : 1e-6);
  double scale = 0;
  for (int64_t i = 0; i < expected.count; ++i)
    if (double v = std::fabs(expected.at(i)); std::isfinite(v))
      scale = std::max(scale, v);
  double limit = atol + rtol * scale, worst = -1;
  int64_t worstIndex = -1;
  for (int64_t i = 0; i < got.count; ++i) {
    double g = got.at(i), e = expected.at(i), d = std::fabs(g - e);
    if (std::isnan(g) && std::isnan(e))
      continue;
    if (g == e)
      d = 0; // infinities too; 64-bit integers beyond 2^53 are compared again below
    bool wrong = !std::isfinite(g) || !std::isfinite(e) ? g != e : d > limit;
    if (exact && limit == 0 && got.dtype == expected.dtype)
      wrong =
          std::memcmp(got.data.get() + static_cast<size_t>(i) * byteWidth(got.dtype),
                      expected.data.get() + static_cast<size_t>(i) * byteWidth(got.dtype), byteWidth(got.dtype)) != 0;
    if (std::isfinite(d))
      out.maxAbs = std::max(out.maxAbs, d);
    double rank = std::isfinite(d) ? d : HUGE_VAL;
    if (wrong && rank > worst) {
      worst = rank;
      worstIndex = i;
    }
  }
  out.maxRel = scale > 0 ? out.maxAbs / scale : out.maxAbs;
  if (worstIndex >= 0) {
    out.ok = false;
    double g = got.at(worstIndex), e = expected.at(worstIndex);
    out.worst = "tensor '" + name + "' at " + indexText(worstIndex, got.dims) + ": expected " + number(e) + ", got " +
                number(g) + "; |difference| " + number(std::fabs(g - e)) + " > atol " + number(atol) + " + rtol " +
                number(rtol) + " * max|expected| " + number(scale);
  }
  return out;
}

} // namespace commrun
