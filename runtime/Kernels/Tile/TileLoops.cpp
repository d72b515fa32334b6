//===- TileLoops.cpp - the steps that are rarely the time -----------------===//
// Integers, f64, comparisons, conversions and the functions of the math library, element by element.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Tile/TileLoops.h"
#include "runtime/Core/Cpu.h"
#include <algorithm>
#include <cmath>
#include <limits>
#include <type_traits>

namespace comm::rt {
namespace {
using exe::DType;

template <class X, class Y, class F> void map1(const void *const *ins, void *out, int64_t n, F f) {
  const auto *x = static_cast<const X *>(ins[0]);
  auto *y = static_cast<Y *>(out);
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<Y>(f(x[i]));
}
template <class X, class Y, class F> void map2(const void *const *ins, void *out, int64_t n, F f) {
  const auto *a = static_cast<const X *>(ins[0]), *b = static_cast<const X *>(ins[1]);
  auto *y = static_cast<Y *>(out);
  for (int64_t i = 0; i < n; ++i)
    y[i] = static_cast<Y>(f(a[i], b[i]));
}

// Macros, since a loop is a plain function pointer: its function must be known by type.
#define COMM_MAP1(NAME, X, Y, VALUE)                                                                                   \
  if (op == NAME)                                                                                                      \
    return [](const void *const *ins, void *out, int64_t n) { map1<X, Y>(ins, out, n, [](X x) { return VALUE; }); };
#define COMM_MAP2(NAME, X, Y, VALUE)                                                                                   \
  if (op == NAME)                                                                                                      \
    return                                                                                                             \
        [](const void *const *ins, void *out, int64_t n) { map2<X, Y>(ins, out, n, [](X a, X b) { return VALUE; }); };

//===--- floats -------------------------------------------------------------===//
template <class T> T maximum(T a, T b) {
  return a != a ? a : b != b ? b : a > b || (a == b && !std::signbit(a)) ? a : b;
}
template <class T> T minimum(T a, T b) {
  return a != a ? a : b != b ? b : a < b || (a == b && std::signbit(a)) ? a : b;
}

template <class T> TileLoop floatUnary(const std::string &op, const std::string &detail) {
  COMM_MAP1("negf", T, T, -x)
  COMM_MAP1("absf", T, T, std::fabs(x))
  COMM_MAP1("sqrt", T, T, std::sqrt(x))
  COMM_MAP1("rsqrt", T, T, T(1) / std::sqrt(x))
  COMM_MAP1("exp", T, T, std::exp(x))
  COMM_MAP1("exp2", T, T, std::exp2(x))
  COMM_MAP1("expm1", T, T, std::expm1(x))
  COMM_MAP1("log", T, T, std::log(x))
  COMM_MAP1("log2", T, T, std::log2(x))
  COMM_MAP1("log10", T, T, std::log10(x))
  COMM_MAP1("log1p", T, T, std::log1p(x))
  COMM_MAP1("sin", T, T, std::sin(x))
  COMM_MAP1("cos", T, T, std::cos(x))
  COMM_MAP1("tan", T, T, std::tan(x))
  COMM_MAP1("asin", T, T, std::asin(x))
  COMM_MAP1("acos", T, T, std::acos(x))
  COMM_MAP1("atan", T, T, std::atan(x))
  COMM_MAP1("sinh", T, T, std::sinh(x))
  COMM_MAP1("cosh", T, T, std::cosh(x))
  COMM_MAP1("tanh", T, T, std::tanh(x))
  COMM_MAP1("asinh", T, T, std::asinh(x))
  COMM_MAP1("acosh", T, T, std::acosh(x))
  COMM_MAP1("atanh", T, T, std::atanh(x))
  COMM_MAP1("erf", T, T, std::erf(x))
  COMM_MAP1("floor", T, T, std::floor(x))
  COMM_MAP1("ceil", T, T, std::ceil(x))
  COMM_MAP1("trunc", T, T, std::trunc(x))
  COMM_MAP1("round", T, T, std::round(x))
  COMM_MAP1("roundeven", T, T, std::nearbyint(x))
  COMM_MAP1("silu", T, T, x / (T(1) + std::exp(-x)))
  COMM_MAP1("isnan", T, uint8_t, x != x)
  COMM_MAP1("isinf", T, uint8_t, std::isinf(x))
  COMM_MAP1("isfinite", T, uint8_t, std::isfinite(x))
  if (op == "gelu" && detail == "erf")
    return [](const void *const *ins, void *out, int64_t n) {
      map1<T, T>(ins, out, n, [](T x) { return T(0.5) * x * (T(1) + std::erf(x * T(0.70710678118654752))); });
    };
  if (op == "gelu" && detail == "tanh")
    return [](const void *const *ins, void *out, int64_t n) {
      map1<T, T>(ins, out, n, [](T x) {
        return T(0.5) * x * (T(1) + std::tanh(T(0.79788456080286536) * (x + T(0.044715) * x * x * x)));
      });
    };
  return nullptr;
}

template <class T> TileLoop floatBinary(const std::string &op) {
  COMM_MAP2("addf", T, T, a + b)
  COMM_MAP2("subf", T, T, a - b)
  COMM_MAP2("mulf", T, T, a * b)
  COMM_MAP2("divf", T, T, a / b)
  COMM_MAP2("remf", T, T, std::fmod(a, b))
  COMM_MAP2("maximumf", T, T, maximum(a, b))
  COMM_MAP2("minimumf", T, T, minimum(a, b))
  COMM_MAP2("maxnumf", T, T, std::fmax(a, b))
  COMM_MAP2("minnumf", T, T, std::fmin(a, b))
  COMM_MAP2("powf", T, T, std::pow(a, b))
  COMM_MAP2("atan2", T, T, std::atan2(a, b))
  COMM_MAP2("copysign", T, T, std::copysign(a, b))
  return nullptr;
}

template <class T> TileLoop floatCompare(const std::string &op) {
  using B = uint8_t;
  COMM_MAP2("false", T, B, ((void)a, (void)b, false))
  COMM_MAP2("oeq", T, B, a == b)
  COMM_MAP2("ogt", T, B, a > b)
  COMM_MAP2("oge", T, B, a >= b)
  COMM_MAP2("olt", T, B, a < b)
  COMM_MAP2("ole", T, B, a <= b)
  COMM_MAP2("one", T, B, a < b || a > b)
  COMM_MAP2("ord", T, B, a == a && b == b)
  COMM_MAP2("ueq", T, B, !(a < b || a > b))
  COMM_MAP2("ugt", T, B, !(a <= b))
  COMM_MAP2("uge", T, B, !(a < b))
  COMM_MAP2("ult", T, B, !(a >= b))
  COMM_MAP2("ule", T, B, !(a > b))
  COMM_MAP2("une", T, B, a != b)
  COMM_MAP2("uno", T, B, a != a || b != b)
  COMM_MAP2("true", T, B, ((void)a, (void)b, true))
  return nullptr;
}

//===--- integers -----------------------------------------------------------===//
// Types without a sign, as in `arith`; the step says how to read them. What arith leaves undefined gives 0 here.
template <class U> using Signed = std::make_signed_t<U>;

template <class U> U divide(U a, U b) {
  auto x = static_cast<Signed<U>>(a), y = static_cast<Signed<U>>(b);
  return y == 0 ? U(0) : y == -1 ? static_cast<U>(0 - a) : static_cast<U>(x / y);
}
template <class U> U remainder(U a, U b) {
  auto x = static_cast<Signed<U>>(a), y = static_cast<Signed<U>>(b);
  return y == 0 || y == -1 ? U(0) : static_cast<U>(x % y);
}
template <class U> U floorDivide(U a, U b) {
  auto rest = static_cast<Signed<U>>(remainder(a, b));
  return static_cast<U>(divide(a, b) - ((rest != 0 && (rest < 0) != (static_cast<Signed<U>>(b) < 0)) ? 1 : 0));
}
template <class U> U ceilDivide(U a, U b) {
  auto rest = static_cast<Signed<U>>(remainder(a, b));
  return static_cast<U>(divide(a, b) + ((rest != 0 && (rest < 0) == (static_cast<Signed<U>>(b) < 0)) ? 1 : 0));
}
template <class U> constexpr U bits = static_cast<U>(sizeof(U) * 8);

template <class U> TileLoop intBinary(const std::string &op) {
  using S = Signed<U>;
  COMM_MAP2("addi", U, U, static_cast<U>(a + b))
  COMM_MAP2("subi", U, U, static_cast<U>(a - b))
  COMM_MAP2("muli", U, U, static_cast<U>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b)))
  COMM_MAP2("andi", U, U, a & b)
  COMM_MAP2("ori", U, U, a | b)
  COMM_MAP2("xori", U, U, a ^ b)
  COMM_MAP2("shli", U, U, b < bits<U> ? static_cast<U>(static_cast<uint64_t>(a) << b) : U(0))
  COMM_MAP2("shrui", U, U, b < bits<U> ? static_cast<U>(a >> b) : U(0))
  COMM_MAP2("shrsi", U, U, b < bits<U> ? static_cast<U>(static_cast<S>(a) >> b) : U(0))
  COMM_MAP2("divui", U, U, b ? static_cast<U>(a / b) : U(0))
  COMM_MAP2("remui", U, U, b ? static_cast<U>(a % b) : U(0))
  COMM_MAP2("divsi", U, U, divide(a, b))
  COMM_MAP2("remsi", U, U, remainder(a, b))
  COMM_MAP2("floordivsi", U, U, floorDivide(a, b))
  COMM_MAP2("ceildivsi", U, U, ceilDivide(a, b))
  COMM_MAP2("maxui", U, U, a > b ? a : b)
  COMM_MAP2("minui", U, U, a < b ? a : b)
  COMM_MAP2("maxsi", U, U, static_cast<S>(a) > static_cast<S>(b) ? a : b)
  COMM_MAP2("minsi", U, U, static_cast<S>(a) < static_cast<S>(b) ? a : b)
  return nullptr;
}

