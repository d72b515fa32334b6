//===- KernelEvaluator.cpp - computes what a kernel's declaration says ----===//
#include "KernelEvaluator.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <optional>

using namespace comm::exe;

namespace comm::proof {
bool isFloat(DType t) { return t == DType::F32 || t == DType::F16 || t == DType::BF16 || t == DType::F64; }

namespace {
using Unary = double (*)(double);
using Binary = double (*)(double, double);

Unary floatUnary(const std::string &op) {
  static const std::map<std::string, Unary> table = {{"absf", [](double x) { return std::fabs(x); }},
                                                     {"acos", [](double x) { return std::acos(x); }},
                                                     {"acosh", [](double x) { return std::acosh(x); }},
                                                     {"asin", [](double x) { return std::asin(x); }},
                                                     {"asinh", [](double x) { return std::asinh(x); }},
                                                     {"atan", [](double x) { return std::atan(x); }},
                                                     {"atanh", [](double x) { return std::atanh(x); }},
                                                     {"ceil", [](double x) { return std::ceil(x); }},
                                                     {"cos", [](double x) { return std::cos(x); }},
                                                     {"cosh", [](double x) { return std::cosh(x); }},
                                                     {"erf", [](double x) { return std::erf(x); }},
                                                     {"exp", [](double x) { return std::exp(x); }},
                                                     {"exp2", [](double x) { return std::exp2(x); }},
                                                     {"expm1", [](double x) { return std::expm1(x); }},
                                                     {"extf", [](double x) { return x; }},
                                                     {"truncf", [](double x) { return x; }},
                                                     {"floor", [](double x) { return std::floor(x); }},
                                                     {"log", [](double x) { return std::log(x); }},
                                                     {"log10", [](double x) { return std::log10(x); }},
                                                     {"log1p", [](double x) { return std::log1p(x); }},
                                                     {"log2", [](double x) { return std::log2(x); }},
                                                     {"negf", [](double x) { return -x; }},
                                                     {"round", [](double x) { return std::round(x); }},
                                                     {"roundeven", [](double x) { return std::nearbyint(x); }},
                                                     {"rsqrt", [](double x) { return 1 / std::sqrt(x); }},
                                                     {"silu", [](double x) { return x / (1 + std::exp(-x)); }},
                                                     {"sin", [](double x) { return std::sin(x); }},
                                                     {"sinh", [](double x) { return std::sinh(x); }},
                                                     {"sqrt", [](double x) { return std::sqrt(x); }},
                                                     {"tan", [](double x) { return std::tan(x); }},
                                                     {"tanh", [](double x) { return std::tanh(x); }},
                                                     {"trunc", [](double x) { return std::trunc(x); }}};
  auto it = table.find(op);
  return it == table.end() ? nullptr : it->second;
}

Binary floatBinary(const std::string &op) {
  static const std::map<std::string, Binary> table = {
      {"addf", [](double x, double y) { return x + y; }},
      {"subf", [](double x, double y) { return x - y; }},
      {"mulf", [](double x, double y) { return x * y; }},
      {"divf", [](double x, double y) { return x / y; }},
      {"remf", [](double x, double y) { return std::fmod(x, y); }},
      {"powf", [](double x, double y) { return std::pow(x, y); }},
      {"atan2", [](double x, double y) { return std::atan2(x, y); }},
      {"copysign", [](double x, double y) { return std::copysign(x, y); }},
      {"maximumf", [](double x, double y) { return std::isnan(x) || std::isnan(y) ? NAN : std::max(x, y); }},
      {"minimumf", [](double x, double y) { return std::isnan(x) || std::isnan(y) ? NAN : std::min(x, y); }},
      {"maxnumf", [](double x, double y) { return std::fmax(x, y); }},
      {"minnumf", [](double x, double y) { return std::fmin(x, y); }}};
  auto it = table.find(op);
  return it == table.end() ? nullptr : it->second;
}

int64_t bitsOf(DType t) { return t == DType::Bool ? 1 : 8 * byteWidth(t); }
bool isUnsigned(DType t) {
  return t == DType::Bool || t == DType::U8 || t == DType::U16 || t == DType::U32 || t == DType::U64;
}
uint64_t low(int64_t x, DType t) {
  int64_t bits = bitsOf(t);
  return bits == 64 ? uint64_t(x) : uint64_t(x) & ((uint64_t(1) << bits) - 1);
}
/// The value of the low bits in the type's canonical form.
int64_t wrap(uint64_t x, DType t) {
  int64_t bits = bitsOf(t);
  if (bits == 64)
    return int64_t(x);
  x &= (uint64_t(1) << bits) - 1;
  if (!isUnsigned(t) && x >> (bits - 1) & 1)
    x |= ~uint64_t(0) << bits;
  return int64_t(x);
}

int64_t floorDiv(int64_t x, int64_t y) {
  int64_t q = x / y;
  return q * y != x && (x < 0) != (y < 0) ? q - 1 : q;
}

std::optional<int64_t> intBinary(const std::string &op, int64_t x, int64_t y, DType t) {
  uint64_t u = low(x, t), v = low(y, t);
  auto some = [&](uint64_t value) { return std::optional<int64_t>(wrap(value, t)); };
  if (op == "addi")
    return some(u + v);
  if (op == "subi")
    return some(u - v);
  if (op == "muli")
    return some(u * v);
  if (op == "andi")
    return some(u & v);
  if (op == "ori")
    return some(u | v);
  if (op == "xori")
    return some(u ^ v);
  if (op == "shli")
    return some(v < 64 ? u << v : 0);
  if (op == "shrui")
    return some(v < 64 ? u >> v : 0);
  if (op == "shrsi")
    return some(uint64_t(x >> std::min<uint64_t>(v, 63)));
  if (op == "maxsi")
    return std::max(x, y);
  if (op == "minsi")
    return std::min(x, y);
  if (op == "maxui")
    return some(std::max(u, v));
  if (op == "minui")
    return some(std::min(u, v));
  if (v == 0)
    return std::nullopt; // undefined in every step that is left
  if (op == "divsi")
    return some(uint64_t(x / y));
  if (op == "remsi")
    return some(uint64_t(x % y));
  if (op == "floordivsi")
    return some(uint64_t(floorDiv(x, y)));
  if (op == "ceildivsi")
    return some(uint64_t(-floorDiv(-x, y)));
  if (op == "divui")
    return some(u / v);
  if (op == "remui")
    return some(u % v);
  return std::nullopt;
}

std::optional<bool> compareFloats(const std::string &p, double x, double y) {
  bool unordered = std::isnan(x) || std::isnan(y);
  if (p == "ord")
    return !unordered;
  if (p == "uno")
    return unordered;
  if (p.size() < 3 || (p[0] != 'o' && p[0] != 'u'))
    return std::nullopt;
  std::string kind = p.substr(1);
  if (unordered)
    return p[0] == 'u';
  if (kind == "eq")
    return x == y;
  if (kind == "ne")
    return x != y;
  if (kind == "lt")
    return x < y;
  if (kind == "le")
    return x <= y;
  if (kind == "gt")
    return x > y;
  if (kind == "ge")
    return x >= y;
  return std::nullopt;
}

std::optional<bool> compareInts(const std::string &p, int64_t x, int64_t y, DType t) {
  uint64_t u = low(x, t), v = low(y, t);
  static const std::map<std::string, int> kinds = {{"eq", 0},  {"ne", 1},  {"slt", 2}, {"sle", 3}, {"sgt", 4},
                                                   {"sge", 5}, {"ult", 6}, {"ule", 7}, {"ugt", 8}, {"uge", 9}};
  auto it = kinds.find(p);
  switch (it == kinds.end() ? -1 : it->second) {
  case 0:
    return u == v;
  case 1:
    return u != v;
  case 2:
    return x < y;
  case 3:
    return x <= y;
  case 4:
    return x > y;
  case 5:
    return x >= y;
  case 6:
    return u < v;
  case 7:
    return u <= v;
  case 8:
    return u > v;
  case 9:
    return u >= v;
  default:
    return std::nullopt;
  }
}

/// For every element of `shape` the linear index when only the dimensions outside `dims` count.
std::vector<int64_t> projection(const Shape &shape, const std::vector<int64_t> &dims) {
  std::vector<int64_t> strides(shape.size(), 0);
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;)
    if (!std::binary_search(dims.begin(), dims.end(), int64_t(d))) {
      strides[d] = stride;
      stride *= shape[d];
    }
  std::vector<int64_t> out(size_t(numElements(shape)));
  for (size_t i = 0; i < out.size(); ++i) {
    int64_t rest = int64_t(i);
    for (size_t d = shape.size(); d-- > 0; rest /= shape[d])
      out[i] += rest % shape[d] * strides[d];
  }
  return out;
}

class Evaluator {
public:
  Evaluator(std::vector<Numbers> values, std::string &why) : values(std::move(values)), why(why) {}

