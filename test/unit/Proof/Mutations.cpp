//===- Mutations.cpp - seeded faults in command lists ---------------------===//
// swap        two commands change places
// drop        a command is missing
// duplicate   a command comes a second time, at once or later
// mis-group   a collective runs over other axes
// mis-size    an operand of a command is shorter or longer than it was
// reorder     a command moves to another place
// early-free  a buffer is given bytes of another one that is still needed (or that is free: harmless)
// wrong-wait  a wait is for another token, too late, too early or missing where it was
// wrong-slice a copy, a view or a shard takes another part, a command another weight of the same shape
//===----------------------------------------------------------------------===//
#include "Mutations.h"
#include <algorithm>
#include <map>

namespace comm::test {
using namespace comm::exe;

const char *faultName(Fault fault) {
  static const char *const names[] = {"swap",    "drop",       "duplicate",  "mis-group",  "mis-size",
                                      "reorder", "early-free", "wrong-wait", "wrong-slice"};
  return names[static_cast<size_t>(fault)];
}

bool samePrograms(const Program &a, const Program &b) {
  auto sameValue = [](const Value &x, const Value &y) {
    return x.storage == y.storage && x.index == y.index && x.offset == y.offset && x.dtype == y.dtype &&
           x.shape == y.shape;
  };
  auto operandsEqual = [&](const std::vector<int32_t> &x, const std::vector<int32_t> &y) {
    return x.size() == y.size() && std::equal(x.begin(), x.end(), y.begin(), [&](int32_t v, int32_t w) {
             return sameValue(a.values[static_cast<size_t>(v)], b.values[static_cast<size_t>(w)]);
           });
  };
  if (a.commands.size() != b.commands.size() || a.arenaBytes != b.arenaBytes || a.commBytes != b.commBytes)
    return false;
  for (size_t i = 0; i < a.commands.size(); ++i) {
    const Command &x = a.commands[i], &y = b.commands[i];
    if (x.op != y.op || x.attrs != y.attrs || !operandsEqual(x.inputs, y.inputs) ||
        !operandsEqual(x.outputs, y.outputs))
      return false;
  }
  for (size_t i = 0; i < a.outputs.size(); ++i)
    if (!operandsEqual({a.outputs[i].value}, {b.outputs[i].value}))
      return false;
  return true;
}

namespace {
class Mutator {
public:
  Mutator(Program &p, std::mt19937_64 &random, std::string &what) : p(p), random(random), what(what) {}

  bool run(Fault fault) {
    if (p.commands.size() < 3)
      return false;
    switch (fault) {
    case Fault::Swap:
      return swap();
    case Fault::Drop:
      return drop();
    case Fault::Duplicate:
      return duplicate();
    case Fault::MisGroup:
      return misGroup();
    case Fault::MisSize:
      return misSize();
    case Fault::Reorder:
      return reorder();
    case Fault::EarlyFree:
      return earlyFree();
    case Fault::WrongWait:
      return wrongWait();
    case Fault::WrongSlice:
      return wrongSlice();
    }
    return false;
  }

private:
  size_t pick(size_t count) { return static_cast<size_t>(random() % count); }
  size_t command() { return pick(p.commands.size()); }
  Value &value(int32_t v) { return p.values[static_cast<size_t>(v)]; }
  std::string name(size_t i) const { return "command " + std::to_string(i) + " " + p.commands[i].op; }
  /// A random command with the property.
  template <class Fn> bool find(Fn fits, size_t &out) {
    std::vector<size_t> list;
    for (size_t i = 0; i < p.commands.size(); ++i)
      if (fits(p.commands[i]))
        list.push_back(i);
    if (list.empty())
      return false;
    out = list[pick(list.size())];
    return true;
  }
  static bool communicates(const Command &c) { return c.op == "wait" || !collectiveOf(c).empty(); }

