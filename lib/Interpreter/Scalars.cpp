//===- Scalars.cpp - arith and math, one element at a time ----------------===//
#include "Internal.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "llvm/ADT/TypeSwitch.h"
#include <cmath>

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::detail;

static Type elementOf(Type type) { return getElementTypeOrSelf(type); }

static bool compare(arith::CmpFPredicate predicate, double a, double b) {
  bool unordered = std::isnan(a) || std::isnan(b);
  switch (predicate) {
  case arith::CmpFPredicate::AlwaysFalse:
    return false;
  case arith::CmpFPredicate::AlwaysTrue:
    return true;
  case arith::CmpFPredicate::ORD:
    return !unordered;
  case arith::CmpFPredicate::UNO:
    return unordered;
  case arith::CmpFPredicate::OEQ:
    return a == b;
  case arith::CmpFPredicate::OGT:
    return a > b;
  case arith::CmpFPredicate::OGE:
    return a >= b;
  case arith::CmpFPredicate::OLT:
    return a < b;
  case arith::CmpFPredicate::OLE:
    return a <= b;
  case arith::CmpFPredicate::ONE:
    return !unordered && a != b;
  case arith::CmpFPredicate::UEQ:
    return unordered || a == b;
  case arith::CmpFPredicate::UGT:
    return unordered || a > b;
  case arith::CmpFPredicate::UGE:
    return unordered || a >= b;
  case arith::CmpFPredicate::ULT:
    return unordered || a < b;
  case arith::CmpFPredicate::ULE:
    return unordered || a <= b;
  case arith::CmpFPredicate::UNE:
    return unordered || a != b;
  }
  return false;
}

static uint64_t zeroExtended(Type type, int64_t x) {
  unsigned width = type.isIndex() ? 64 : type.getIntOrFloatBitWidth();
  return width >= 64 ? static_cast<uint64_t>(x) : static_cast<uint64_t>(x) & ((1ull << width) - 1);
}

/// The signed reading of an integer: the one bit of an i1 is its sign.
static int64_t signExtended(Type type, int64_t x) { return type.isInteger(1) ? -(x & 1) : x; }

static bool compare(arith::CmpIPredicate predicate, Type type, int64_t a, int64_t b) {
  a = signExtended(type, a);
  b = signExtended(type, b);
  uint64_t ua = zeroExtended(type, a), ub = zeroExtended(type, b);
  switch (predicate) {
  case arith::CmpIPredicate::eq:
    return a == b;
  case arith::CmpIPredicate::ne:
    return a != b;
  case arith::CmpIPredicate::slt:
    return a < b;
  case arith::CmpIPredicate::sle:
    return a <= b;
  case arith::CmpIPredicate::sgt:
    return a > b;
  case arith::CmpIPredicate::sge:
    return a >= b;
  case arith::CmpIPredicate::ult:
    return ua < ub;
  case arith::CmpIPredicate::ule:
    return ua <= ub;
  case arith::CmpIPredicate::ugt:
    return ua > ub;
  case arith::CmpIPredicate::uge:
    return ua >= ub;
  }
  return false;
}

// NaN wins, and -0 is below +0.
static double nanMax(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? NAN : a == b ? (std::signbit(a) ? b : a) : std::max(a, b);
}
static double nanMin(double a, double b) {
  return std::isnan(a) || std::isnan(b) ? NAN : a == b ? (std::signbit(a) ? a : b) : std::min(a, b);
}

