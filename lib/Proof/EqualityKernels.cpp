//===- EqualityKernels.cpp - kernels by their declarations ----------------===//
#include "EqualityRules.h"
#include <algorithm>
#include <cstdio>

using namespace comm::exe;

namespace comm::proof {

int64_t intOf(const Attrs &attrs, const char *key) {
  auto it = attrs.find(key);
  const auto *v = it == attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
  require(v, "an attribute that is missing");
  return *v;
}
double floatOf(const Attrs &attrs, const char *key) {
  auto it = attrs.find(key);
  const auto *v = it == attrs.end() ? nullptr : std::get_if<double>(&it->second);
  require(v, "an attribute that is missing");
  return *v;
}
const std::string &textOf(const Attrs &attrs, const char *key) {
  auto it = attrs.find(key);
  const auto *v = it == attrs.end() ? nullptr : std::get_if<std::string>(&it->second);
  require(v, "an attribute that is missing");
  return *v;
}
std::vector<int64_t> intsOf(const Attrs &attrs, const char *key) {
  auto it = attrs.find(key);
  const auto *v = it == attrs.end() ? nullptr : std::get_if<std::vector<int64_t>>(&it->second);
  require(v, "an attribute that is missing");
  return *v;
}
std::vector<std::string> namesOf(const Attrs &attrs, const char *key) {
  auto it = attrs.find(key);
  require(it != attrs.end(), "an attribute that is missing");
  if (const auto *v = std::get_if<std::vector<std::string>>(&it->second))
    return *v;
  const auto *none = std::get_if<std::vector<int64_t>>(&it->second); // an empty list carries no element type
  require(none && none->empty(), "an attribute that is missing");
  return {};
}
std::string exact(double x) {
  char text[40];
  std::snprintf(text, sizeof text, "%a", x);
  return text;
}

namespace {
using Ints = std::vector<int64_t>;
bool isFloatType(DType t) { return t == DType::F32 || t == DType::F16 || t == DType::BF16 || t == DType::F64; }

class KernelApplier {
public:
  KernelApplier(Terms &terms, const Kernel &kernel, const std::vector<SharedView> &inputs)
      : terms(terms), kernel(kernel), values(inputs) {
    types = kernel.inputs;
  }

  std::vector<SharedView> run() {
    require(values.size() == kernel.inputs.size(), "operands other than those declared");
    for (const KernelStep &step : kernel.steps) {
      View y = numElements(step.shape) == 0 ? View() : applyStep(step);
      if (terms.inReference() && isSum(step)) {
        View known = y; // so that the split program finds this sum, and parts of it, as a term
        terms.settle(known);
      }
      values.push_back(std::make_shared<View>(std::move(y)));
      types.push_back({step.dtype, step.shape});
    }
    std::vector<SharedView> out;
    for (int32_t v : kernel.outputs)
      out.push_back(values[static_cast<size_t>(v)]);
    return out;
  }

private:
  const SharedView &in(const KernelStep &s, size_t i) const { return values[static_cast<size_t>(s.operands[i])]; }
  const Shape &shapeOf(const KernelStep &s, size_t i) const { return types[static_cast<size_t>(s.operands[i])].shape; }
  static bool isSum(const KernelStep &s) { return s.op == "addf" || s.op == "addi"; }

  View applyStep(const KernelStep &s) {
    int64_t size = numElements(s.shape);
    if (elementwiseArity(s.op) > 0)
      return elementwise(s, size);
    if (s.op == "constant")
      return constant(s, size);
    if (s.op == "broadcast")
      return compose(*in(s, 0), spread(s.shape, intsOf(s.attrs, "dims")), size);
    if (s.op == "reduce")
      return reduce(s, size);
    if (s.op == "rotary")
      return rotary(s, size);
    return rows(s, size);
  }

  View elementwise(const KernelStep &s, int64_t size) {
    if (isSum(s))
      return terms.sum({in(s, 0).get(), in(s, 1).get()});
    if (s.op == "extf" || s.op == "truncf")
      return *in(s, 0); // between float types only the rounding changes
    Operation o;
    o.op = s.op;
    o.attrs = dtypeName(s.dtype);
    for (const char *key : {"predicate", "kind"})
      if (s.attrs.count(key))
        o.attrs += " " + textOf(s.attrs, key);
    static const std::vector<std::string> commutative = {"mulf",    "muli",  "maximumf", "minimumf", "maxnumf",
                                                         "minnumf", "maxsi", "minsi",    "maxui",    "minui",
                                                         "andi",    "ori",   "xori"};
    o.commutes = std::find(commutative.begin(), commutative.end(), s.op) != commutative.end();
    o.add(size, kEach, 1);
    o.size = size;
    for (size_t i = 0; i < s.operands.size(); ++i)
      o.operands.push_back({in(s, i), 0, {1}, s.op == "mulf" || s.op == "negf" || (s.op == "divf" && i == 0)});
    return apply(terms, std::move(o));
  }

