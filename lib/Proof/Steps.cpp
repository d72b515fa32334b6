//===- Steps.cpp - a program as the checks see it -------------------------===//
#include "Steps.h"
#include <algorithm>
#include <set>

namespace comm::proof {

std::string quoted(const std::string &text) {
  std::string out = "'";
  for (unsigned char c : text.substr(0, 80))
    out += c < 32 || c >= 127 ? '?' : static_cast<char>(c);
  return out + (text.size() > 80 ? "...'" : "'");
}

std::string commandText(const exe::Program &program, int64_t command) {
  if (command < 0)
    return "the loading of the inputs";
  if (command >= static_cast<int64_t>(program.commands.size()))
    return "the storing of the outputs";
  const exe::Command &c = program.commands[static_cast<size_t>(command)];
  const std::string &kind = exe::collectiveOf(c);
  return "command " + std::to_string(command) + " " +
         quoted(c.op == "start" && !kind.empty() ? "start " + kind : c.op) +
         (c.label.empty() ? "" : " of " + quoted(c.label));
}

std::string rankList(const std::vector<int32_t> &ranks) {
  std::string out = "[";
  for (size_t i = 0; i < ranks.size() && i < 16; ++i)
    out += (i ? ", " : "") + std::to_string(ranks[i]);
  return out + (ranks.size() > 16 ? ", ...]" : "]");
}

std::string Call::text(const exe::Program &program) const {
  const std::string &label = program.commands[static_cast<size_t>(issue)].label;
  return kind + " #" + std::to_string(planId) + (label.empty() ? "" : " of " + quoted(label)) + " (command " +
         std::to_string(issue) + ")";
}

namespace {
template <class T, class Fn> std::string listText(const std::vector<T> &values, Fn text) {
  std::string out = "[";
  for (size_t i = 0; i < values.size(); ++i)
    out += (i ? ", " : "") + text(values[i]);
  return out + "]";
}
struct AttrText {
  std::string operator()(int64_t v) const { return std::to_string(v); }
  std::string operator()(double v) const { return std::to_string(v); }
  std::string operator()(const std::string &v) const { return quoted(v); }
  std::string operator()(const std::vector<int64_t> &v) const {
    return listText(v, [](int64_t x) { return std::to_string(x); });
  }
  std::string operator()(const std::vector<std::string> &v) const { return listText(v, quoted); }
};
std::string attrText(const exe::Attr &attr) { return std::visit(AttrText{}, attr); }
} // namespace

std::string Call::signature(const exe::Program &program) const {
  const exe::Command &c = program.commands[static_cast<size_t>(issue)];
  std::string out = kind;
  auto add = [&](int32_t index, bool shared) {
    const exe::Value &v = program.values[static_cast<size_t>(index)];
    out += std::string(" ") + exe::dtypeName(v.dtype) + attrText(v.shape);
    if (shared) // peers reach it, so it has one place on all of them
      out += " at " + std::to_string(v.offset);
  };
  for (size_t i = 0; i < c.inputs.size(); ++i)
    add(c.inputs[i], i == 0);
  out += " ->";
  for (int32_t v : c.outputs)
    add(v, true);
  for (const auto &[key, value] : c.attrs)
    if (key != "token" && key != "collective" && key != "plan_id")
      out += ", " + quoted(key) + " " + attrText(value);
  return out;
}

Access Steps::access(int32_t value) const {
  const exe::Value &v = program->values[static_cast<size_t>(value)];
  return {value, v.storage, v.index, v.offset, v.offset + exe::byteSize(v.dtype, v.shape)};
}

namespace {
template <class T> const T *attr(const exe::Command &c, const char *name) {
  auto it = c.attrs.find(name);
  return it == c.attrs.end() ? nullptr : std::get_if<T>(&it->second);
}

constexpr int64_t mostRanks = 65536; // as validate() has it

class Reader {
public:
  Reader(const exe::Program &program, int64_t rank, const std::string &who, Steps &out, Findings &findings)
      : prog(program), rank(rank), who(who), out(out), findings(findings) {}