/// Real value of a float op; nullopt when unknown.
static std::optional<double> realFloat(Operation *op, ArrayRef<Scalar> in) {
  auto a = [&] { return in[0].f; };
  auto b = [&] { return in[1].f; };
  using R = std::optional<double>;
  return TypeSwitch<Operation *, R>(op)
      .Case([&](arith::AddFOp) -> R { return a() + b(); })
      .Case([&](arith::SubFOp) -> R { return a() - b(); })
      .Case([&](arith::MulFOp) -> R { return a() * b(); })
      .Case([&](arith::DivFOp) -> R { return a() / b(); })
      .Case([&](arith::RemFOp) -> R { return std::fmod(a(), b()); })
      .Case([&](arith::NegFOp) -> R { return -a(); })
      .Case([&](arith::MaximumFOp) -> R { return nanMax(a(), b()); })
      .Case([&](arith::MinimumFOp) -> R { return nanMin(a(), b()); })
      .Case([&](arith::MaxNumFOp) -> R { return std::fmax(a(), b()); })
      .Case([&](arith::MinNumFOp) -> R { return std::fmin(a(), b()); })
      .Case<arith::ExtFOp, arith::TruncFOp>([&](auto) -> R { return a(); })
      .Case([&](math::AbsFOp) -> R { return std::fabs(a()); })
      .Case([&](math::CeilOp) -> R { return std::ceil(a()); })
      .Case([&](math::FloorOp) -> R { return std::floor(a()); })
      .Case([&](math::RoundOp) -> R { return std::round(a()); })
      .Case([&](math::RoundEvenOp) -> R { return std::nearbyint(a()); })
      .Case([&](math::TruncOp) -> R { return std::trunc(a()); })
      .Case([&](math::CopySignOp) -> R { return std::copysign(a(), b()); })
      .Case([&](math::FmaOp) -> R { return std::fma(a(), b(), in[2].f); })
      .Case([&](math::SqrtOp) -> R { return std::sqrt(a()); })
      .Case([&](math::RsqrtOp) -> R { return 1 / std::sqrt(a()); })
      .Case([&](math::CbrtOp) -> R { return std::cbrt(a()); })
      .Case([&](math::ExpOp) -> R { return std::exp(a()); })
      .Case([&](math::Exp2Op) -> R { return std::exp2(a()); })
      .Case([&](math::ExpM1Op) -> R { return std::expm1(a()); })
      .Case([&](math::LogOp) -> R { return std::log(a()); })
      .Case([&](math::Log2Op) -> R { return std::log2(a()); })
      .Case([&](math::Log10Op) -> R { return std::log10(a()); })
      .Case([&](math::Log1pOp) -> R { return std::log1p(a()); })
      .Case([&](math::ErfOp) -> R { return std::erf(a()); })
      .Case([&](math::ErfcOp) -> R { return std::erfc(a()); })
      .Case([&](math::TanhOp) -> R { return std::tanh(a()); })
      .Case([&](math::SinhOp) -> R { return std::sinh(a()); })
      .Case([&](math::CoshOp) -> R { return std::cosh(a()); })
      .Case([&](math::SinOp) -> R { return std::sin(a()); })
      .Case([&](math::CosOp) -> R { return std::cos(a()); })
      .Case([&](math::TanOp) -> R { return std::tan(a()); })
      .Case([&](math::AsinOp) -> R { return std::asin(a()); })
      .Case([&](math::AcosOp) -> R { return std::acos(a()); })
      .Case([&](math::AtanOp) -> R { return std::atan(a()); })
      .Case([&](math::Atan2Op) -> R { return std::atan2(a(), b()); })
      .Case([&](math::AsinhOp) -> R { return std::asinh(a()); })
      .Case([&](math::AcoshOp) -> R { return std::acosh(a()); })
      .Case([&](math::AtanhOp) -> R { return std::atanh(a()); })
      .Case([&](math::PowFOp) -> R { return std::pow(a(), b()); })
      .Case([&](math::FPowIOp) -> R { return std::pow(a(), static_cast<double>(in[1].i)); })
      .Default([](Operation *) -> R { return std::nullopt; });
}

/// The same op in the prime field: linear ops as they are, others a fixed polynomial that is told apart by the op's
/// name.
static int64_t fieldFloat(Operation *op, ArrayRef<Scalar> in) {
  int64_t a = static_cast<int64_t>(in[0].f), b = in.size() > 1 ? static_cast<int64_t>(in[1].f) : 0;
  if (isa<arith::AddFOp>(op))
    return toField(a + b);
  if (isa<arith::SubFOp>(op))
    return toField(a - b);
  if (isa<arith::MulFOp>(op))
    return toField(a * b);
  if (isa<arith::NegFOp>(op))
    return toField(-a);
  if (isa<arith::ExtFOp, arith::TruncFOp>(op))
    return a;
  if (isa<arith::MaximumFOp, arith::MaxNumFOp>(op))
    return std::max(a, b);
  if (isa<arith::MinimumFOp, arith::MinNumFOp>(op))
    return std::min(a, b);
  int64_t salt = 0;
  for (char c : op->getName().getStringRef())
    salt = (salt * 31 + c) % 1009;
  int64_t x = toField(a + 3 * b);
  return toField(toField(x * x) + toField(salt * x)); // zero stays zero, so that zero fill stays harmless
}

