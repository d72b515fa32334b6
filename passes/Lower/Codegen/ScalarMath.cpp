//===- ScalarMath.cpp - functions without a library -----------------------===//
// exp and log of f64 to about one unit in the last place, exp and exp2 of f32 to two (denormal results are 0), and the
// exact remainder of f32 in f64. Steps that must be one rounding are math.fma; nothing here may be reordered.
//===----------------------------------------------------------------------===//
#include "Internal.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include <cmath>

using namespace mlir;

namespace {
/// Scalar f64 (and i64) arithmetic at one place.
struct Writer {
  OpBuilder &b;
  Location loc;
  Value real(double x) { return arith::ConstantOp::create(b, loc, b.getF64FloatAttr(x)); }
  Value integer(int64_t x) { return arith::ConstantOp::create(b, loc, b.getI64IntegerAttr(x)); }
  Value add(Value x, Value y) { return arith::AddFOp::create(b, loc, x, y); }
  Value sub(Value x, Value y) { return arith::SubFOp::create(b, loc, x, y); }
  Value mul(Value x, Value y) { return arith::MulFOp::create(b, loc, x, y); }
  Value div(Value x, Value y) { return arith::DivFOp::create(b, loc, x, y); }
  Value fma(Value x, Value y, Value z) { return math::FmaOp::create(b, loc, x, y, z); }
  Value neg(Value x) { return arith::NegFOp::create(b, loc, x); }
  Value compare(arith::CmpFPredicate predicate, Value x, Value y) {
    return arith::CmpFOp::create(b, loc, predicate, x, y);
  }
  Value select(Value c, Value x, Value y) { return arith::SelectOp::create(b, loc, c, x, y); }
  Value bits(Value x) { return arith::BitcastOp::create(b, loc, b.getI64Type(), x); }
  Value fromBits(Value x) { return arith::BitcastOp::create(b, loc, b.getF64Type(), x); }
  /// x^0 c[0] + x^1 c[1] + ...
  Value polynomial(Value x, ArrayRef<double> c) {
    Value y = real(c.back());
    for (double coefficient : llvm::reverse(c.drop_back()))
      y = fma(y, x, real(coefficient));
    return y;
  }
};
constexpr double kLn2High = 6.93147180369123816490e-01, kLn2Low = 1.90821492927058770002e-10;

/// Scalar f32 (and i32) arithmetic at one place.
struct Writer32 {
  OpBuilder &b;
  Location loc;
  Value real(double x) { return arith::ConstantOp::create(b, loc, b.getF32FloatAttr(static_cast<float>(x))); }
  Value integer(int32_t x) { return arith::ConstantOp::create(b, loc, b.getI32IntegerAttr(x)); }
  Value fma(Value x, double y, Value z) { return math::FmaOp::create(b, loc, x, real(y), z); }
  Value isLess(Value x, Value y) { return arith::CmpFOp::create(b, loc, arith::CmpFPredicate::OLT, x, y); }
  Value select(Value c, Value x, Value y) { return arith::SelectOp::create(b, loc, c, x, y); }
  /// x, at most `top`; a NaN stays one.
  Value atMost(Value x, double top) { return select(isLess(real(top), x), real(top), x); }
  /// x^0 c[0] + x^1 c[1] + ...
  Value polynomial(Value x, ArrayRef<double> c) {
    Value y = real(c.back());
    for (double coefficient : llvm::reverse(c.drop_back()))
      y = math::FmaOp::create(b, loc, y, x, real(coefficient));
    return y;
  }
};

/// 2^n for whole numbers n: `kHalfPower` added to n leaves, in the low bits, the exponent field of 2^(n - 1), which
/// exists for every n of a normal result; the polynomials are twice the power of the rest.
constexpr double kHalfPower = 12582912 + 126; // 1.5 * 2^23: what is added to it is rounded to a whole number
Value halfPower(Writer32 w, Value shifted) {
  Value bits = arith::BitcastOp::create(w.b, w.loc, w.b.getI32Type(), shifted);
  bits = arith::ShLIOp::create(w.b, w.loc, bits, w.integer(23));
  return arith::BitcastOp::create(w.b, w.loc, w.b.getF32Type(), bits);
}

/// exp(x) = 2^(n - 1) * 2 exp(r), |r| <= ln2 / 2: 13 instructions, none of them slow.
struct ExpandExp32 : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::ExpOp op, PatternRewriter &rewriter) const override {
    if (!op.getType().isF32())
      return rewriter.notifyMatchFailure(op, "not a scalar f32");
    Writer32 w{rewriter, op.getLoc()};
    Value given = op.getOperand(), x = w.atMost(given, 89);
    Value shifted = w.fma(x, 1.4426950408889634, w.real(kHalfPower));
    Value n = arith::SubFOp::create(rewriter, op.getLoc(), shifted, w.real(kHalfPower));
    Value r = w.fma(n, 2.12194440e-4, w.fma(n, -0.693359375, x));
    Value y = w.polynomial(r, {2.000000238418579, 1.9999994039535522, 0.9999769926071167, 0.3333522379398346,
                               0.08384069800376892, 0.016593879088759422});
    y = arith::MulFOp::create(rewriter, op.getLoc(), y, halfPower(w, shifted));
    rewriter.replaceOp(op, w.select(w.isLess(given, w.real(-87)), w.real(0), y));
    return success();
  }
};

