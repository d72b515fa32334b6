//===- Equality.cpp - the split program equals the unsplit model ----------===//
#include "comm/Proof/Equality.h"
#include "EqualityRules.h"
#include <algorithm>
#include <optional>
#include <set>

using namespace comm::exe;

namespace comm::proof {
namespace {
constexpr int64_t maxProvenRanks = 64; ///< more are the same program at other coordinates, and take time

std::string named(const Command &c, size_t number) {
  const std::string &collective = collectiveOf(c);
  std::string text = "command " + std::to_string(number) + " " + (collective.empty() ? c.op : collective);
  if (auto it = c.attrs.find("symbol"); it != c.attrs.end())
    if (const auto *symbol = std::get_if<std::string>(&it->second))
      text += " " + symbol->substr(0, 80);
  return c.label.empty() ? text : text + " ('" + c.label.substr(0, 80) + "')";
}

/// Runs one program on views.
class Machine {
public:
  Machine(const Executable &exe, const Program &program, Terms &terms, bool isReference)
      : state(exe, program, terms), terms(terms), program(program), isReference(isReference) {}

  void run() {
    for (size_t i = 0; i < program.commands.size(); ++i) {
      const Command &c = program.commands[i];
      number = static_cast<int32_t>(i);
      if (c.op == "wait") {
        finish(intOf(c.attrs, "token"));
      } else if (!collectiveOf(c).empty()) {
        begin(c);
      } else {
        for (int64_t rank = 0; rank < state.ranks(); ++rank)
          guarded(c, rank, [&] { applyCommand(state, c, rank); });
        ++operations;
      }
    }
  }

  State state;
  int64_t operations = 0;

private:
  /// Results without a rule are tensors of which nothing is known.
  template <class Body> void guarded(const Command &c, int64_t rank, Body body) {
    terms.setPlace(isReference, static_cast<int32_t>(rank), number);
    try {
      body();
    } catch (const NoRule &why) {
      for (int32_t v : c.outputs)
        state.write(rank, v, unknown(v, std::string(why.why)));
    }
  }
  SharedView unknown(int32_t v, const std::string &why) {
    int64_t size = numElements(state.value(v).shape);
    return std::make_shared<View>(View{size, {{0, {size}, {1}, {{terms.unknown(why), 0, {1}}}}}});
  }

  /// Operands are what they are when it starts; the result is there when it ends, and nothing is until then.
  void begin(const Command &c) {
    ++operations;
    std::vector<std::vector<SharedView>> results;
    terms.setPlace(isReference, 0, number);
    try {
      std::vector<std::vector<SharedView>> operands(static_cast<size_t>(state.ranks()));
      for (int64_t rank = 0; rank < state.ranks(); ++rank)
        for (int32_t v : c.inputs)
          operands[static_cast<size_t>(rank)].push_back(state.read(rank, v));
      results = applyCollective(state, c, operands);
    } catch (const NoRule &why) {
      results.assign(static_cast<size_t>(state.ranks()), {});
      for (std::vector<SharedView> &views : results)
        for (int32_t v : c.outputs)
          views.push_back(unknown(v, std::string(why.why)));
    }
    bool started = c.op == "start";
    for (int64_t rank = 0; rank < state.ranks(); ++rank)
      for (size_t i = 0; i < c.outputs.size(); ++i)
        state.write(rank, c.outputs[i],
                    started ? std::make_shared<View>(View{numElements(state.value(c.outputs[i]).shape), {}})
                            : results[static_cast<size_t>(rank)][i]);
    if (started)
      flights[intOf(c.attrs, "token")] = {c.outputs, std::move(results)};
  }

  void finish(int64_t token) {
    auto it = flights.find(token);
    if (it == flights.end())
      return;
    for (int64_t rank = 0; rank < state.ranks(); ++rank)
      for (size_t i = 0; i < it->second.first.size(); ++i)
        state.write(rank, it->second.first[i], it->second.second[static_cast<size_t>(rank)][i]);
    flights.erase(it);
  }

  Terms &terms;
  const Program &program;
  bool isReference;
  int32_t number = 0;
  /// By token: the results, their views by rank.
  std::map<int64_t, std::pair<std::vector<int32_t>, std::vector<std::vector<SharedView>>>> flights;
};

/// Compares the outputs of the split program with the reference's.
class Comparison {
public:
  Comparison(const Terms &terms, const Entry &entry, Machine &split, Machine &reference)
      : terms(terms), entry(entry), split(split), reference(reference) {}

  EqualityResult run() {
    EqualityResult result;
    result.operations = split.operations;
    result.verdict = Equality::Proved;
    for (int64_t rank = 0; rank < split.state.ranks(); ++rank)
      for (size_t i = 0; i < entry.split.outputs.size(); ++i) {
        compare(i, rank);
        if (found)
          return {isUnknown ? Equality::NotProved : Equality::Wrong, *found, split.operations};
      }
    return result;
  }

private:
  void fail(size_t output, int64_t rank, const std::string &what) {
    found =
        "output '" + entry.split.outputs[output].name.substr(0, 80) + "' on rank " + std::to_string(rank) + ": " + what;
  }