  bool swap() {
    size_t i = command(), j = command();
    if (random() % 2) { // near ones are the likely mistake
      j = i + 1 + pick(6);
      if (j >= p.commands.size())
        return false;
    }
    what = name(i) + " and " + name(j) + " change places";
    std::swap(p.commands[i], p.commands[j]);
    return i != j;
  }
  bool drop() {
    size_t i = command();
    what = name(i) + " is missing";
    p.commands.erase(p.commands.begin() + static_cast<long>(i));
    return true;
  }
  bool duplicate() {
    size_t i = command(), j = random() % 2 ? i + 1 : i + 1 + pick(p.commands.size() - i);
    what = name(i) + " comes again before command " + std::to_string(j);
    Command copy = p.commands[i];
    p.commands.insert(p.commands.begin() + static_cast<long>(j), copy);
    return true;
  }
  bool misGroup() {
    size_t i;
    if (!find([](const Command &c) { return !collectiveOf(c).empty(); }, i))
      return false;
    std::vector<std::vector<std::string>> groups = {{}};
    for (const Axis &a : p.grid.axes) {
      groups.push_back({a.name});
      for (const Axis &b : p.grid.axes)
        if (a.name != b.name)
          groups.push_back({a.name, b.name});
    }
    const auto &group = groups[pick(groups.size())];
    what = name(i) + " runs over " + std::to_string(group.size()) + " axes" + (group.empty() ? "" : ", " + group[0]);
    p.commands[i].attrs["axes"] = group;
    return true;
  }
  bool misSize() {
    size_t i;
    bool collective = random() % 2;
    if (!find([&](const Command &c) { return !c.outputs.empty() && (!collective || !collectiveOf(c).empty()); }, i))
      return false;
    Command &c = p.commands[i];
    bool both = collective && random() % 2; // consistently, as a wrong cut would
    size_t which = pick(c.inputs.size() + c.outputs.size());
    int64_t change = static_cast<int64_t>(pick(4));
    for (size_t k = 0; k < c.inputs.size() + c.outputs.size(); ++k) {
      if (!both && k != which)
        continue;
      int32_t &v = k < c.inputs.size() ? c.inputs[k] : c.outputs[k - c.inputs.size()];
      Value other = value(v);
      if (other.shape.empty())
        return false;
      int64_t &size = other.shape[pick(2) ? other.shape.size() - 1 : 0];
      size = change == 0 ? size / 2 : change == 1 ? size * 2 : change == 2 ? size - 1 : size + 1;
      if (size < 0)
        return false;
      v = add(other);
    }
    what = name(i) + " has an operand of another size";
    return true;
  }
  bool reorder() {
    size_t i = command(), j = command();
    if (random() % 2)
      find(communicates, i);
    if (i == j)
      return false;
    what = name(i) + " moves to place " + std::to_string(j);
    Command moved = p.commands[i];
    p.commands.erase(p.commands.begin() + static_cast<long>(i));
    p.commands.insert(p.commands.begin() + static_cast<long>(j), moved);
    return true;
  }
  int32_t add(const Value &v) {
    p.values.push_back(v);
    return static_cast<int32_t>(p.values.size()) - 1;
  }