/// The same without the logarithm.
struct ExpandExp2 : OpRewritePattern<math::Exp2Op> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::Exp2Op op, PatternRewriter &rewriter) const override {
    if (!op.getType().isF32())
      return rewriter.notifyMatchFailure(op, "not a scalar f32");
    Writer32 w{rewriter, op.getLoc()};
    Value given = op.getOperand(), x = w.atMost(given, 129);
    Value shifted = arith::AddFOp::create(rewriter, op.getLoc(), x, w.real(kHalfPower));
    Value n = arith::SubFOp::create(rewriter, op.getLoc(), shifted, w.real(kHalfPower));
    Value r = arith::SubFOp::create(rewriter, op.getLoc(), x, n);
    Value y = w.polynomial(r, {2.000000238418579, 1.386293888092041, 0.48044195771217346, 0.11101450771093369,
                               0.01935337670147419, 0.0026550653856247663});
    y = arith::MulFOp::create(rewriter, op.getLoc(), y, halfPower(w, shifted));
    rewriter.replaceOp(op, w.select(w.isLess(given, w.real(-125.5)), w.real(0), y));
    return success();
  }
};

/// exp(x) = 2^n exp(r), |r| <= ln2 / 2.
struct ExpandExp : OpRewritePattern<math::ExpOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::ExpOp op, PatternRewriter &rewriter) const override {
    if (!op.getType().isF64())
      return rewriter.notifyMatchFailure(op, "not a scalar f64");
    Writer w{rewriter, op.getLoc()};
    Value given = op.getOperand();
    Value low = w.compare(arith::CmpFPredicate::OLT, given, w.real(-750)),
          high = w.compare(arith::CmpFPredicate::OGT, given, w.real(720));
    Value x = w.select(low, w.real(-750), w.select(high, w.real(720), given));
    Value isNaN = w.compare(arith::CmpFPredicate::UNO, given, given);
    x = w.select(isNaN, w.real(0), x);
    Value n = math::RoundEvenOp::create(rewriter, op.getLoc(), w.mul(x, w.real(1.4426950408889634)));
    Value r = w.fma(w.neg(n), w.real(kLn2Low), w.fma(w.neg(n), w.real(kLn2High), x));
    SmallVector<double> taylor;
    for (double i = 0, factorial = 1; i < 14; ++i, factorial *= i)
      taylor.push_back(1 / factorial);
    Value y = w.polynomial(r, taylor);
    // In two steps, so that neither power of two leaves the range of exponents; the first in the bits, for two products
    // would be reordered.
    Value k = arith::FPToSIOp::create(rewriter, op.getLoc(), rewriter.getI64Type(), n);
    Value first = arith::ShRSIOp::create(rewriter, op.getLoc(), k, w.integer(1)),
          second = arith::SubIOp::create(rewriter, op.getLoc(), k, first);
    auto field = [&](Value exponent) {
      return arith::ShLIOp::create(rewriter, op.getLoc(), exponent, w.integer(52)).getResult();
    };
    y = w.fromBits(arith::AddIOp::create(rewriter, op.getLoc(), w.bits(y), field(first)));
    Value biased = arith::AddIOp::create(rewriter, op.getLoc(), second, w.integer(1023));
    y = w.mul(y, w.fromBits(field(biased)));
    rewriter.replaceOp(op, w.select(isNaN, given, y));
    return success();
  }
};