  bool run() {
    out.program = &prog;
    int64_t ranks = 1;
    for (const exe::Axis &axis : prog.grid.axes)
      if (axis.size < 1 || axis.size > mostRanks || (ranks *= axis.size) > mostRanks) {
        bad(Rule::Form, "the grid has no ranks, or more than " + std::to_string(mostRanks));
        return false;
      }
    for (size_t v = 0; v < prog.values.size(); ++v)
      checkValue(v);
    for (const auto *ports : {&prog.inputs, &prog.outputs})
      for (const exe::Port &port : *ports)
        if (port.value < (ports == &prog.outputs ? 0 : -1) || port.value >= count(prog.values))
          bad(Rule::Form, "port " + quoted(port.name) + " has no value");
    if (!ok)
      return false;
    for (size_t i = 0; i < prog.commands.size() && !findings.full(); ++i)
      readCommand(static_cast<int32_t>(i));
    for (const auto &[token, call] : flying)
      bad(Rule::Token, out.calls[static_cast<size_t>(call)].text(prog) + " is started with token " +
                           std::to_string(token) + " and nothing waits for it before the end");
    return ok;
  }

private:
  template <class T> static int64_t count(const std::vector<T> &list) { return static_cast<int64_t>(list.size()); }
  void bad(Rule rule, const std::string &what) {
    findings.add(rule, rank, who + ": " + what);
    ok = false;
  }

  void checkValue(size_t i) {
    const exe::Value &v = prog.values[i];
    int64_t bytes = exe::byteSize(v.dtype, v.shape), limit = -1;
    std::string name = "value " + std::to_string(i) + (v.name.empty() ? "" : " " + quoted(v.name));
    if (bytes < 0 || v.offset < 0 || v.offset > INT64_MAX - bytes || static_cast<unsigned>(v.storage) > 3)
      return bad(Rule::Form, name + " has no size or no place");
    bool output = v.storage == exe::Storage::Output;
    if (v.storage == exe::Storage::Weight)
      return; // the executable around the program knows the weights
    if (v.storage == exe::Storage::Arena)
      limit = prog.arenaBytes;
    else if (v.index >= 0 && v.index < count(output ? prog.outputs : prog.inputs)) {
      const exe::Port &port = (output ? prog.outputs : prog.inputs)[static_cast<size_t>(v.index)];
      limit = exe::byteSize(port.dtype, exe::localShape(port.shape, port.layout, prog.grid));
    }
    if (v.offset + bytes > limit)
      bad(Rule::Memory, name + " ends at byte " + std::to_string(v.offset + bytes) + " of " +
                            (v.storage == exe::Storage::Arena ? "the arena" : "its port") + ", which has " +
                            std::to_string(limit));
  }

  void readCommand(int32_t i) {
    const exe::Command &c = prog.commands[static_cast<size_t>(i)];
    out.steps.push_back({});
    for (const auto *list : {&c.inputs, &c.outputs})
      for (int32_t v : *list)
        if (v < 0 || v >= count(prog.values))
          return bad(Rule::Form, commandText(prog, i) + " names an operand that does not exist");
    for (int32_t v : c.outputs)
      if (exe::Storage s = prog.values[static_cast<size_t>(v)].storage;
          s != exe::Storage::Arena && s != exe::Storage::Output)
        bad(Rule::Form, commandText(prog, i) + " writes to a weight or an input");
    if (c.op == "wait")
      readWait(i, c);
    else if (c.op == "start" || exe::isCollective(c.op))
      readCall(i, c);
  }

  void readWait(int32_t i, const exe::Command &c) {
    const auto *token = attr<int64_t>(c, "token");
    auto it = token ? flying.find(*token) : flying.end();
    if (it == flying.end()) {
      auto before = token ? done.find(*token) : done.end();
      return bad(Rule::Token, commandText(prog, i) + " waits for " +
                                  (token ? "token " + std::to_string(*token) : "no token") +
                                  (before == done.end()
                                       ? ", which no earlier command has started"
                                       : ", for which " + commandText(prog, before->second) + " has waited already"));
    }
    out.calls[static_cast<size_t>(it->second)].wait = i;
    out.steps.back() = {StepKind::Wait, it->second};
    done[*token] = i;
    flying.erase(it);
  }