static std::optional<int64_t> integer(Operation *op, ArrayRef<Scalar> in) {
  auto a = [&] { return signExtended(elementOf(op->getOperand(0).getType()), in[0].i); };
  auto b = [&] { return signExtended(elementOf(op->getOperand(1).getType()), in[1].i); };
  auto ua = [&] { return zeroExtended(elementOf(op->getOperand(0).getType()), in[0].i); };
  auto ub = [&] { return zeroExtended(elementOf(op->getOperand(1).getType()), in[1].i); };
  using R = std::optional<int64_t>;
  return TypeSwitch<Operation *, R>(op)
      .Case([&](arith::AddIOp) -> R {
        return static_cast<int64_t>(static_cast<uint64_t>(a()) + static_cast<uint64_t>(b()));
      })
      .Case([&](arith::SubIOp) -> R {
        return static_cast<int64_t>(static_cast<uint64_t>(a()) - static_cast<uint64_t>(b()));
      })
      .Case([&](arith::MulIOp) -> R {
        return static_cast<int64_t>(static_cast<uint64_t>(a()) * static_cast<uint64_t>(b()));
      })
      .Case([&](arith::DivSIOp) -> R { return b() == 0 || (b() == -1 && a() == INT64_MIN) ? R() : R(a() / b()); })
      .Case([&](arith::DivUIOp) -> R { return ub() == 0 ? R() : R(static_cast<int64_t>(ua() / ub())); })
      .Case([&](arith::RemSIOp) -> R { return b() == 0 || b() == -1 ? (b() == -1 ? R(0) : R()) : R(a() % b()); })
      .Case([&](arith::RemUIOp) -> R { return ub() == 0 ? R() : R(static_cast<int64_t>(ua() % ub())); })
      .Case([&](arith::FloorDivSIOp) -> R {
        if (b() == 0 || (b() == -1 && a() == INT64_MIN))
          return R();
        int64_t q = a() / b();
        return R((a() % b() != 0 && ((a() < 0) != (b() < 0))) ? q - 1 : q);
      })
      .Case([&](arith::AndIOp) -> R { return a() & b(); })
      .Case([&](arith::OrIOp) -> R { return a() | b(); })
      .Case([&](arith::XOrIOp) -> R { return a() ^ b(); })
      .Case([&](arith::ShLIOp) -> R {
        return ub() >= 64 ? R(0) : R(static_cast<int64_t>(static_cast<uint64_t>(a()) << ub()));
      })
      .Case([&](arith::ShRUIOp) -> R { return ub() >= 64 ? R(0) : R(static_cast<int64_t>(ua() >> ub())); })
      .Case([&](arith::ShRSIOp) -> R { return R(a() >> std::min<uint64_t>(ub(), 63)); })
      .Case([&](arith::MaxSIOp) -> R { return std::max(a(), b()); })
      .Case([&](arith::MinSIOp) -> R { return std::min(a(), b()); })
      .Case([&](arith::MaxUIOp) -> R { return static_cast<int64_t>(std::max(ua(), ub())); })
      .Case([&](arith::MinUIOp) -> R { return static_cast<int64_t>(std::min(ua(), ub())); })
      .Case(
          [&](math::AbsIOp) -> R { return a() < 0 ? R(static_cast<int64_t>(0 - static_cast<uint64_t>(a()))) : R(a()); })
      .Case([&](math::IPowIOp) -> R {
        uint64_t result = 1;
        if (b() < 0)
          return R(a() == 1 ? 1 : a() == -1 ? (b() % 2 ? -1 : 1) : 0);
        for (int64_t i = 0, base = a(); i < 64 && (b() >> i);
             ++i, base = static_cast<int64_t>(static_cast<uint64_t>(base) * static_cast<uint64_t>(base)))
          if ((b() >> i) & 1)
            result *= static_cast<uint64_t>(base);
        return R(static_cast<int64_t>(result));
      })
      .Case<arith::ExtSIOp, arith::TruncIOp, arith::IndexCastOp>([&](auto) -> R { return a(); })
      .Case<arith::ExtUIOp, arith::IndexCastUIOp>([&](auto) -> R { return static_cast<int64_t>(ua()); })
      .Case([&](arith::CmpIOp cmp) -> R {
        return compare(cmp.getPredicate(), elementOf(cmp.getLhs().getType()), a(), b());
      })
      .Case([&](arith::CmpFOp cmp) -> R { return compare(cmp.getPredicate(), in[0].f, in[1].f); })
      .Case([&](math::IsNaNOp) -> R { return std::isnan(in[0].f); })
      .Case([&](math::IsInfOp) -> R { return std::isinf(in[0].f); })
      .Case([&](math::IsFiniteOp) -> R { return std::isfinite(in[0].f); })
      .Default([](Operation *) -> R { return std::nullopt; });
}

