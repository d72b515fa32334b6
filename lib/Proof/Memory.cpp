//===- Memory.cpp - every read sees the bytes that it was planned for -----===//
// Commands of one rank run in order, so two of them are always ordered; what runs beside them is the collectives that
// are started and not yet waited for. From its start to its wait the operand of a collective is read (by this rank
// and, in place, by its peers) and its result is written. That is why one pass in program order over maps of bytes
// shows all of it:
//   held     byte -> the write that it holds: by whom, for which buffer, whether it is still under way
//   reading  byte -> how many collectives under way read it
//===----------------------------------------------------------------------===//
#include "ByteMap.h"
#include "Steps.h"
#include <algorithm>

namespace comm::proof {
namespace {
/// Steps through pieces of maps that a check may take. Plans of compilers need a few per command; whoever cuts memory
/// into dust must not keep a loader busy.
constexpr int64_t mostSteps = 1 << 24;

/// A write of consecutive bytes, or several strided ones that make up a region together.
struct Write {
  int32_t command = -1;
  int32_t value = -1;
  int32_t flying = -1; ///< the call that is still writing
  int64_t buffer = 0, begin = 0, end = 0;
  int64_t left = 0;     ///< bytes that hold it
  int64_t lastUse = -1; ///< command
  bool read = false;
  bool whole = true;                                ///< every byte of it is written; else see `patches`
  std::vector<std::pair<int32_t, Pattern>> patches; ///< by command; unread ones only once it is whole
};

struct Readers {
  int32_t count = 0, last = -1; ///< calls; `last` may be done while others read
};

/// The bytes of the arena, or of one output.
struct Space {
  ByteMap<int32_t> held; ///< number of a Write
  ByteMap<Readers> reading;
};

class MemoryCheck {
public:
  MemoryCheck(const Steps &steps, int64_t rank, const std::string &who, Findings &findings)
      : steps(steps), prog(*steps.program), rank(rank), who(who), findings(findings),
        change(steps.steps.size() + 3, 0) {}

  void run() {
    now = -1;
    for (const exe::Port &port : prog.inputs)
      if (port.value >= 0)
        if (Access a = steps.access(port.value); a.storage == exe::Storage::Arena)
          write(a, nullptr, -1);
    auto count = static_cast<int32_t>(steps.steps.size());
    for (now = 0; now < count && budget > 0 && !findings.full(); ++now)
      visit(steps.steps[static_cast<size_t>(now)]);
    if (budget <= 0)
      return bad(Rule::Form, "cannot be checked: the memory before it is cut into too many pieces");
    for (const exe::Port &port : prog.outputs)
      if (!findings.full())
        read(steps.access(port.value), -1);
  }

  int64_t accesses = 0;

  /// Most bytes alive between the write of them and their last use.
  int64_t peak() {
    for (const Write &w : writes)
      live(w, w.left, w.lastUse);
    int64_t alive = 0, most = 0;
    for (int64_t c : change)
      most = std::max(most, alive += c);
    return most;
  }

private:
  void bad(Rule rule, const std::string &what) {
    findings.add(rule, rank, who + ": " + commandText(prog, now) + " " + what);
  }
  /// `bytes` of a write were needed until command `last`.
  void live(const Write &w, int64_t bytes, int64_t last) {
    if (prog.values[static_cast<size_t>(w.value)].storage != exe::Storage::Arena)
      return;
    change[static_cast<size_t>(w.command + 1)] += bytes;
    change[static_cast<size_t>(std::max<int64_t>(last, w.command) + 2)] -= bytes;
  }
  Space &spaceOf(const Access &a) { return spaces[a.storage == exe::Storage::Arena ? -1 : a.index]; }
  static bool isConstant(const Access &a) {
    return a.storage == exe::Storage::Weight || a.storage == exe::Storage::Input;
  }
  std::string name(int32_t value) const {
    const exe::Value &v = prog.values[static_cast<size_t>(value)];
    return "value " + std::to_string(value) + (v.name.empty() ? "" : " " + quoted(v.name));
  }
  std::string place(const Access &a, int64_t begin, int64_t end) const {
    return "bytes [" + std::to_string(begin) + ", " + std::to_string(end) + ") of " +
           (a.storage == exe::Storage::Arena ? "the arena"
                                             : "output " + quoted(prog.outputs[static_cast<size_t>(a.index)].name)) +
           " (" + name(a.value) + ")";
  }
  const Call &call(int32_t number) const { return steps.calls[static_cast<size_t>(number)]; }
  std::string edge(int32_t flying) const {
    return "; the wait for token " + std::to_string(call(flying).token) + " must come before";
  }

