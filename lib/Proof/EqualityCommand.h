//===- EqualityCommand.h - what the rules of commands share -----*- C++ -*-===//
#pragma once
#include "EqualityRules.h"

namespace comm::proof {

inline constexpr const char *badShapes = "operands whose shapes do not fit";

/// One command on one rank: its operands as the state knows them. Shapes and attributes are not trusted.
class CommandRule {
public:
  CommandRule(State &state, const exe::Command &c, int64_t rank) : s(state), c(c), rank(rank), grid(state.grid) {}

protected:
  /// False: the command is none of these.
  template <class Rule> bool runOne(const std::map<std::string, void (Rule::*)()> &rules) {
    auto it = rules.find(c.op);
    if (it == rules.end())
      return false;
    (static_cast<Rule *>(this)->*it->second)();
    return true;
  }

  using Ints = std::vector<int64_t>;
  const exe::Value &in(size_t i) const { return s.value(rank, c.inputs[i]); }
  const exe::Value &out() const { return s.value(rank, c.outputs[0]); }
  int64_t size() const { return exe::numElements(out().shape); }
  SharedView read(size_t i) { return s.read(rank, c.inputs[i]); }
  void write(View v) {
    v.size = size();
    s.write(rank, c.outputs[0], std::make_shared<View>(std::move(v)));
  }
  int64_t intOr(const char *key, int64_t otherwise) const {
    return c.attrs.count(key) ? intOf(c.attrs, key) : otherwise;
  }
  void operands(size_t inputs) {
    require(c.inputs.size() == inputs && c.outputs.size() == 1, "another number of operands");
  }

  State &s;
  const exe::Command &c;
  int64_t rank;
  const exe::Grid &grid;
};

/// False: the command is not of this kind.
bool applyMovement(State &, const exe::Command &, int64_t rank);
bool applyCompute(State &, const exe::Command &, int64_t rank);

} // namespace comm::proof