template <class U> TileLoop intCompare(const std::string &op) {
  using S = Signed<U>;
  using B = uint8_t;
  COMM_MAP2("eq", U, B, a == b)
  COMM_MAP2("ne", U, B, a != b)
  COMM_MAP2("ult", U, B, a < b)
  COMM_MAP2("ule", U, B, a <= b)
  COMM_MAP2("ugt", U, B, a > b)
  COMM_MAP2("uge", U, B, a >= b)
  COMM_MAP2("slt", U, B, static_cast<S>(a) < static_cast<S>(b))
  COMM_MAP2("sle", U, B, static_cast<S>(a) <= static_cast<S>(b))
  COMM_MAP2("sgt", U, B, static_cast<S>(a) > static_cast<S>(b))
  COMM_MAP2("sge", U, B, static_cast<S>(a) >= static_cast<S>(b))
  return nullptr;
}

template <class U> TileLoop intUnary(const std::string &op) {
  COMM_MAP1("absi", U, U, static_cast<Signed<U>>(x) < 0 ? static_cast<U>(0 - x) : x)
  return nullptr;
}

/// A truth value is one bit: sums and products of it are those of one bit, and -1 is 1.
TileLoop boolBinary(const std::string &op) {
  using B = uint8_t;
  COMM_MAP2("andi", B, B, a & b)
  COMM_MAP2("muli", B, B, a & b)
  COMM_MAP2("minui", B, B, a & b)
  COMM_MAP2("maxsi", B, B, a & b)
  COMM_MAP2("ori", B, B, a | b)
  COMM_MAP2("maxui", B, B, a | b)
  COMM_MAP2("minsi", B, B, a | b)
  COMM_MAP2("xori", B, B, a ^ b)
  COMM_MAP2("addi", B, B, a ^ b)
  COMM_MAP2("subi", B, B, a ^ b)
  return nullptr;
}
TileLoop boolCompare(const std::string &op) {
  using B = uint8_t;
  COMM_MAP2("eq", B, B, a == b)
  COMM_MAP2("ne", B, B, a != b)
  COMM_MAP2("ult", B, B, a < b)
  COMM_MAP2("ule", B, B, a <= b)
  COMM_MAP2("ugt", B, B, a > b)
  COMM_MAP2("uge", B, B, a >= b)
  COMM_MAP2("slt", B, B, a > b)
  COMM_MAP2("sle", B, B, a >= b)
  COMM_MAP2("sgt", B, B, a < b)
  COMM_MAP2("sge", B, B, a <= b)
  return nullptr;
}
#undef COMM_MAP1
#undef COMM_MAP2

