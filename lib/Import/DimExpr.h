//===- DimExpr.h - symbolic dimensions --------------------------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_DIMEXPR_H
#define COMM_LIB_IMPORT_DIMEXPR_H
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

namespace mlir::comm::onnx {

/// A dim_param: a name, a number, or sums, differences, products, quotients, Min and Max of them.
class DimExpr {
public:
  /// Anything that does not parse as an expression is one name, as it stands.
  static DimExpr parse(const std::string &text);
  const std::set<std::string> &getNames() const { return names; }
  /// None while a name has no value, or on overflow, division by zero or a negative result.
  std::optional<int64_t> evaluate(const std::map<std::string, int64_t> &values) const;
  /// The value of the one name without a value that makes the expression `result`; none when it cannot be told. May be
  /// negative: then no size fits.
  std::optional<std::pair<std::string, int64_t>> solve(int64_t result,
                                                       const std::map<std::string, int64_t> &values) const;

  struct Term {
    char kind = 'n'; ///< 'n' number, 'v' name, '+', '-', '*', '/', 'm' Min, 'M' Max
    int64_t value = 0;
    std::string name;
    std::vector<Term> args;
  };

private:
  Term root;
  std::set<std::string> names;
};

} // namespace mlir::comm::onnx
#endif
