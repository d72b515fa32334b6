//===- ValidateKernel.cpp - are the declarations of kernels sound? --------===//
// What an interpreter of them relies on: known steps, earlier values, fitting shapes and element types.
//===----------------------------------------------------------------------===//
#include "Problems.h"
#include <algorithm>
#include <set>

namespace comm::exe {
namespace {
constexpr size_t maxSteps = 4096;

bool isFloat(DType t) { return t == DType::F32 || t == DType::F16 || t == DType::BF16 || t == DType::F64; }

const std::map<std::string, size_t> &elementwiseSteps() {
  static const std::map<std::string, size_t> steps = [] {
    std::map<std::string, size_t> out;
    for (const char *unary :
         {"absf",  "absi",   "acos",   "acosh",  "asin",  "asinh",     "atan",   "atanh",  "bitcast",
          "ceil",  "cos",    "cosh",   "erf",    "exp",   "exp2",      "expm1",  "extf",   "extsi",
          "extui", "floor",  "fptosi", "fptoui", "gelu",  "isfinite",  "isinf",  "isnan",  "log",
          "log10", "log1p",  "log2",   "negf",   "round", "roundeven", "rsqrt",  "silu",   "sin",
          "sinh",  "sitofp", "sqrt",   "tan",    "tanh",  "trunc",     "truncf", "trunci", "uitofp"})
      out[unary] = 1;
    for (const char *binary :
         {"addf",  "addi",  "andi",       "atan2",    "ceildivsi", "cmpf",  "cmpi",  "copysign", "divf",
          "divsi", "divui", "floordivsi", "maximumf", "maxnumf",   "maxsi", "maxui", "minimumf", "minnumf",
          "minsi", "minui", "mulf",       "muli",     "ori",       "powf",  "remf",  "remsi",    "remui",
          "shli",  "shrsi", "shrui",      "subf",     "subi",      "xori"})
      out[binary] = 2;
    out["select"] = out["fma"] = 3;
    return out;
  }();
  return steps;
}

/// Steps that give another element type than their operands have.
bool converts(const std::string &op) {
  static const std::set<std::string> names = {"bitcast", "cmpf",   "cmpi",     "extf",  "extsi", "extui",
                                              "fptosi",  "fptoui", "isfinite", "isinf", "isnan", "select",
                                              "sitofp",  "truncf", "trunci",   "uitofp"};
  return names.count(op) > 0;
}

template <class T> const T *attr(const KernelStep &s, const char *key) {
  auto it = s.attrs.find(key);
  return it == s.attrs.end() ? nullptr : std::get_if<T>(&it->second);
}

/// Rising positions in a shape of rank `rank`.
bool isDims(const std::vector<int64_t> *dims, size_t rank) {
  if (!dims)
    return false;
  int64_t last = -1;
  for (int64_t d : *dims) {
    if (d <= last || d >= static_cast<int64_t>(rank))
      return false;
    last = d;
  }
  return true;
}

Shape without(const Shape &shape, const std::vector<int64_t> &dims) {
  Shape out;
  for (size_t d = 0; d < shape.size(); ++d)
    if (!std::binary_search(dims.begin(), dims.end(), static_cast<int64_t>(d)))
      out.push_back(shape[d]);
  return out;
}

class KernelChecker {
public:
  KernelChecker(Problems &p, const Kernel &kernel) : p(p), kernel(kernel), values(kernel.inputs) {}

  void run() {
    std::string at = "kernel " + quoted(kernel.symbol);
    if (!p.require(!kernel.symbol.empty(), at, "it has no name") ||
        !p.require(kernel.steps.size() <= maxSteps, at, "it has more than " + std::to_string(maxSteps) + " steps"))
      return;
    for (size_t i = 0; i < kernel.inputs.size(); ++i)
      if (!checkTensor(p, at + " input " + std::to_string(i), kernel.inputs[i].dtype, kernel.inputs[i].shape))
        return;
    for (size_t i = 0; i < kernel.steps.size(); ++i) {
      const KernelStep &step = kernel.steps[i];
      std::string where = at + " step " + std::to_string(i) + " " + quoted(step.op);
      if (!checkTensor(p, where, step.dtype, step.shape) || !checkOperands(where, step) ||
          !p.require(fits(step), where, "its operands, attributes and shape do not fit together"))
        return;
      values.push_back({step.dtype, step.shape});
    }
    p.require(!kernel.outputs.empty(), at, "it has no result");
    for (int32_t v : kernel.outputs)
      p.require(v >= 0 && v < static_cast<int64_t>(values.size()), at,
                "result " + std::to_string(v) + " is not a value of it");
  }

private:
  bool checkOperands(const std::string &where, const KernelStep &step) {
    for (int32_t v : step.operands)
      if (!p.require(v >= 0 && v < static_cast<int64_t>(values.size()), where,
                     "operand " + std::to_string(v) + " is not an earlier value"))
        return false;
    return true;
  }
  const TensorType &operand(const KernelStep &s, size_t i) const { return values[static_cast<size_t>(s.operands[i])]; }