  void readCall(int32_t i, const exe::Command &c) {
    Call call;
    call.issue = i;
    call.kind = exe::collectiveOf(c);
    std::string name = commandText(prog, i);
    if (call.kind.empty() || c.inputs.empty() || c.outputs.empty())
      return bad(Rule::Form, name + " is no collective with an operand and a result");
    const auto *axes = attr<std::vector<std::string>>(c, "axes");
    const auto *none = attr<std::vector<int64_t>>(c, "axes"); // an empty list carries no element type
    const auto *plan = attr<int64_t>(c, "plan_id");
    if ((!axes && !(none && none->empty())) || !plan)
      return bad(Rule::Form, name + " does not say its group or its number in the plan");
    if (axes)
      call.axes = *axes;
    call.planId = *plan;
    checkSizes(name, c, call);
    // Peers reach the first operand and the results.
    std::vector<int32_t> shared = c.outputs;
    shared.push_back(c.inputs[0]);
    for (int32_t v : shared)
      if (Access a = out.access(v); a.storage != exe::Storage::Arena || a.end > prog.commBytes)
        bad(Rule::Memory, name + " has an operand outside of the communication part of the arena, which has " +
                              std::to_string(prog.commBytes) + " bytes");
    auto number = static_cast<int32_t>(out.calls.size());
    out.steps.back() = {c.op == "start" ? StepKind::Start : StepKind::Collective, number};
    if (c.op == "start") {
      const auto *token = attr<int64_t>(c, "token");
      if (!token)
        return bad(Rule::Form, name + " has no token");
      call.token = *token;
      if (auto it = flying.find(*token); it != flying.end() || done.count(*token))
        bad(Rule::Token, name + " starts token " + std::to_string(*token) + " a second time" +
                             (it == flying.end() ? std::string()
                                                 : ", after " + out.calls[static_cast<size_t>(it->second)].text(prog)));
      flying[*token] = number;
    }
    out.calls.push_back(std::move(call));
  }

  void checkSizes(const std::string &name, const exe::Command &c, const Call &call) {
    std::set<std::string> unique(call.axes.begin(), call.axes.end());
    for (const std::string &axis : call.axes)
      if (prog.grid.coordinate(0, {axis}) < 0 || unique.size() != call.axes.size())
        return bad(Rule::Form, name + " names axis " + quoted(axis) + ", which the grid does not have, or one twice");
    if (c.inputs.size() != 1 || c.outputs.size() != 1)
      return; // a fused one: its kernel knows
    const exe::Value &in = prog.values[static_cast<size_t>(c.inputs[0])],
                     &result = prog.values[static_cast<size_t>(c.outputs[0])];
    int64_t members = prog.grid.shards(call.axes), x = exe::numElements(in.shape), y = exe::numElements(result.shape);
    bool fits = call.kind == "reduce_scatter" ? y <= x / members && x == y * members
                : call.kind == "all_gather"   ? x <= INT64_MAX / members && y == x * members
                                              : x == y && (call.kind != "all_to_all" || x % members == 0);
    if (!fits || in.dtype != result.dtype)
      bad(Rule::Form, name + ": an operand of " + std::to_string(x) + " and a result of " + std::to_string(y) +
                          " elements do not fit " + call.kind + " over " + std::to_string(members) + " ranks");
    const auto *reduce = attr<std::string>(c, "reduce");
    const auto *root = attr<int64_t>(c, "root");
    if ((call.kind == "all_reduce" || call.kind == "reduce_scatter") &&
        (!reduce || (*reduce != "sum" && *reduce != "max" && *reduce != "min" && *reduce != "prod")))
      bad(Rule::Form, name + " does not say how it reduces");
    if (call.kind == "broadcast" && (!root || *root < 0 || *root >= members))
      bad(Rule::Form, name + " has a root outside of its group");
    if (call.kind == "permute" && !attr<int64_t>(c, "shift"))
      bad(Rule::Form, name + " does not say how far it shifts");
  }

  const exe::Program &prog;
  int64_t rank;
  const std::string &who;
  Steps &out;
  Findings &findings;
  std::map<int64_t, int32_t> flying; ///< token -> call
  std::map<int64_t, int32_t> done;   ///< token -> command that waited
  bool ok = true;
};
} // namespace

bool readSteps(const exe::Program &program, int64_t rank, const std::string &who, Steps &out, Findings &findings) {
  return Reader(program, rank, who, out, findings).run();
}

} // namespace comm::proof