  /// First and last byte of each buffer of the arena.
  std::map<int64_t, std::pair<int64_t, int64_t>> buffers() {
    std::map<int64_t, std::pair<int64_t, int64_t>> out;
    for (const Value &v : p.values) {
      int64_t bytes = byteSize(v.dtype, v.shape);
      if (v.storage != Storage::Arena || bytes == 0)
        continue;
      auto [it, isNew] = out.try_emplace(v.index, v.offset, v.offset + bytes);
      it->second = {std::min(it->second.first, v.offset), std::max(it->second.second, v.offset + bytes)};
    }
    return out;
  }
  bool earlyFree() {
    auto all = buffers();
    if (all.size() < 2)
      return false;
    auto a = std::next(all.begin(), static_cast<long>(pick(all.size()))),
         b = std::next(all.begin(), static_cast<long>(pick(all.size())));
    int64_t size = a->second.second - a->second.first, target = b->second.first;
    if (random() % 3 == 0)
      target += static_cast<int64_t>(pick(static_cast<size_t>(b->second.second - b->second.first))) / 64 * 64;
    int64_t limit = a->second.second <= p.commBytes && a->second.first < p.commBytes ? p.commBytes : p.arenaBytes;
    target = std::min(target, (limit - size) / 64 * 64);
    if (a == b || target < 0 || target == a->second.first)
      return false;
    what = "buffer " + std::to_string(a->first) + " lies at " + std::to_string(target) + ", on buffer " +
           std::to_string(b->first);
    for (Value &v : p.values)
      if (v.storage == Storage::Arena && v.index == a->first)
        v.offset += target - a->second.first;
    return true;
  }
  bool wrongWait() {
    size_t i, j;
    auto isWait = [](const Command &c) { return c.op == "wait"; };
    if (!find(isWait, i) || !find(isWait, j))
      return false;
    switch (pick(4)) {
    case 0:
      what = name(i) + " and " + name(j) + " change tokens";
      std::swap(p.commands[i].attrs, p.commands[j].attrs);
      return i != j;
    case 1:
      what = name(i) + " waits for the token of " + name(j);
      p.commands[i].attrs = p.commands[j].attrs;
      return i != j;
    case 2:
      what = name(i) + " waits for a token that is one too high";
      p.commands[i].attrs["token"] = std::get<int64_t>(p.commands[i].attrs["token"]) + 1;
      return true;
    default: {
      size_t to = command();
      what = name(i) + " moves to place " + std::to_string(to);
      Command moved = p.commands[i];
      p.commands.erase(p.commands.begin() + static_cast<long>(i));
      p.commands.insert(p.commands.begin() + static_cast<long>(to), moved);
      return i != to;
    }
    }
  }
  bool wrongSlice() {
    size_t i;
    auto change = [&](int64_t n) { return n + (random() % 2 ? 1 : -1) * static_cast<int64_t>(1 + pick(4)); };
    switch (pick(5)) {
    case 0: { // a copy takes or gives another part
      if (!find([](const Command &c) { return c.op == "copy"; }, i))
        return false;
      std::string key = random() % 2 ? "in_offset" : "out_offset";
      auto *now = std::get_if<int64_t>(&p.commands[i].attrs[key]);
      p.commands[i].attrs[key] = change(now ? *now : 0);
      what = name(i) + " has another " + key;
      return true;
    }
    case 1: { // another stride
      if (!find([](const Command &c) { return c.op == "copy"; }, i))
        return false;
      auto *strides =
          std::get_if<std::vector<int64_t>>(&p.commands[i].attrs[random() % 2 ? "in_strides" : "out_strides"]);
      if (!strides || strides->size() < 2)
        return false;
      std::swap((*strides)[0], (*strides)[1 + pick(strides->size() - 1)]);
      what = name(i) + " has other strides";
      return true;
    }
    case 2: { // an operand begins elsewhere in its buffer
      if (!find([](const Command &c) { return !c.inputs.empty(); }, i))
        return false;
      int32_t &v = p.commands[i].inputs[pick(p.commands[i].inputs.size())];
      Value other = value(v);
      other.offset += byteWidth(other.dtype) * change(0);
      if (other.offset < 0)
        return false;
      v = add(other);
      what = name(i) + " reads another part of its buffer";
      return true;
    }
    case 3: { // a shard on another dimension, or of another grain
      if (!find([](const Command &c) { return c.attrs.count("grain") || c.op == "gather"; }, i))
        return false;
      std::string key = p.commands[i].op == "gather"                       ? "axis"
                        : p.commands[i].op == "shard_copy" && random() % 2 ? "shift"
                        : random() % 2 && p.commands[i].attrs.count("dim") ? "dim"
                                                                           : "grain";
      auto *now = std::get_if<int64_t>(&p.commands[i].attrs[key]);
      p.commands[i].attrs[key] = change(now ? *now : 0);
      what = name(i) + " has another " + key;
      return true;
    }
    default: { // another weight or input of the same type
      if (!find(
              [&](const Command &c) {
                return std::any_of(c.inputs.begin(), c.inputs.end(),
                                   [&](int32_t v) { return value(v).storage != Storage::Arena; });
              },
              i))
        return false;
      for (int32_t &v : p.commands[i].inputs) {
        std::vector<int32_t> others;
        for (size_t o = 0; o < p.values.size(); ++o)
          if (p.values[o].storage == value(v).storage && value(v).storage != Storage::Arena &&
              p.values[o].index != value(v).index && p.values[o].dtype == value(v).dtype &&
              p.values[o].shape == value(v).shape)
            others.push_back(static_cast<int32_t>(o));
        if (others.empty())
          continue;
        v = others[pick(others.size())];
        what = name(i) + " reads another weight or input";
        return true;
      }
      return false;
    }
    }
  }

  Program &p;
  std::mt19937_64 &random;
  std::string &what;
};
} // namespace

bool mutate(Fault fault, const Program &program, std::mt19937_64 &random, Program &out, std::string &what) {
  out = program;
  return Mutator(out, random, what).run(fault) && !samePrograms(program, out);
}

} // namespace comm::test