  void compare(size_t number, int64_t rank) try {
    const Port &port = entry.split.outputs[number];
    if (numElements(port.shape) == 0)
      return;
    Access box;
    Shape local = localBox(port.shape, port.layout, entry.split.grid, rank, box);
    if (std::find(box.n.begin(), box.n.end(), 0) != box.n.end())
      return; // holds fill only
    if (port.value < 0 || entry.reference.outputs[number].value < 0)
      return fail(number, rank, "it has no value");
    int64_t size = numElements(local);
    SharedView whole = reference.state.read(0, entry.reference.outputs[number].value);
    SharedView part = split.state.read(rank, port.value);
    View want = compose(*whole, box, size), got = compose(*part, {0, 0, box.n, box.at, box.at}, size);
    if (want.covered() != Piece{0, box.n, box.at, {}}.elements()) {
      isUnknown = true;
      return fail(number, rank, "the unsplit model leaves a part of it undefined");
    }
    int64_t same = 0;
    for (const Zipped &z : zip({&want, &got})) {
      std::vector<Atom> expected = z.atoms(0), actual = z.atoms(1);
      std::sort(expected.begin(), expected.end());
      std::sort(actual.begin(), actual.end());
      if (expected == actual)
        same += z.piece.elements();
      else if (!found)
        explain(number, rank, expected, actual);
    }
    if (!found && same != want.covered())
      fail(number, rank, "a part of it is never computed");
  } catch (const NoRule &why) {
    isUnknown = true;
    fail(number, rank, std::string(why.why));
  }

  std::string describe(const std::vector<Atom> &atoms) const {
    if (atoms.empty())
      return "zero";
    std::string text;
    for (size_t i = 0; i < atoms.size() && i < 3; ++i) {
      const Term &t = terms[atoms[i].term];
      text += i ? " + " : "";
      if (t.whole >= 0) {
        text += "a partial sum";
        for (auto [from, to] : t.windows)
          text += " over " + std::to_string(from) + " to " + std::to_string(to);
        text += " of " + origin(terms[t.whole]);
      } else {
        text += "element " + std::to_string(atoms[i].offset) + " of " + origin(t);
      }
    }
    return atoms.size() > 3 ? text + " + ..." : text;
  }
  std::string origin(const Term &t) const {
    if (t.operands.empty())
      return t.op + " " + t.attrs.substr(0, 80);
    const Program &program = t.isReference ? entry.reference : entry.split;
    std::string text = t.op;
    if (t.command >= 0 && t.command < static_cast<int32_t>(program.commands.size()))
      text += std::string(" of ") + (t.isReference ? "the unsplit model's " : "") +
              named(program.commands[static_cast<size_t>(t.command)], static_cast<size_t>(t.command));
    return text;
  }

  /// The first operation below that has no counterpart in the reference, or one whose meaning is not known.
  void explain(size_t number, int64_t rank, const std::vector<Atom> &expected, const std::vector<Atom> &actual) {
    std::set<int32_t> seen;
    std::vector<int32_t> open;
    for (const std::vector<Atom> *atoms : {&actual, &expected})
      for (const Atom &a : *atoms)
        open.push_back(a.term);
    int32_t first = -1, unknown = -1;
    while (!open.empty()) {
      int32_t id = open.back();
      open.pop_back();
      if (!seen.insert(id).second)
        continue;
      const Term &t = terms[id];
      if (t.op == "unknown" && (unknown < 0 || t.command < terms[unknown].command))
        unknown = id;
      if (!t.isReference && t.command >= 0 && t.whole < 0 && (first < 0 || t.command < terms[first].command))
        first = id;
      for (const Operand &o : t.operands)
        open.push_back(o.term);
      if (t.whole >= 0)
        open.push_back(t.whole);
    }
    if (unknown >= 0) {
      const Term &t = terms[unknown];
      const Program &program = t.isReference ? entry.reference : entry.split;
      isUnknown = true;
      return fail(number, rank,
                  named(program.commands[static_cast<size_t>(t.command)], static_cast<size_t>(t.command)) +
                      (t.isReference ? " of the unsplit model" : "") + " has no rule: " + t.attrs);
    }
    std::string text = "expected " + describe(expected) + ", got " + describe(actual);
    if (first >= 0 && terms[first].command < static_cast<int32_t>(entry.split.commands.size())) {
      auto at = static_cast<size_t>(terms[first].command);
      text = named(entry.split.commands[at], at) + " on rank " + std::to_string(terms[first].rank) +
             " is the first without a counterpart in the unsplit model; " + text;
    }
    fail(number, rank, text);
  }

  const Terms &terms;
  const Entry &entry;
  Machine &split, &reference;
  std::optional<std::string> found;
  bool isUnknown = false;
};
} // namespace

EqualityResult proveEqual(const Executable &exe, const Entry &entry) {
  if (entry.split.grid.ranks() > maxProvenRanks)
    return {Equality::NotProved, "more than " + std::to_string(maxProvenRanks) + " ranks", 0};
  Terms terms;
  try {
    terms.setPlace(true, 0, -1);
    Machine reference(exe, entry.reference, terms, true);
    reference.run();
    terms.setPlace(false, 0, -1);
    Machine split(exe, entry.split, terms, false);
    split.run();
    return Comparison(terms, entry, split, reference).run();
  } catch (const NoRule &why) {
    return {Equality::NotProved, std::string(why.why), 0};
  }
}

std::string equalityText(const EqualityResult &r) {
  if (r.verdict == Equality::Proved)
    return "proved (" + std::to_string(r.operations) + " operations)";
  return (r.verdict == Equality::Wrong ? "wrong: " : "not proved: ") + r.reason;
}

} // namespace comm::proof