//===--- conversions ----------------------------------------------------------===//
/// Towards zero; beyond the range its end, NaN to 0.
template <class To, class From> To toInteger(From x) {
  constexpr auto lowest = std::numeric_limits<To>::lowest(), highest = std::numeric_limits<To>::max();
  if (x != x)
    return 0;
  if (x <= static_cast<From>(lowest))
    return lowest;
  return x >= static_cast<From>(highest) ? highest : static_cast<To>(x);
}

template <class X, class Y> TileLoop castLoop(const std::string &op) {
  constexpr bool fromFloat = std::is_floating_point_v<X>, toFloat = std::is_floating_point_v<Y>;
  if constexpr (fromFloat && toFloat) {
    if (op == "extf" || op == "truncf")
      return [](const void *const *ins, void *out, int64_t n) { map1<X, Y>(ins, out, n, [](X x) { return Y(x); }); };
  } else if constexpr (fromFloat) {
    if (op == "fptosi")
      return [](const void *const *ins, void *out, int64_t n) {
        map1<X, Y>(ins, out, n, [](X x) { return static_cast<Y>(toInteger<Signed<Y>>(x)); });
      };
    if (op == "fptoui")
      return [](const void *const *ins, void *out, int64_t n) {
        map1<X, Y>(ins, out, n, [](X x) { return toInteger<Y>(x); });
      };
  } else if constexpr (toFloat) {
    if (op == "sitofp")
      return [](const void *const *ins, void *out, int64_t n) {
        map1<X, Y>(ins, out, n, [](X x) { return static_cast<Y>(static_cast<Signed<X>>(x)); });
      };
    if (op == "uitofp")
      return [](const void *const *ins, void *out, int64_t n) {
        map1<X, Y>(ins, out, n, [](X x) { return static_cast<Y>(x); });
      };
  } else {
    if (op == "extsi")
      return [](const void *const *ins, void *out, int64_t n) {
        map1<X, Y>(ins, out, n, [](X x) { return static_cast<Y>(static_cast<Signed<Y>>(static_cast<Signed<X>>(x))); });
      };
    if (op == "extui" || op == "trunci")
      return [](const void *const *ins, void *out, int64_t n) {
        map1<X, Y>(ins, out, n, [](X x) { return static_cast<Y>(x); });
      };
  }
  return nullptr;
}

