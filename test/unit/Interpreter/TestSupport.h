//===- TestSupport.h - run text IR on lists of numbers ----------*- C++ -*-===//
// The interpreter is the oracle of every pass, so nothing here compares it with itself: expected values are worked out
// by hand or by the formula of the op's description, written a second time in the test.
//===----------------------------------------------------------------------===//
#ifndef TEST_UNIT_INTERPRETER_TESTSUPPORT_H
#define TEST_UNIT_INTERPRETER_TESTSUPPORT_H
#include "comm/Interpreter/Interpreter.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"
#include <cmath>
#include <gtest/gtest.h>
#include <limits>

namespace testing_interpreter {
using namespace mlir;
using namespace mlir::comm;

using Numbers = std::vector<double>; ///< the elements of one tensor, row-major
using Args = std::vector<Numbers>;   ///< [argument] or [result]

constexpr double kInf = std::numeric_limits<double>::infinity();
constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

inline MLIRContext &context() {
  static MLIRContext *instance = [] {
    auto *created = new MLIRContext(MLIRContext::Threading::DISABLED);
    created->loadDialect<CommDialect, func::FuncDialect, arith::ArithDialect, math::MathDialect, linalg::LinalgDialect,
                         tensor::TensorDialect>();
    return created;
  }();
  return *instance;
}

inline OwningOpRef<ModuleOp> parse(const std::string &text) {
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(text, &context());
  EXPECT_TRUE(module) << text;
  return module;
}

inline HostTensor toTensor(RankedTensorType type, const Numbers &numbers) {
  HostTensor out = HostTensor::zeros(type);
  EXPECT_EQ(static_cast<int64_t>(numbers.size()), out.size());
  for (size_t i = 0; i < numbers.size(); ++i)
    if (out.isFloat())
      out.floats[i] = numbers[i];
    else
      out.ints[i] = static_cast<int64_t>(numbers[i]);
  return out;
}

inline Numbers toNumbers(const HostTensor &tensor) {
  return tensor.isFloat() ? tensor.floats : Numbers(tensor.ints.begin(), tensor.ints.end());
}

/// Runs the first function of `text` on one rank per element of `args`. Gives [rank][result]; empty on failure.
inline std::vector<Args> tryRanks(const std::string &text, const std::vector<Args> &args,
                                  const InterpreterOptions &options = {}) {
  OwningOpRef<ModuleOp> module = parse(text);
  if (!module)
    return {};
  ScopedDiagnosticHandler quiet(&context(), [](Diagnostic &) { return success(); });
  func::FuncOp function = *module->getOps<func::FuncOp>().begin();
  std::vector<std::vector<HostTensor>> inputs;
  for (const Args &rank : args) {
    EXPECT_EQ(rank.size(), function.getNumArguments());
    inputs.emplace_back();
    for (auto [type, numbers] : llvm::zip(function.getArgumentTypes(), rank))
      inputs.back().push_back(toTensor(cast<RankedTensorType>(type), numbers));
  }
  auto results = interpret(function, inputs, options);
  if (failed(results))
    return {};
  std::vector<Args> out;
  for (const auto &rank : *results) {
    out.emplace_back();
    for (auto [type, tensor] : llvm::zip_equal(function.getResultTypes(), rank)) {
      EXPECT_EQ(Type(tensor.type), type);
      out.back().push_back(toNumbers(tensor));
    }
  }
  return out;
}

/// A function of one op: arguments %a, %b, ... of the comma-separated `types` (each begins with "tensor").
inline std::string oneOp(const std::string &types, const std::string &result, const std::string &op) {
  std::string signature;
  char name = 'a';
  for (size_t at = 0; at != std::string::npos;) {
    size_t next = types.find(", tensor", at + 1);
    signature += (at ? ", %" : "%") + std::string(1, name++) + ": " +
                 types.substr(at ? at + 2 : 0, next == std::string::npos ? next : next - (at ? at + 2 : 0));
    at = next;
  }
  return "func.func @f(" + (types.empty() ? "" : signature) + ") -> " + result + " {\n  %r = " + op +
         "\n  return %r : " + result + "\n}\n";
}

/// The one result of a function on one rank.
inline Numbers run(const std::string &text, const Args &args, const InterpreterOptions &options = {}) {
  std::vector<Args> results = tryRanks(text, {args}, options);
  if (results.empty() || results[0].empty()) {
    ADD_FAILURE() << "the interpreter refused\n" << text;
    return {};
  }
  return results[0][0];
}

/// The first result on every rank.
inline Args runRanks(const std::string &text, const std::vector<Args> &args, const InterpreterOptions &options = {}) {
  std::vector<Args> results = tryRanks(text, args, options);
  EXPECT_FALSE(results.empty()) << "the interpreter refused\n" << text;
  Args out;
  for (Args &rank : results)
    out.push_back(rank.at(0));
  return out;
}

inline bool refuses(const std::string &text, const Args &args) { return tryRanks(text, {args}).empty(); }

/// NaN equals NaN, infinities must agree, others within `tolerance` of the larger of 1 and the expected size.
inline void expectNear(const Numbers &got, const Numbers &expected, double tolerance = 1e-6) {
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    if (std::isnan(expected[i]) || std::isinf(expected[i]))
      EXPECT_TRUE(std::isnan(expected[i]) ? std::isnan(got[i]) : got[i] == expected[i])
          << "element " << i << ": got " << got[i] << ", expected " << expected[i];
    else
      EXPECT_NEAR(got[i], expected[i], tolerance * std::max(1.0, std::fabs(expected[i]))) << "element " << i;
  }
}
/// 1, 2, ..., n: numbers that tell places apart.
inline Numbers counting(int64_t n, double first = 1) {
  Numbers out(n);
  for (int64_t i = 0; i < n; ++i)
    out[i] = first + static_cast<double>(i);
  return out;
}
} // namespace testing_interpreter
#endif