  bool fits(const KernelStep &s) const {
    size_t n = s.operands.size();
    if (size_t arity = elementwiseArity(s.op))
      return n == arity && elementwiseFits(s);
    if (s.op == "constant")
      return n == 0 && (isFloat(s.dtype) ? attr<double>(s, "value") != nullptr : attr<int64_t>(s, "value") != nullptr);
    if (n == 0 || operand(s, 0).dtype != s.dtype)
      return false;
    const Shape &x = operand(s, 0).shape;
    const auto *dims = attr<std::vector<int64_t>>(s, "dims");
    if (s.op == "broadcast")
      return n == 1 && isDims(dims, s.shape.size()) && without(s.shape, *dims) == x;
    if (s.op == "reduce") {
      const auto *combine = attr<std::string>(s, "combine");
      bool init = isFloat(s.dtype) ? attr<double>(s, "init") != nullptr : attr<int64_t>(s, "init") != nullptr;
      return n == 1 && isDims(dims, x.size()) && without(x, *dims) == s.shape && init && combine &&
             elementwiseArity(*combine) == 2 && !converts(*combine);
    }
    return isFloat(s.dtype) && x == s.shape && !x.empty() && rowsFit(s);
  }

  bool elementwiseFits(const KernelStep &s) const {
    for (size_t i = 0; i < s.operands.size(); ++i)
      if (operand(s, i).shape != s.shape || (!converts(s.op) && operand(s, i).dtype != s.dtype))
        return false;
    if (s.op == "select")
      return operand(s, 0).dtype == DType::Bool && operand(s, 1).dtype == s.dtype && operand(s, 2).dtype == s.dtype;
    if (s.op == "cmpf" || s.op == "cmpi")
      return s.dtype == DType::Bool && operand(s, 0).dtype == operand(s, 1).dtype && attr<std::string>(s, "predicate");
    if (s.op == "bitcast")
      return byteWidth(s.dtype) == byteWidth(operand(s, 0).dtype);
    if (s.op == "gelu") {
      const auto *kind = attr<std::string>(s, "kind");
      return kind && (*kind == "erf" || *kind == "tanh");
    }
    return true;
  }

  bool rowsFit(const KernelStep &s) const {
    size_t n = s.operands.size();
    auto isVector = [&](size_t i) {
      return operand(s, i).dtype == s.dtype && operand(s, i).shape == Shape{s.shape.back()};
    };
    if (s.op == "softmax")
      return n == 1;
    if (s.op == "rms_norm")
      return n == 2 && isVector(1) && attr<double>(s, "epsilon");
    if (s.op == "layer_norm")
      return (n == 2 || n == 3) && isVector(1) && (n == 2 || isVector(2)) && attr<double>(s, "epsilon");
    if (s.op != "rotary" || n != 3 || s.shape.size() != 4 || !attr<int64_t>(s, "interleaved"))
      return false;
    const Shape &c = operand(s, 1).shape;
    return operand(s, 1).dtype == s.dtype && operand(s, 2).dtype == s.dtype && operand(s, 2).shape == c &&
           c.size() == 3 && (c[0] == 1 || c[0] == s.shape[0]) && c[1] == s.shape[2] && c[2] <= s.shape[3] / 2;
  }

  Problems &p;
  const Kernel &kernel;
  std::vector<TensorType> values;
};
} // namespace

size_t elementwiseArity(const std::string &op) {
  auto it = elementwiseSteps().find(op);
  return it == elementwiseSteps().end() ? 0 : it->second;
}

void checkKernels(Problems &p, const Executable &exe) {
  std::set<std::string> symbols;
  for (const Kernel &kernel : exe.kernels) {
    if (p.full())
      return;
    p.require(symbols.insert(kernel.symbol).second, "kernel " + quoted(kernel.symbol), "it is declared twice");
    KernelChecker(p, kernel).run();
  }
}

} // namespace comm::exe