template <class Y> TileLoop castFromBool(const std::string &op) {
  if (op == "extui" || op == "uitofp")
    return [](const void *const *ins, void *out, int64_t n) {
      map1<uint8_t, Y>(ins, out, n, [](uint8_t x) { return Y(x != 0); });
    };
  if (op == "extsi" || op == "sitofp")
    return [](const void *const *ins, void *out, int64_t n) {
      map1<uint8_t, Y>(ins, out, n, [](uint8_t x) { return x ? static_cast<Y>(-1) : Y(0); });
    };
  return nullptr;
}
template <class X> TileLoop castToBool(const std::string &op) {
  if (op == "trunci")
    return [](const void *const *ins, void *out, int64_t n) {
      map1<X, uint8_t>(ins, out, n, [](X x) { return static_cast<uint64_t>(x) & 1; });
    };
  return nullptr;
}

template <class Width> void selectLoop(const void *const *ins, void *out, int64_t n) {
  const auto *c = static_cast<const uint8_t *>(ins[0]);
  const auto *a = static_cast<const Width *>(ins[1]), *b = static_cast<const Width *>(ins[2]);
  auto *y = static_cast<Width *>(out);
  for (int64_t i = 0; i < n; ++i)
    y[i] = c[i] ? a[i] : b[i];
}
template <class Width> void copyLoop(const void *const *ins, void *out, int64_t n) {
  if (ins[0] != out)
    std::copy_n(static_cast<const Width *>(ins[0]), n, static_cast<Width *>(out));
}
template <class T> void fmaLoop(const void *const *ins, void *out, int64_t n) {
  const auto *a = static_cast<const T *>(ins[0]), *b = static_cast<const T *>(ins[1]),
             *c = static_cast<const T *>(ins[2]);
  auto *y = static_cast<T *>(out);
  for (int64_t i = 0; i < n; ++i)
    y[i] = std::fma(a[i], b[i], c[i]);
}