  void visit(const Step &step) {
    const exe::Command &c = prog.commands[static_cast<size_t>(now)];
    if (step.kind == StepKind::Wait)
      return finish(step.call);
    int32_t flying = step.kind == StepKind::Start ? step.call : -1;
    for (size_t k = 0; k < c.outputs.size(); ++k)
      checkOverlap(c, k);
    for (size_t k = 0; k < c.inputs.size(); ++k)
      read(steps.access(c.inputs[k]), flying, k == 0 ? fillOf(c) : 0);
    for (int32_t v : c.outputs) {
      Access a = steps.access(v);
      Pattern strided;
      bool partial = c.op == "copy" && patternOf(c, a, strided);
      write(a, partial ? &strided : nullptr, flying);
    }
  }

  /// A result that overlaps an operand or another result: only where element i depends on element i, it may be the
  /// operand.
  void checkOverlap(const exe::Command &c, size_t output) {
    Access w = steps.access(c.outputs[output]);
    auto meets = [&](const Access &o) {
      return w.storage == o.storage && (w.storage == exe::Storage::Arena || w.index == o.index) && w.begin < o.end &&
             o.begin < w.end;
    };
    const std::string &kind = exe::collectiveOf(c);
    bool inPlace = c.op == "kernel" || kind == "all_reduce" || kind == "broadcast";
    for (int32_t v : c.inputs)
      if (Access r = steps.access(v); meets(r) && !(inPlace && r.begin == w.begin && r.end == w.end))
        return bad(Rule::Race, "writes " + place(w, w.begin, w.end) + " over its own operand " + name(v));
    for (size_t k = 0; k < output; ++k)
      if (meets(steps.access(c.outputs[k])))
        return bad(Rule::Race, "writes " + place(w, w.begin, w.end) + " over its own result " + name(c.outputs[k]));
  }

  /// The bytes that a copy writes; false when that is all of its result. What leaves the result is a finding.
  bool patternOf(const exe::Command &c, const Access &a, Pattern &out) {
    auto list = [&](const char *key) -> const std::vector<int64_t> * {
      auto it = c.attrs.find(key);
      return it == c.attrs.end() ? nullptr : std::get_if<std::vector<int64_t>>(&it->second);
    };
    const auto *dims = list("dims"), *strides = list("out_strides");
    if (!dims || !strides || dims->size() != strides->size())
      return false;
    auto offset = c.attrs.find("out_offset");
    const auto *start = offset == c.attrs.end() ? nullptr : std::get_if<int64_t>(&offset->second);
    int64_t width = exe::byteWidth(prog.values[static_cast<size_t>(a.value)].dtype), size = a.end - a.begin;
    std::vector<std::pair<int64_t, int64_t>> in;
    int64_t at = 0, last = width;
    bool fits = !__builtin_mul_overflow(start ? *start : 0, width, &at) && at >= 0;
    for (size_t d = 0; d < dims->size() && fits; ++d) {
      int64_t stride = 0, reach = 0;
      fits = (*dims)[d] >= 0 && (*strides)[d] >= 0 && !__builtin_mul_overflow((*strides)[d], width, &stride) &&
             !__builtin_mul_overflow(stride, std::max<int64_t>((*dims)[d] - 1, 0), &reach) && reach <= size &&
             !__builtin_add_overflow(last, reach, &last);
      in.emplace_back((*dims)[d], stride);
    }
    out = fits ? makePattern(a.begin + at, width, in) : Pattern{};
    if (!fits || (out.run > 0 && (at > size || out.end() > a.end))) {
      bad(Rule::Memory, "writes outside of its result, " + place(a, a.begin, a.end));
      return false;
    }
    return !out.dense() || out.base != a.begin || out.run != size;
  }

  //===--- reads ----------------------------------------------------------===//
  /// Bytes at the end of the first operand that may hold anything: blocks of rows that do not divide.
  int64_t fillOf(const exe::Command &c) const {
    auto it = c.attrs.find("rows");
    const auto *rows = it == c.attrs.end() ? nullptr : std::get_if<int64_t>(&it->second);
    if (!rows || exe::collectiveOf(c) != "scatter_norm_gather")
      return 0;
    const exe::Value &x = prog.values[static_cast<size_t>(c.inputs[0])];
    if (x.shape.size() != 3)
      return 0;
    int64_t present = exe::numElements({x.shape[0], x.shape[1]}), row = exe::byteSize(x.dtype, {x.shape[2]});
    return *rows >= 0 && *rows <= present ? (present - *rows) * row : 0;
  }

