//===- DimExpr.cpp - symbolic dimensions ----------------------------------===//
#include "DimExpr.h"
#include <algorithm>
#include <cctype>

namespace mlir::comm::onnx {
namespace {
using Term = DimExpr::Term;

struct Parser {
  const std::string &text;
  size_t at = 0;
  int depth = 0;
  bool bad = false;

  char peek() {
    while (at < text.size() && std::isspace(static_cast<unsigned char>(text[at])))
      ++at;
    return at < text.size() ? text[at] : '\0';
  }
  bool eat(char c) { return peek() == c ? (++at, true) : false; }
  Term binary(char kind, Term lhs, Term rhs) {
    Term term;
    term.kind = kind;
    term.args = {std::move(lhs), std::move(rhs)};
    return term;
  }
  Term sum() {
    Term lhs = product();
    while (!bad && (peek() == '+' || peek() == '-')) {
      char kind = text[at++];
      lhs = binary(kind, std::move(lhs), product());
    }
    return lhs;
  }
  Term product() {
    Term lhs = atom();
    while (!bad && (peek() == '*' || peek() == '/')) {
      char kind = text[at++];
      if (kind == '/')
        eat('/');
      lhs = binary(kind, std::move(lhs), atom());
    }
    return lhs;
  }
  Term atom() {
    Term term;
    char c = peek();
    if (++depth > 64 || c == '\0') {
      bad = true;
    } else if (eat('(')) {
      term = sum();
      bad |= !eat(')');
    } else if (std::isdigit(static_cast<unsigned char>(c))) {
      for (; at < text.size() && std::isdigit(static_cast<unsigned char>(text[at])); ++at)
        if (term.value < INT64_MAX / 16)
          term.value = term.value * 10 + (text[at] - '0');
        else
          bad = true;
    } else if (std::isalpha(static_cast<unsigned char>(c)) || c == '_') {
      size_t start = at;
      while (at < text.size() && (std::isalnum(static_cast<unsigned char>(text[at])) || text[at] == '_' ||
                                  text[at] == '.' || text[at] == ':'))
        ++at;
      term.name = text.substr(start, at - start);
      term.kind = 'v';
      bool isMin = term.name == "Min" || term.name == "min", isMax = term.name == "Max" || term.name == "max";
      if ((isMin || isMax) && eat('(')) {
        term = Term();
        term.kind = isMin ? 'm' : 'M';
        do
          term.args.push_back(sum());
        while (!bad && eat(','));
        bad |= !eat(')');
      }
    } else {
      bad = true;
    }
    --depth;
    return term;
  }
};

void collect(const Term &term, std::set<std::string> &names) {
  if (term.kind == 'v')
    names.insert(term.name);
  for (const Term &arg : term.args)
    collect(arg, names);
}

std::optional<int64_t> valueOf(const Term &term, const std::map<std::string, int64_t> &values) {
  if (term.kind == 'n')
    return term.value;
  if (term.kind == 'v') {
    auto found = values.find(term.name);
    return found == values.end() ? std::nullopt : std::optional<int64_t>(found->second);
  }
  std::vector<int64_t> args;
  for (const Term &arg : term.args) {
    std::optional<int64_t> value = valueOf(arg, values);
    if (!value)
      return std::nullopt;
    args.push_back(*value);
  }
  int64_t result = 0;
  switch (term.kind) {
  case '+':
    return __builtin_add_overflow(args[0], args[1], &result) ? std::nullopt : std::optional<int64_t>(result);
  case '-':
    return __builtin_sub_overflow(args[0], args[1], &result) ? std::nullopt : std::optional<int64_t>(result);
  case '*':
    return __builtin_mul_overflow(args[0], args[1], &result) ? std::nullopt : std::optional<int64_t>(result);
  case '/':
    if (args[1] <= 0 || args[0] < 0)
      return std::nullopt;
    return args[0] / args[1];
  case 'm':
    return *std::min_element(args.begin(), args.end());
  default:
    return *std::max_element(args.begin(), args.end());
  }
}

/// Walks down to the only unknown, undoing one operation per level.
std::optional<std::pair<std::string, int64_t>> invert(const Term &term, int64_t result,
                                                      const std::map<std::string, int64_t> &values) {
  if (term.kind == 'v')
    return std::make_pair(term.name, result);
  if (term.args.size() != 2 || term.kind == 'm' || term.kind == 'M')
    return std::nullopt;
  std::optional<int64_t> lhs = valueOf(term.args[0], values), rhs = valueOf(term.args[1], values);
  if (lhs.has_value() == rhs.has_value())
    return std::nullopt;
  const Term &unknown = lhs ? term.args[1] : term.args[0];
  int64_t known = lhs ? *lhs : *rhs, next = 0;
  bool overflow = false;
  if (term.kind == '+')
    overflow = __builtin_sub_overflow(result, known, &next);
  else if (term.kind == '-')
    overflow = lhs ? __builtin_sub_overflow(known, result, &next) : __builtin_add_overflow(result, known, &next);
  else if (term.kind == '*' && known > 0 && result % known == 0)
    next = result / known;
  else
    return std::nullopt; // a quotient has many origins
  return overflow ? std::nullopt : invert(unknown, next, values);
}
} // namespace

DimExpr DimExpr::parse(const std::string &text) {
  DimExpr expr;
  Parser parser{text};
  if (text.size() <= 4096)
    expr.root = parser.sum();
  if (text.size() > 4096 || parser.bad || parser.peek() != '\0') {
    expr.root = Term();
    expr.root.kind = 'v';
    expr.root.name = text;
  }
  collect(expr.root, expr.names);
  return expr;
}

std::optional<int64_t> DimExpr::evaluate(const std::map<std::string, int64_t> &values) const {
  std::optional<int64_t> value = valueOf(root, values);
  return value && *value >= 0 ? value : std::nullopt;
}

std::optional<std::pair<std::string, int64_t>> DimExpr::solve(int64_t result,
                                                              const std::map<std::string, int64_t> &values) const {
  int unknown = 0;
  for (const std::string &name : names)
    unknown += !values.count(name);
  if (unknown != 1)
    return std::nullopt;
  return invert(root, result, values);
}

} // namespace mlir::comm::onnx