/// What the C conversion leaves undefined is given a value, so that runs repeat: NaN is 0, and beyond 64 bits (signed,
/// or unsigned from 0 on) the nearest end.
static int64_t toInteger(double x, bool isSigned) {
  constexpr double k2to63 = 9223372036854775808.0;
  if (std::isnan(x))
    return 0;
  if (isSigned)
    return x <= -k2to63 ? INT64_MIN : x >= k2to63 ? INT64_MAX : static_cast<int64_t>(x);
  return x <= 0 ? 0 : x >= 2 * k2to63 ? -1 : static_cast<int64_t>(static_cast<uint64_t>(x));
}

FailureOr<Scalar> comm::detail::evaluateScalar(Operation *op, ArrayRef<Scalar> in, bool standIns) {
  Scalar out;
  if (op->getNumResults() != 1)
    return failure();
  if (auto select = dyn_cast<arith::SelectOp>(op))
    return in[0].i ? in[1] : in[2];
  Type to = elementOf(op->getResult(0).getType());
  if (isa<FloatType>(to)) {
    if (isa<arith::SIToFPOp, arith::UIToFPOp>(op)) {
      Type from = elementOf(op->getOperand(0).getType());
      double x = isa<arith::UIToFPOp>(op) ? static_cast<double>(zeroExtended(from, in[0].i))
                                          : static_cast<double>(signExtended(from, in[0].i));
      out.f = standIns ? static_cast<double>(toField(x)) : roundTo(to, x);
      return out;
    }
    std::optional<double> x = realFloat(op, in);
    if (!x)
      return failure();
    out.f = standIns ? static_cast<double>(fieldFloat(op, in)) : roundTo(to, *x);
    return out;
  }
  if (isa<arith::FPToSIOp, arith::FPToUIOp>(op)) {
    out.i = wrapTo(to, toInteger(in[0].f, isa<arith::FPToSIOp>(op)));
    return out;
  }
  std::optional<int64_t> x = integer(op, in);
  if (!x)
    return failure();
  out.i = wrapTo(to, *x);
  return out;
}

bool comm::detail::knowsScalar(Operation *op) {
  if (op->getNumResults() != 1 || op->getNumOperands() == 0 || op->getNumRegions() != 0)
    return false;
  if (!isa_and_nonnull<arith::ArithDialect, math::MathDialect>(op->getDialect()))
    return false;
  if (isa<arith::SelectOp, arith::SIToFPOp, arith::UIToFPOp, arith::FPToSIOp, arith::FPToUIOp>(op))
    return true;
  // Ask with harmless operands: knowledge does not depend on values, but a division by zero would say no.
  SmallVector<Scalar> ones(op->getNumOperands(), Scalar{1.0, 1});
  return succeeded(evaluateScalar(op, ones, false));
}