/// log(2^k m) = k ln2 + log(m), sqrt(1/2) <= m < sqrt(2), by s = f / (2 + f), f = m - 1.
struct ExpandLog : OpRewritePattern<math::LogOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(math::LogOp op, PatternRewriter &rewriter) const override {
    if (!op.getType().isF64())
      return rewriter.notifyMatchFailure(op, "not a scalar f64");
    Location loc = op.getLoc();
    Writer w{rewriter, loc};
    Value given = op.getOperand();
    Value tiny = w.compare(arith::CmpFPredicate::OLT, given, w.real(0x1p-1022));
    Value x = w.select(tiny, w.mul(given, w.real(0x1p54)), given);
    // Subtracting the bits of sqrt(1/2) makes the exponent field that of the wanted m.
    Value offset = arith::SubIOp::create(rewriter, loc, w.bits(x), w.integer(0x3fe6a09e667f3bcd));
    Value k = arith::ShRSIOp::create(rewriter, loc, offset, w.integer(52));
    Value field = arith::ShLIOp::create(rewriter, loc, k, w.integer(52));
    Value m = w.fromBits(arith::SubIOp::create(rewriter, loc, w.bits(x), field));
    Value exponent = arith::SIToFPOp::create(rewriter, loc, rewriter.getF64Type(), k);
    exponent = w.select(tiny, w.sub(exponent, w.real(54)), exponent);
    Value f = w.sub(m, w.real(1)), s = w.div(f, w.add(w.real(2), f)), z = w.mul(s, s);
    Value rest = w.mul(z, w.polynomial(z, {6.666666666666735130e-01, 3.999999999940941908e-01, 2.857142874366239149e-01,
                                           2.222219843214978396e-01, 1.818357216161805012e-01, 1.531383769920937332e-01,
                                           1.479819860511658591e-01}));
    Value half = w.mul(w.real(0.5), w.mul(f, f));
    // k ln2 + f - half + s (half + rest)
    Value tail = w.fma(s, w.add(half, rest), w.mul(exponent, w.real(kLn2Low)));
    Value y = w.fma(exponent, w.real(kLn2High), w.sub(f, w.sub(half, tail)));
    Value infinity = w.real(INFINITY);
    y = w.select(w.compare(arith::CmpFPredicate::OEQ, given, infinity), infinity, y);
    y = w.select(w.compare(arith::CmpFPredicate::OEQ, given, w.real(0)), w.real(-INFINITY), y);
    Value valid = w.compare(arith::CmpFPredicate::OGE, given, w.real(0)); // false for NaN
    rewriter.replaceOp(op, w.select(valid, y, w.real(NAN)));
    return success();
  }
};

/// x - trunc(x / y) y. The quotient of two f32 has up to 278 bits: 48 of them go at a time, each step exact in f64.
struct ExpandRemainder : OpRewritePattern<arith::RemFOp> {
  using OpRewritePattern::OpRewritePattern;
  LogicalResult matchAndRewrite(arith::RemFOp op, PatternRewriter &rewriter) const override {
    if (!op.getType().isF32())
      return rewriter.notifyMatchFailure(op, "not a scalar f32");
    Location loc = op.getLoc();
    Writer w{rewriter, loc};
    auto wide = [&](Value x) { return arith::ExtFOp::create(rewriter, loc, rewriter.getF64Type(), x).getResult(); };
    auto magnitude = [&](Value x) { return math::AbsFOp::create(rewriter, loc, x).getResult(); };
    Value x = wide(op.getLhs()), y = magnitude(wide(op.getRhs())), r = magnitude(x);
    for (int64_t bits = 240; bits >= 0; bits -= 48) {
      Value divisor = w.mul(y, w.real(std::ldexp(1.0, static_cast<int>(bits))));
      Value quotient = math::TruncOp::create(rewriter, loc, w.div(r, divisor));
      Value rest = w.fma(w.neg(quotient), divisor, r);
      // The division rounds: the quotient may be off by one.
      rest = w.select(w.compare(arith::CmpFPredicate::OLT, rest, w.real(0)), w.add(rest, divisor), rest);
      r = w.select(w.compare(arith::CmpFPredicate::OGE, rest, divisor), w.sub(rest, divisor), rest);
    }
    // A divisor without bound takes nothing away.
    Value boundless = w.compare(arith::CmpFPredicate::OEQ, y, w.real(INFINITY));
    Value finite = w.compare(arith::CmpFPredicate::OLT, magnitude(x), w.real(INFINITY));
    r = w.select(arith::AndIOp::create(rewriter, loc, boundless, finite), magnitude(x), r);
    r = math::CopySignOp::create(rewriter, loc, r, x);
    rewriter.replaceOpWithNewOp<arith::TruncFOp>(op, rewriter.getF32Type(), r);
    return success();
  }
};
} // namespace

void mlir::comm::codegen::populateScalarMathPatterns(RewritePatternSet &patterns) {
  patterns.add<ExpandExp, ExpandExp32, ExpandExp2, ExpandLog, ExpandRemainder>(patterns.getContext());
}