  View constant(const KernelStep &s, int64_t size) {
    bool real = isFloatType(s.dtype);
    double f = real ? floatOf(s.attrs, "value") : 0;
    int64_t i = real ? 0 : intOf(s.attrs, "value");
    View out{size, {{0, {size}, {1}, {}}}};
    if (real ? f != 0 : i != 0)
      out.pieces[0].atoms.push_back({terms.leaf("constant", real ? exact(f) : std::to_string(i)), 0, {0}});
    return out;
  }

  /// Every index of `shape`, addressed without `dims`.
  static Access spread(const Shape &shape, const Ints &dims) {
    Access a{0, 0, shape, rowMajor(shape), Ints(shape.size(), 0)};
    int64_t stride = 1;
    for (size_t d = shape.size(); d-- > 0;)
      if (!std::binary_search(dims.begin(), dims.end(), static_cast<int64_t>(d))) {
        a.stride[d] = stride;
        stride *= shape[d];
      }
    return a;
  }

  View reduce(const KernelStep &s, int64_t size) {
    const Shape &shape = shapeOf(s, 0);
    Ints dims = intsOf(s.attrs, "dims");
    const std::string &combine = textOf(s.attrs, "combine");
    bool sums =
        (combine == "addf" && floatOf(s.attrs, "init") == 0) || (combine == "addi" && intOf(s.attrs, "init") == 0);
    Operation o;
    o.op = "reduce";
    o.attrs = combine;
    if (!sums)
      o.attrs +=
          isFloatType(s.dtype) ? " " + exact(floatOf(s.attrs, "init")) : " " + std::to_string(intOf(s.attrs, "init"));
    Access to = spread(shape, dims);
    Ints strides = rowMajor(shape), operand;
    // Outer indices first, then those reduced.
    for (bool reduced : {false, true})
      for (size_t d = 0; d < shape.size(); ++d)
        if (std::binary_search(dims.begin(), dims.end(), static_cast<int64_t>(d)) == reduced) {
          o.add(shape[d], !reduced ? kEach : sums ? kSum : 'r', reduced ? -1 : to.stride[d]);
          operand.push_back(strides[d]);
        }
    o.size = size;
    o.operands.push_back({in(s, 0), 0, operand, sums});
    return apply(terms, std::move(o));
  }

  View rows(const KernelStep &s, int64_t size) {
    int64_t columns = s.shape.back();
    Operation o;
    o.op = s.op;
    o.attrs = dtypeName(s.dtype);
    if (s.attrs.count("epsilon"))
      o.attrs += " " + exact(floatOf(s.attrs, "epsilon"));
    o.add(size / columns, kEach, columns);
    o.add(columns, 'c', 1);
    o.size = size;
    o.operands.push_back({in(s, 0), 0, {columns, 1}});
    for (size_t i = 1; i < s.operands.size(); ++i)
      o.operands.push_back({in(s, i), 0, {0, 1}});
    return apply(terms, std::move(o));
  }

  View rotary(const KernelStep &s, int64_t size) {
    const Shape &angles = shapeOf(s, 1);
    int64_t half = angles[2], batch = angles[0] == 1 ? 0 : angles[1] * half;
    Operation o;
    o.op = s.op;
    o.attrs = std::to_string(intOf(s.attrs, "interleaved")) + " " + std::to_string(half);
    Ints strides = rowMajor(s.shape);
    for (size_t d = 0; d < 4; ++d)
      o.add(s.shape[d], d < 3 ? kEach : 'd', strides[d]);
    o.add(half, 'r', -1);
    o.size = size;
    o.operands.push_back({in(s, 0), 0, {strides[0], strides[1], strides[2], 1, 0}});
    for (size_t i : {1, 2})
      o.operands.push_back({in(s, i), 0, {batch, 0, half, 0, 1}});
    return apply(terms, std::move(o));
  }

  Terms &terms;
  const Kernel &kernel;
  std::vector<SharedView> values;
  std::vector<TensorType> types;
};
} // namespace

std::vector<SharedView> applyKernel(Terms &terms, const Kernel &kernel, const std::vector<SharedView> &inputs) {
  return KernelApplier(terms, kernel, inputs).run();
}

} // namespace comm::proof