  bool step(const KernelStep &s) {
    Numbers y{s.dtype, s.shape, {}, {}};
    size_t n = size_t(numElements(s.shape));
    (isFloat(s.dtype) ? y.floats.resize(n) : y.ints.resize(n));
    bool ok = elementwiseArity(s.op) ? elementwise(s, y) : structured(s, y);
    if (!ok && why.empty())
      why = "step '" + s.op + "' has no meaning here";
    values.push_back(std::move(y));
    return ok;
  }
  std::vector<Numbers> values;

private:
  const Numbers &in(const KernelStep &s, size_t i) { return values[size_t(s.operands[i])]; }
  static std::string text(const KernelStep &s, const char *key) { return std::get<std::string>(s.attrs.at(key)); }

  bool elementwise(const KernelStep &s, Numbers &y) {
    size_t n = size_t(numElements(s.shape));
    for (size_t i = 0; i < n; ++i)
      if (!element(s, i, y))
        return false;
    return true;
  }

  bool element(const KernelStep &s, size_t i, Numbers &y) {
    const Numbers &a = in(s, 0);
    const std::string &op = s.op;
    auto putInt = [&](std::optional<int64_t> v) {
      if (v)
        y.ints[i] = *v;
      return v.has_value();
    };
    if (op == "select") {
      const Numbers &from = in(s, a.ints[i] ? 1 : 2);
      isFloat(y.dtype) ? void(y.floats[i] = from.floats[i]) : void(y.ints[i] = from.ints[i]);
      return true;
    }
    if (op == "cmpf")
      return putInt(compareFloats(text(s, "predicate"), a.floats[i], in(s, 1).floats[i]));
    if (op == "cmpi")
      return putInt(compareInts(text(s, "predicate"), a.ints[i], in(s, 1).ints[i], a.dtype));
    if (isFloat(a.dtype) && !isFloat(y.dtype))
      return fromFloat(op, a.floats[i], y, i);
    if (!isFloat(a.dtype))
      return fromInt(s, a, i, y);
    double x = a.floats[i];
    if (op == "gelu") {
      y.floats[i] = text(s, "kind") == "erf"
                        ? x / 2 * (1 + std::erf(x / std::sqrt(2.0)))
                        : x / 2 * (1 + std::tanh(std::sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
      return true;
    }
    if (op == "fma") {
      y.floats[i] = x * in(s, 1).floats[i] + in(s, 2).floats[i];
      return true;
    }
    if (Unary f = floatUnary(op))
      return y.floats[i] = f(x), true;
    if (Binary f = floatBinary(op))
      return y.floats[i] = f(x, in(s, 1).floats[i]), true;
    return false;
  }

  static bool fromFloat(const std::string &op, double x, Numbers &y, size_t i) {
    if (op == "isnan")
      y.ints[i] = std::isnan(x);
    else if (op == "isinf")
      y.ints[i] = std::isinf(x);
    else if (op == "isfinite")
      y.ints[i] = std::isfinite(x);
    else if (op == "fptosi" || op == "fptoui")
      y.ints[i] = wrap(uint64_t(int64_t(std::trunc(x))), y.dtype);
    else
      return false;
    return true;
  }

  bool fromInt(const KernelStep &s, const Numbers &a, size_t i, Numbers &y) {
    const std::string &op = s.op;
    if (isFloat(y.dtype)) {
      if (op != "sitofp" && op != "uitofp")
        return false;
      y.floats[i] = op == "sitofp" ? double(a.ints[i]) : double(low(a.ints[i], a.dtype));
      return true;
    }
    if (op == "extui")
      y.ints[i] = wrap(low(a.ints[i], a.dtype), y.dtype);
    else if (op == "extsi")
      y.ints[i] =
          a.dtype == DType::Bool ? wrap(uint64_t(-(a.ints[i] & 1)), y.dtype) : wrap(uint64_t(a.ints[i]), y.dtype);
    else if (op == "trunci" || op == "bitcast")
      y.ints[i] = wrap(uint64_t(a.ints[i]), y.dtype);
    else if (op == "absi")
      y.ints[i] = a.ints[i] < 0 ? -a.ints[i] : a.ints[i];
    else if (std::optional<int64_t> v =
                 s.operands.size() == 2 ? intBinary(op, a.ints[i], in(s, 1).ints[i], y.dtype) : std::nullopt)
      y.ints[i] = *v;
    else
      return false;
    return true;
  }

  bool structured(const KernelStep &s, Numbers &y) {
    if (s.op == "constant") {
      if (isFloat(s.dtype))
        std::fill(y.floats.begin(), y.floats.end(), std::get<double>(s.attrs.at("value")));
      else
        std::fill(y.ints.begin(), y.ints.end(), std::get<int64_t>(s.attrs.at("value")));
      return true;
    }
    if (s.op == "broadcast") {
      std::vector<int64_t> from = projection(s.shape, std::get<std::vector<int64_t>>(s.attrs.at("dims")));
      for (size_t i = 0; i < from.size(); ++i)
        isFloat(s.dtype) ? void(y.floats[i] = in(s, 0).floats[size_t(from[i])])
                         : void(y.ints[i] = in(s, 0).ints[size_t(from[i])]);
      return true;
    }
    if (s.op == "reduce")
      return reduce(s, y);
    if (s.op == "rotary")
      return rotary(s, y);
    return rows(s, y);
  }

  bool reduce(const KernelStep &s, Numbers &y) {
    const Numbers &x = in(s, 0);
    std::vector<int64_t> to = projection(x.shape, std::get<std::vector<int64_t>>(s.attrs.at("dims")));
    std::string op = text(s, "combine");
    if (!isFloat(s.dtype)) {
      std::fill(y.ints.begin(), y.ints.end(), std::get<int64_t>(s.attrs.at("init")));
      for (size_t i = 0; i < to.size(); ++i) {
        std::optional<int64_t> v = intBinary(op, y.ints[size_t(to[i])], x.ints[i], s.dtype);
        if (!v)
          return false;
        y.ints[size_t(to[i])] = *v;
      }
      return true;
    }
    Binary f = floatBinary(op);
    std::fill(y.floats.begin(), y.floats.end(), std::get<double>(s.attrs.at("init")));
    for (size_t i = 0; f && i < to.size(); ++i)
      y.floats[size_t(to[i])] = f(y.floats[size_t(to[i])], x.floats[i]);
    return f != nullptr;
  }

  bool rotary(const KernelStep &s, Numbers &y) {
    const Numbers &x = in(s, 0), &c = in(s, 1), &t = in(s, 2);
    int64_t heads = s.shape[1], length = s.shape[2], depth = s.shape[3], half = c.shape[2];
    bool pairs = std::get<int64_t>(s.attrs.at("interleaved")) != 0;
    for (int64_t row = 0; row < s.shape[0] * heads * length; ++row) {
      int64_t batch = c.shape[0] == 1 ? 0 : row / (heads * length), angle = (batch * length + row % length) * half;
      for (int64_t j = 0; j < depth; ++j)
        y.floats[size_t(row * depth + j)] = x.floats[size_t(row * depth + j)];
      for (int64_t j = 0; j < half; ++j) {
        int64_t first = row * depth + (pairs ? 2 * j : j), second = first + (pairs ? 1 : half);
        double cos = c.floats[size_t(angle + j)], sin = t.floats[size_t(angle + j)];
        y.floats[size_t(first)] = x.floats[size_t(first)] * cos - x.floats[size_t(second)] * sin;
        y.floats[size_t(second)] = x.floats[size_t(second)] * cos + x.floats[size_t(first)] * sin;
      }
    }
    return true;
  }

  bool rows(const KernelStep &s, Numbers &y) {
    size_t columns = size_t(s.shape.back()), count = y.floats.size() / std::max<size_t>(columns, 1);
    for (size_t r = 0; r < count; ++r) {
      const double *x = in(s, 0).floats.data() + r * columns;
      double *out = y.floats.data() + r * columns;
      double mean = 0, square = 0, top = -INFINITY, sum = 0;
      for (size_t j = 0; j < columns; ++j) {
        mean += x[j] / double(columns);
        top = std::max(top, x[j]);
      }
      if (s.op == "rms_norm")
        mean = 0;
      for (size_t j = 0; j < columns; ++j) {
        square += (x[j] - mean) * (x[j] - mean) / double(columns);
        sum += std::exp(x[j] - top);
      }
      for (size_t j = 0; j < columns; ++j) {
        if (s.op == "softmax") {
          out[j] = std::exp(x[j] - top) / sum;
          continue;
        }
        double scale = 1 / std::sqrt(square + std::get<double>(s.attrs.at("epsilon")));
        out[j] = (x[j] - mean) * scale * in(s, 1).floats[j] + (s.operands.size() > 2 ? in(s, 2).floats[j] : 0);
      }
    }
    return s.op == "softmax" || s.op == "rms_norm" || s.op == "layer_norm";
  }

  std::string &why;
};
} // namespace

bool evaluate(const Kernel &kernel, const std::vector<Numbers> &inputs, std::vector<Numbers> &outputs,
              std::string &why) {
  Evaluator evaluator(inputs, why);
  for (const KernelStep &step : kernel.steps)
    if (!evaluator.step(step))
      return false;
  for (int32_t v : kernel.outputs)
    outputs.push_back(evaluator.values[size_t(v)]);
  return true;
}

} // namespace comm::proof
