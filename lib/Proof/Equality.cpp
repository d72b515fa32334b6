//===- Equality.cpp - the split program equals the unsplit model ----------===//
#include "comm/Proof/Equality.h"
#include "EqualityMachine.h"
#include "EqualityPoint.h"
#include <algorithm>
#include <optional>
#include <set>

using namespace comm::exe;

namespace comm::proof {
namespace {
constexpr int64_t maxProvenRanks = 64; ///< more are the same program at other coordinates, and take time

/// Compares the outputs of the split program with the reference's.
class Comparison {
public:
  Comparison(const Terms &terms, const Entry &entry, Machine &split, Machine &reference, int64_t pointSteps)
      : terms(terms), entry(entry), split(split), reference(reference), point(terms, 0x5eed, pointSteps) {}

  EqualityResult run() {
    EqualityResult result;
    result.operations = split.operations;
    result.verdict = Equality::Proved;
    for (int64_t rank = 0; rank < split.state.ranks(); ++rank)
      if (int64_t at = split.stuckAt(rank); at >= 0) {
        const Command &c = split.state.program(rank).commands[static_cast<size_t>(at)];
        return {Equality::Wrong,
                named(c, static_cast<size_t>(at)) + " on rank " + std::to_string(rank) + " waits for ever",
                split.operations};
      }
    for (int64_t rank = 0; rank < split.state.ranks(); ++rank)
      for (size_t i = 0; i < entry.split.outputs.size(); ++i) {
        compare(i, rank);
        if (outcome == Outcome::Different || outcome == Outcome::Unknown)
          return {outcome == Outcome::Unknown ? Equality::NotProved : Equality::Wrong, *found, split.operations};
      }
    if (found)
      return {Equality::NotProved, *found + "; " + undecided, split.operations, true};
    return result;
  }

private:
  enum class Outcome {
    Same,      ///< so far
    Other,     ///< another formula, not known to be different
    Different, ///< no doubt
    Unknown    ///< an operation without a rule
  };

  void fail(size_t output, int64_t rank, const std::string &what, Outcome why = Outcome::Different) {
    outcome = why;
    if (!found || why != Outcome::Other)
      found = "output '" + entry.split.outputs[output].name.substr(0, 80) + "' on rank " + std::to_string(rank) +
              writtenBy(rank, split.state.program(rank).outputs[output].value) + ": " + what;
  }

  /// The last command that writes into a value's bytes.
  std::string writtenBy(int64_t rank, int32_t v) const {
    if (v < 0)
      return "";
    const Program &program = split.state.program(rank);
    const Value &output = program.values[static_cast<size_t>(v)];
    for (size_t i = program.commands.size(); i-- > 0;)
      for (int32_t w : program.commands[i].outputs)
        if (const Value &written = program.values[static_cast<size_t>(w)];
            written.storage == output.storage && (written.storage == Storage::Arena || written.index == output.index) &&
            written.offset < output.offset + byteSize(output.dtype, output.shape) &&
            output.offset < written.offset + byteSize(written.dtype, written.shape))
          return ", written by " + named(program.commands[i], i);
    return "";
  }

  void compare(size_t number, int64_t rank) try {
    const Port &port = split.state.program(rank).outputs[number];
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
    if (want.covered() != Piece{0, box.n, box.at, {}}.elements())
      return fail(number, rank, "the unsplit model leaves a part of it undefined", Outcome::Unknown);
    int64_t compared = 0;
    for (const Zipped &z : zip({&want, &got})) {
      std::vector<Atom> expected = z.atoms(0), actual = z.atoms(1);
      std::sort(expected.begin(), expected.end());
      std::sort(actual.begin(), actual.end());
      compared += z.piece.elements();
      if (expected == actual)
        continue;
      explain(number, rank, z.piece.n, expected, actual);
      if (outcome != Outcome::Other)
        return;
    }
    if (compared != want.covered())
      fail(number, rank, "a part of it is never computed");
  } catch (const NoRule &why) {
    fail(number, rank, std::string(why.why), Outcome::Unknown);
  }