  /// The last `fill` bytes are touched, but need not hold anything.
  void read(const Access &a, int32_t flying, int64_t fill = 0) {
    if (isConstant(a) || a.begin >= a.end)
      return;
    ++accesses;
    bool told = false; // one finding per operand
    Space &space = spaceOf(a);
    space.held.visit(a.begin, a.end - fill, [&](int64_t begin, int64_t end, const int32_t *held) {
      if (!told)
        told = !readPiece(a, begin, end, held);
    });
    space.held.visit(a.end - fill, a.end, [&](int64_t begin, int64_t end, const int32_t *held) {
      if (!told && held && writes[static_cast<size_t>(*held)].flying >= 0)
        told = !readPiece(a, begin, end, held);
    });
    if (flying >= 0)
      space.reading.update(a.begin, a.end, {}, [&](Readers &r) { r = {r.count + 1, flying}; });
  }

  /// False after a finding.
  bool readPiece(const Access &a, int64_t begin, int64_t end, const int32_t *held) {
    --budget;
    if (!held) {
      bad(Rule::Unwritten, "reads " + place(a, begin, end) + ", which nothing has written before");
      return false;
    }
    Write &w = writes[static_cast<size_t>(*held)];
    w.read = true;
    w.lastUse = std::max<int64_t>(w.lastUse, now);
    if (w.flying >= 0) {
      bad(Rule::Race, "reads " + place(a, begin, end) + " while " + call(w.flying).text(prog) +
                          " is still writing them" + edge(w.flying));
      return false;
    }
    if (a.storage == exe::Storage::Arena && w.buffer != a.index) {
      bad(Rule::Reuse, "reads " + place(a, begin, end) + ", but " + commandText(prog, w.command) +
                           " has overwritten them with " + name(w.value) + ": the buffer was given away too early");
      return false;
    }
    if (!w.whole)
      return complete(w, a, begin, end);
    w.patches.clear();
    return true;
  }

  /// The strided writes together must cover what is read.
  bool complete(Write &w, const Access &a, int64_t begin, int64_t end) {
    std::vector<Pattern> patterns;
    for (auto &[command, pattern] : w.patches)
      patterns.push_back(pattern);
    budget -= static_cast<int64_t>(patterns.size());
    if (covers(patterns, w.begin, w.end, budget)) {
      w.whole = true;
      w.patches.clear();
      return true;
    }
    if (covers(patterns, begin, end, budget))
      return true;
    bad(Rule::Unwritten, "reads " + place(a, begin, end) + ", of which " + commandText(prog, w.patches.back().first) +
                             " and those before it have written a part only");
    return false;
  }

  //===--- writes ---------------------------------------------------------===//
  void write(const Access &a, const Pattern *partial, int32_t flying) {
    if (a.begin >= a.end || isConstant(a) || (partial && partial->run == 0))
      return;
    ++accesses;
    Space &space = spaceOf(a);
    bool told = false;
    space.reading.visit(a.begin, a.end, [&](int64_t begin, int64_t end, const Readers *r) {
      --budget;
      // In place: the collective itself has just begun to read them.
      if (told || !r || r->count - (r->last == flying && flying >= 0) <= 0)
        return;
      int32_t other = readerOf(begin, end, flying);
      told = true;
      bad(Rule::Race, "writes " + place(a, begin, end) + " while " + call(other).text(prog) +
                          " and its peers still read them" + edge(other));
    });
    space.held.visit(a.begin, a.end, [&](int64_t begin, int64_t end, const int32_t *held) {
      --budget;
      if (told || !held || writes[static_cast<size_t>(*held)].flying < 0)
        return;
      int32_t other = writes[static_cast<size_t>(*held)].flying;
      told = true;
      bad(Rule::Race, "writes " + place(a, begin, end) + " while " + call(other).text(prog) + " is still writing them" +
                          edge(other));
    });
    if (partial)
      return patch(space, a, *partial);
    Write w = writeOf(a);
    w.flying = flying;
    overwrite(space, a);
    hold(space, std::move(w));
  }

  /// A collective under way, other than `self`, that reads some of [begin, end); only for messages.
  int32_t readerOf(int64_t begin, int64_t end, int32_t self) const {
    for (auto n = static_cast<int32_t>(steps.calls.size()); n-- > 0;) {
      const Call &c = call(n);
      if (n == self || c.token < 0 || c.issue > now || (c.wait >= 0 && c.wait <= now))
        continue;
      for (int32_t v : prog.commands[static_cast<size_t>(c.issue)].inputs)
        if (Access a = steps.access(v); a.begin < end && begin < a.end)
          return n;
    }
    return 0;
  }

  Write writeOf(const Access &a) const {
    Write w;
    w.command = now;
    w.value = a.value;
    w.buffer = a.index;
    w.begin = a.begin;
    w.end = a.end;
    w.left = a.end - a.begin;
    return w;
  }

  void hold(Space &space, Write w) {
    if (w.flying >= 0)
      flights[w.flying].push_back(static_cast<int32_t>(writes.size()));
    space.held.assign(w.begin, w.end, static_cast<int32_t>(writes.size()));
    writes.push_back(std::move(w));
  }