/// Calls f with a value of the type that holds `type` in memory: float, double, or an integer without sign.
template <class F> TileLoop withType(DType type, F f) {
  switch (type) {
  case DType::F32:
    return f(float());
  case DType::F64:
    return f(double());
  case DType::I64:
  case DType::U64:
    return f(uint64_t());
  case DType::I32:
  case DType::U32:
    return f(uint32_t());
  case DType::I16:
  case DType::U16:
    return f(uint16_t());
  case DType::I8:
  case DType::U8:
    return f(uint8_t());
  default:
    return nullptr;
  }
}
template <class F> TileLoop withWidth(DType type, F f) {
  switch (exe::byteWidth(type)) {
  case 1:
    return f(uint8_t());
  case 2:
    return f(uint16_t());
  case 4:
    return f(uint32_t());
  default:
    return f(uint64_t());
  }
}

TileLoop findCast(const std::string &op, DType from, DType to) {
  if (from == DType::Bool && to == DType::Bool)
    return nullptr;
  if (from == DType::Bool)
    return withType(to, [&](auto y) { return castFromBool<decltype(y)>(op); });
  if (to == DType::Bool)
    return withType(from, [&](auto x) -> TileLoop {
      if constexpr (std::is_floating_point_v<decltype(x)>)
        return nullptr;
      else
        return castToBool<decltype(x)>(op);
    });
  return withType(from,
                  [&](auto x) { return withType(to, [&](auto y) { return castLoop<decltype(x), decltype(y)>(op); }); });
}
} // namespace

DType computeType(DType type) { return type == DType::F16 || type == DType::BF16 ? DType::F32 : type; }

const TileTable &tileTable() {
  static const TileTable &best = [&]() -> const TileTable & {
    if (const TileTable *table = tileTableAvx512(); table && cpuFeatures().v4)
      return *table;
    if (const TileTable *table = tileTableAvx2(); table && cpuFeatures().v3)
      return *table;
    return *tileTablePortable();
  }();
  return best;
}

TileLoop findTileLoop(const std::string &op, const std::vector<DType> &operands, DType result,
                      const std::string &detail) {
  DType type = operands.empty() ? result : operands.back();
  bool isBool = type == DType::Bool;
  if (type == DType::F32 && result == DType::F32)
    if (TileLoop loop = tileTable().loop(op.c_str(), detail.c_str()))
      return loop;
  if (op == "select")
    return withWidth(result, [](auto w) -> TileLoop { return selectLoop<decltype(w)>; });
  if (op == "bitcast" || ((op == "extf" || op == "truncf") && type == result))
    return withWidth(result, [](auto w) -> TileLoop { return copyLoop<decltype(w)>; });
  if (op == "cmpi" && isBool)
    return boolCompare(detail);
  if (isBool && operands.size() == 2)
    return boolBinary(op);
  if (operands.size() == 1)
    if (TileLoop loop = findCast(op, type, result))
      return loop;
  if (isBool)
    return nullptr;
  return withType(type, [&](auto x) -> TileLoop {
    using X = decltype(x);
    if constexpr (std::is_floating_point_v<X>) {
      if (op == "fma")
        return fmaLoop<X>;
      if (op == "cmpf")
        return floatCompare<X>(detail);
      return operands.size() == 1 ? floatUnary<X>(op, detail) : floatBinary<X>(op);
    } else {
      if (op == "cmpi")
        return intCompare<X>(detail);
      return operands.size() == 1 ? intUnary<X>(op) : intBinary<X>(op);
    }
  });
}

} // namespace comm::rt