  /// Whether the formulas of a box differ at a random point: at its first index, its last one, and the last along each
  /// step.
  bool differ(const std::vector<int64_t> &n, const std::vector<Atom> &expected, const std::vector<Atom> &actual) {
    try {
      std::vector<std::vector<int64_t>> corners(2 + n.size(), std::vector<int64_t>(n.size(), 0));
      for (size_t d = 0; d < n.size(); ++d)
        corners[1][d] = corners[2 + d][d] = n[d] - 1;
      for (const std::vector<int64_t> &index : corners)
        if (point.value(expected, index) != point.value(actual, index)) {
          if (point.decides())
            return true;
          throw NoRule{"a mask may hide the keys that are missing"};
        }
      undecided = "the formulas agree at a random point";
    } catch (const NoRule &why) {
      undecided = "not decided: " + std::string(why.why);
    }
    return false;
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
  const Program &programOf(const Term &t) const {
    return t.isReference ? entry.reference : split.state.program(t.rank);
  }
  std::string origin(const Term &t) const {
    if (t.operands.empty())
      return t.op + " " + t.attrs.substr(0, 80);
    const Program &program = programOf(t);
    std::string text = t.op;
    if (t.command >= 0 && t.command < static_cast<int32_t>(program.commands.size()))
      text += std::string(" of ") + (t.isReference ? "the unsplit model's " : "") +
              named(program.commands[static_cast<size_t>(t.command)], static_cast<size_t>(t.command));
    return text;
  }

  /// The first operation below that has no counterpart in the reference, or one whose meaning is not known.
  void explain(size_t number, int64_t rank, const std::vector<int64_t> &n, const std::vector<Atom> &expected,
               const std::vector<Atom> &actual) {
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
      const Program &program = programOf(t);
      return fail(number, rank,
                  named(program.commands[static_cast<size_t>(t.command)], static_cast<size_t>(t.command)) +
                      (t.isReference ? " of the unsplit model" : "") + " has no rule: " + t.attrs,
                  Outcome::Unknown);
    }
    std::string text = "expected " + describe(expected) + ", got " + describe(actual);
    if (first >= 0 && terms[first].command < static_cast<int32_t>(programOf(terms[first]).commands.size())) {
      auto at = static_cast<size_t>(terms[first].command);
      text = named(programOf(terms[first]).commands[at], at) + " on rank " + std::to_string(terms[first].rank) +
             " is the first without a counterpart in the unsplit model; " + text;
    }
    fail(number, rank, text, differ(n, expected, actual) ? Outcome::Different : Outcome::Other);
  }

  const Terms &terms;
  const Entry &entry;
  Machine &split, &reference;
  Point point;
  std::optional<std::string> found;
  std::string undecided;
  Outcome outcome = Outcome::Same;
};
} // namespace

/// The same program on every rank; not more than one too many.
static std::vector<const Program *> everyRank(const Program &program) {
  return std::vector<const Program *>(static_cast<size_t>(std::min(program.grid.ranks(), maxProvenRanks + 1)),
                                      &program);
}

static EqualityResult prove(const Executable &exe, const Entry &entry, const std::vector<const Program *> &ranks,
                            DataView data, int64_t pointSteps) {
  if (std::max(entry.split.grid.ranks(), entry.reference.grid.ranks()) > maxProvenRanks)
    return {Equality::NotProved, "more than " + std::to_string(maxProvenRanks) + " ranks", 0};
  Terms terms;
  Constants constants(exe, data);
  auto commands = static_cast<int64_t>(entry.reference.commands.size() + entry.split.commands.size() * ranks.size());
  allowSteps(1000000 + 300 * commands);
  try {
    terms.setPlace(true, 0, -1);
    Machine reference(exe, everyRank(entry.reference), constants, terms, true);
    reference.run();
    terms.setPlace(false, 0, -1);
    Machine split(exe, ranks, constants, terms, false);
    split.run();
    return Comparison(terms, entry, split, reference, pointSteps).run();
  } catch (const NoRule &why) {
    return {Equality::NotProved, std::string(why.why), 0};
  }
}

EqualityResult proveEqual(const Executable &exe, const Entry &entry, DataView data, int64_t pointSteps) {
  return prove(exe, entry, everyRank(entry.split), data, pointSteps);
}

EqualityResult proveEqual(const Executable &exe, const Entry &entry, const std::vector<const Program *> &ranks,
                          int64_t pointSteps) {
  return prove(exe, entry, ranks, {}, pointSteps);
}

std::string equalityText(const EqualityResult &r) {
  if (r.verdict == Equality::Proved)
    return "proved (" + std::to_string(r.operations) + " operations)";
  return (r.verdict == Equality::Wrong ? "wrong: " : "not proved: ") + r.reason;
}

} // namespace comm::proof