  /// What `a` overwrites loses bytes; a write of the same buffer that nothing has read must not lose all.
  void overwrite(Space &space, const Access &a) {
    space.held.visit(a.begin, a.end, [&](int64_t begin, int64_t end, const int32_t *held) {
      if (!held)
        return;
      Write &w = writes[static_cast<size_t>(*held)];
      w.left -= end - begin;
      live(w, end - begin, std::min<int64_t>(w.lastUse, now - 1)); // in place, the new bytes take over
      if (w.left > 0 || w.buffer != a.index)
        return;
      if (!w.read)
        lost(w.command, a);
      else if (w.whole && !w.patches.empty())
        lost(w.patches.back().first, a);
    });
  }
  void lost(int32_t command, const Access &a) {
    bad(Rule::Lost, "overwrites " + place(a, a.begin, a.end) + " before anything has read what " +
                        commandText(prog, command) + " wrote there");
  }

  /// A strided write into the region of its result.
  void patch(Space &space, const Access &a, const Pattern &pattern) {
    int32_t only = -1;
    bool same = true, whole = true, any = false;
    space.held.visit(a.begin, a.end, [&](int64_t begin, int64_t end, const int32_t *held) {
      bool mine = held && writes[static_cast<size_t>(*held)].buffer == a.index;
      whole &= mine && writes[static_cast<size_t>(*held)].whole;
      any |= mine;
      same &= mine && begin == a.begin && end == a.end && writes[static_cast<size_t>(*held)].begin == begin &&
              writes[static_cast<size_t>(*held)].end == end;
      only = held ? *held : -1;
    });
    if (same) { // one write holds exactly this region: it gets the patch
      Write &w = writes[static_cast<size_t>(only)];
      budget -= static_cast<int64_t>(w.patches.size());
      for (auto &[command, old] : w.patches)
        if (old == pattern)
          lost(command, a);
      w.patches.emplace_back(now, pattern);
      return;
    }
    Write w = writeOf(a);
    w.whole = any && whole;
    // Earlier pieces of the same buffer stay visible in it.
    space.held.visit(a.begin, a.end, [&](int64_t begin, int64_t end, const int32_t *held) {
      if (!held || writes[static_cast<size_t>(*held)].buffer != a.index)
        return;
      Write &old = writes[static_cast<size_t>(*held)];
      if (!w.whole && old.whole)
        w.patches.emplace_back(old.command, Pattern{begin, end - begin, {}});
      else if (!w.whole)
        w.patches.insert(w.patches.end(), old.patches.begin(), old.patches.end());
      budget -= 1 + static_cast<int64_t>(old.patches.size());
      old.read = true;
      w.read = true;
    });
    overwrite(space, a);
    w.patches.emplace_back(now, pattern);
    hold(space, std::move(w));
  }

  void finish(int32_t number) {
    for (int32_t v : prog.commands[static_cast<size_t>(call(number).issue)].inputs)
      if (Access operand = steps.access(v); !isConstant(operand))
        release(spaceOf(operand), operand);
    for (int32_t n : flights[number]) {
      Write &w = writes[static_cast<size_t>(n)];
      w.flying = -1;
      w.lastUse = std::max<int64_t>(w.lastUse, now);
    }
    flights.erase(number);
  }

  void release(Space &space, const Access &operand) {
    bool busy = false;
    space.reading.update(operand.begin, operand.end, {}, [&](Readers &r) {
      --budget;
      r.count -= r.count > 0;
      busy |= r.count > 0;
    });
    if (!busy)
      space.reading.erase(operand.begin, operand.end);
    space.held.visit(operand.begin, operand.end, [&](int64_t, int64_t, const int32_t *held) {
      if (held)
        writes[static_cast<size_t>(*held)].lastUse = std::max<int64_t>(writes[static_cast<size_t>(*held)].lastUse, now);
    });
  }

  const Steps &steps;
  const exe::Program &prog;
  int64_t rank;
  const std::string &who;
  Findings &findings;
  int64_t budget = mostSteps;
  int32_t now = 0; ///< command; -1 before the first, their number after the last
  std::map<int64_t, Space> spaces;
  std::vector<Write> writes;
  std::map<int32_t, std::vector<int32_t>> flights; ///< call -> its writes
  std::vector<int64_t> change;                     ///< of the bytes alive, by command + 1
};
} // namespace

void checkMemory(const Steps &steps, int64_t rank, const std::string &who, Findings &findings, int64_t &accesses,
                 int64_t &peakBytes) {
  MemoryCheck check(steps, rank, who, findings);
  check.run();
  accesses = check.accesses;
  peakBytes = check.peak(); // of bytes of the arena, all inside it: never more than it has
}

} // namespace comm::proof
