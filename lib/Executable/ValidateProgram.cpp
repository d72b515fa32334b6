//===- ValidateProgram.cpp - is one untrusted program sound? --------------===//
// Bounds of every view; ports; operands of commands; and the flow of collectives: tokens, one rising order of plan
// numbers, equal offsets inside the communication part of the arena, and nothing touched while a collective is in
// flight.
//===----------------------------------------------------------------------===//
#include "Problems.h"
#include <algorithm>
#include <set>

namespace comm::exe {
namespace {

bool checkGrid(Problems &p, const std::string &where, const Grid &grid) {
  std::set<std::string> names;
  int64_t ranks = 1;
  for (const Axis &a : grid.axes) {
    if (!p.require(!a.name.empty() && names.insert(a.name).second, where,
                   "grid axis " + quoted(a.name) + " is empty or appears twice") ||
        !p.require(a.size >= 1 && a.size <= maxRanks && (ranks *= a.size) <= maxRanks, where,
                   "grid of more than " + std::to_string(maxRanks) + " ranks, or an axis without ranks"))
      return false;
  }
  return true;
}

/// A range of bytes in one storage.
struct Range {
  Storage storage;
  int64_t index, begin, end;
  bool overlaps(const Range &o) const {
    return storage == o.storage && (storage == Storage::Arena || index == o.index) && begin < o.end && o.begin < end;
  }
  bool operator==(const Range &o) const {
    return storage == o.storage && (storage == Storage::Arena || index == o.index) && begin == o.begin && end == o.end;
  }
};

class Checker {
public:
  Checker(Problems &p, const std::string &where, const Executable &exe, const Program &program)
      : p(p), where(where), exe(exe), prog(program) {}

  void run() {
    if (!checkGrid(p, where, prog.grid) ||
        !p.require(prog.arenaBytes >= 0 && prog.arenaBytes <= maxBytes, where, "the arena size is out of range") ||
        !p.require(prog.commBytes >= 0 && prog.commBytes <= prog.arenaBytes, where,
                   "the communication part leaves the arena"))
      return;
    bool ok = checkPortShapes(prog.inputs, "input");
    ok &= checkPortShapes(prog.outputs, "output");
    for (size_t i = 0; ok && i < prog.values.size() && !p.full(); ++i)
      checkValue(i);
    if (!ok || !p.list.empty())
      return; // everything below indexes values
    for (size_t i = 0; i < prog.inputs.size(); ++i)
      checkInput(i);
    for (size_t i = 0; i < prog.outputs.size(); ++i)
      checkOutput(i);
    for (size_t i = 0; i < prog.commands.size() && !p.full(); ++i)
      checkCommand(i);
    for (const auto &flight : inFlight)
      p.require(false, where, "token " + std::to_string(flight.token) + " is started and never waited for");
  }

private:
  struct Flight {
    int64_t token;
    std::vector<Range> reads, writes;
  };

  bool checkPortShapes(const std::vector<Port> &ports, const char *what) {
    bool ok = true;
    for (const Port &port : ports) {
      std::string at = where + " " + what + " " + quoted(port.name);
      ok &= checkTensor(p, at, port.dtype, port.shape) && checkLayout(p, at, port.shape, port.layout) &&
            checkAxes(at, port.layout);
      ok &= p.require(port.fixed.empty() ||
                          static_cast<int64_t>(port.fixed.size()) == 2 * byteSize(port.dtype, port.shape),
                      at, "its fixed value has another size");
      ok &= p.require(port.fixed.find_first_not_of("0123456789abcdef") == std::string::npos, at,
                      "its fixed value is not hexadecimal");
      ok &= p.require(port.value >= -1 && port.value < static_cast<int64_t>(prog.values.size()), at,
                      "its value does not exist");
    }
    return ok;
  }

  bool checkAxes(const std::string &at, const Layout &layout) {
    bool ok = true;
    for (const Split &s : layout.dims)
      for (const std::string &axis : s.axes)
        ok &= p.require(prog.grid.coordinate(0, {axis}) >= 0, at, "the grid has no axis " + quoted(axis));
    return ok;
  }

  void checkValue(size_t i) {
    const Value &v = prog.values[i];
    std::string at = where + " value " + std::to_string(i) + (v.name.empty() ? "" : " " + quoted(v.name));
    if (!checkTensor(p, at, v.dtype, v.shape))
      return;
    int64_t limit = -1, bytes = byteSize(v.dtype, v.shape);
    auto indexIn = [&](size_t count) { return v.index >= 0 && v.index < static_cast<int64_t>(count); };
    if (v.storage == Storage::Arena)
      limit = prog.arenaBytes;
    else if (v.storage == Storage::Weight && indexIn(exe.weights.size())) {
      const Weight &w = exe.weights[v.index];
      limit = byteSize(w.dtype, localShape(slicedShape(w), w.layout, prog.grid));
    } else if (v.storage == Storage::Input && indexIn(prog.inputs.size()))
      limit = byteSize(prog.inputs[v.index].dtype,
                       localShape(prog.inputs[v.index].shape, prog.inputs[v.index].layout, prog.grid));
    else if (v.storage == Storage::Output && indexIn(prog.outputs.size()))
      limit = byteSize(prog.outputs[v.index].dtype,
                       localShape(prog.outputs[v.index].shape, prog.outputs[v.index].layout, prog.grid));
    if (!p.require(limit >= 0, at, "its weight, input or output number " + std::to_string(v.index) + " does not exist"))
      return;
    p.require(v.offset >= 0 && v.offset <= limit && bytes <= limit - v.offset, at,
              std::to_string(bytes) + " bytes at offset " + std::to_string(v.offset) + " leave the " +
                  std::to_string(limit) + " bytes of its storage");
    p.require(v.offset % byteWidth(v.dtype) == 0, at, "its offset is not aligned to its elements");
  }

  /// The port's value holds this rank's part of the port.
  bool checkPortValue(const std::string &at, const Port &port) {
    const Value &v = prog.values[port.value];
    Shape expected = localShape(port.shape, port.layout, prog.grid);
    return p.require(v.dtype == port.dtype && v.shape == expected, at,
                     "its value is " + std::string(dtypeName(v.dtype)) + shapeText(v.shape) + ", the layout says " +
                         dtypeName(port.dtype) + shapeText(expected));
  }
  void checkInput(size_t i) {
    const Port &port = prog.inputs[i];
    std::string at = where + " input " + quoted(port.name);
    if (port.value < 0 || !checkPortValue(at, port))
      return;
    const Value &v = prog.values[port.value];
    p.require(v.storage == Storage::Arena ||
                  (v.storage == Storage::Input && v.index == static_cast<int64_t>(i) && v.offset == 0),
              at, "its value must be the input itself or lie in the arena");
  }
  void checkOutput(size_t i) {
    const Port &port = prog.outputs[i];
    std::string at = where + " output " + quoted(port.name);
    if (p.require(port.value >= 0, at, "it has no value"))
      checkPortValue(at, port);
  }

  Range range(int32_t value) const {
    const Value &v = prog.values[value];
    return {v.storage, v.index, v.offset, v.offset + byteSize(v.dtype, v.shape)};
  }

  template <class T> const T *attr(const Command &c, const char *name) {
    auto it = c.attrs.find(name);
    return it == c.attrs.end() ? nullptr : std::get_if<T>(&it->second);
  }

  void checkCommand(size_t i) {
    const Command &c = prog.commands[i];
    std::string at = where + " command " + std::to_string(i) + " " + quoted(c.op) +
                     (c.label.empty() ? "" : " of " + quoted(c.label));
    if (!p.require(!c.op.empty(), at, "it names no operation"))
      return;
    std::vector<Range> reads, writes;
    for (const auto *operands : {&c.inputs, &c.outputs})
      for (int32_t v : *operands) {
        if (!p.require(v >= 0 && v < static_cast<int64_t>(prog.values.size()), at,
                       "operand " + std::to_string(v) + " does not exist"))
          return;
        (operands == &c.inputs ? reads : writes).push_back(range(v));
      }
    for (const Range &w : writes)
      p.require(w.storage == Storage::Arena || w.storage == Storage::Output, at, "it writes to a weight or an input");
    // In place is fine where element i of the result depends on element i of the operand only.
    bool inPlace = c.op == "kernel" || collectiveOf(c) == "all_reduce" || collectiveOf(c) == "broadcast";
    for (size_t k = 0; k < writes.size(); ++k) {
      for (const Range &r : reads)
        p.require(!writes[k].overlaps(r) || (inPlace && writes[k] == r), at, "its result overlaps an operand");
      for (size_t l = k + 1; l < writes.size(); ++l)
        p.require(!writes[k].overlaps(writes[l]), at, "its results overlap");
    }
    if (c.op == "kernel")
      checkDeclared(at, c);
    if (c.op == "wait") {
      const auto *token = attr<int64_t>(c, "token");
      auto it =
          std::find_if(inFlight.begin(), inFlight.end(), [&](const Flight &f) { return token && f.token == *token; });
      if (p.require(it != inFlight.end(), at, "it waits for a token that is not in flight"))
        inFlight.erase(it);
      p.require(c.inputs.empty() && c.outputs.empty(), at, "a wait has no operands");
      return;
    }
    for (const Flight &f : inFlight)
      checkRace(at, f, reads, writes);
    if (c.op == "start" || isCollective(c.op))
      checkCollective(at, c, reads, writes);
  }

  /// Operands and results of a declared kernel are those of its declaration.
  void checkDeclared(const std::string &at, const Command &c) {
    const auto *symbol = attr<std::string>(c, "symbol");
    auto it = std::find_if(exe.kernels.begin(), exe.kernels.end(),
                           [&](const Kernel &k) { return symbol && k.symbol == *symbol; });
    if (it == exe.kernels.end())
      return;
    std::vector<TensorType> declared = it->inputs;
    for (int32_t v : it->outputs) {
      auto number = static_cast<size_t>(v);
      if (number < it->inputs.size()) {
        declared.push_back(it->inputs[number]);
        continue;
      }
      const KernelStep &step = it->steps[number - it->inputs.size()];
      declared.push_back({step.dtype, step.shape});
    }
    std::vector<int32_t> operands = c.inputs;
    operands.insert(operands.end(), c.outputs.begin(), c.outputs.end());
    if (!p.require(c.inputs.size() == it->inputs.size() && operands.size() == declared.size(), at,
                   "it has another number of operands than the declaration of " + quoted(*symbol)))
      return;
    for (size_t i = 0; i < operands.size(); ++i) {
      const Value &value = prog.values[static_cast<size_t>(operands[i])];
      p.require(value.dtype == declared[i].dtype && value.shape == declared[i].shape, at,
                "operand " + std::to_string(i) + " has another type than in the declaration of " + quoted(*symbol));
    }
  }

  void checkRace(const std::string &at, const Flight &f, const std::vector<Range> &reads,
                 const std::vector<Range> &writes) {
    auto touches = [](const std::vector<Range> &a, const std::vector<Range> &b) {
      return std::any_of(a.begin(), a.end(), [&](const Range &x) {
        return std::any_of(b.begin(), b.end(), [&](const Range &y) { return x.overlaps(y); });
      });
    };
    p.require(!touches(reads, f.writes) && !touches(writes, f.writes), at,
              "it touches the result of collective token " + std::to_string(f.token) + " before its wait");
    p.require(!touches(writes, f.reads), at,
              "it writes an operand of collective token " + std::to_string(f.token) + " before its wait");
  }

  void checkCollective(const std::string &at, const Command &c, const std::vector<Range> &reads,
                       const std::vector<Range> &writes) {
    const std::string &kind = collectiveOf(c);
    if (!p.require(!kind.empty(), at, "it starts no known collective") ||
        !p.require(kind == "scatter_norm_gather" ? reads.size() >= 3 && reads.size() <= 5 && writes.size() == 3
                                                 : reads.size() == 1 && writes.size() == 1,
                   at,
                   kind == "scatter_norm_gather" ? "its number of operands or results is wrong"
                                                 : "a collective has one operand and one result"))
      return;
    // Peers reach the first operand and the results.
    std::vector<Range> shared = writes;
    shared.push_back(reads[0]);
    for (const Range &r : shared)
      p.require(r.storage == Storage::Arena && r.end <= prog.commBytes, at,
                "operands of collectives must lie in the communication part of the arena");
    const auto *planId = attr<int64_t>(c, "plan_id");
    if (p.require(planId && *planId > lastPlanId, at, "plan_id is missing or does not rise"))
      lastPlanId = *planId;
    checkSignature(at, kind, c);
    if (c.op != "start")
      return;
    const auto *token = attr<int64_t>(c, "token");
    if (p.require(token && *token >= 0 && tokens.insert(*token).second, at,
                  "its token is missing, negative or used before"))
      inFlight.push_back({*token, reads, writes});
  }

  void checkSignature(const std::string &at, const std::string &kind, const Command &c) {
    static const std::vector<std::string> none;
    const auto *axes = attr<std::vector<std::string>>(c, "axes");
    const auto *empty = attr<std::vector<int64_t>>(c, "axes"); // an empty list carries no element type
    if (!p.require(axes || (empty && empty->empty()), at, "attribute 'axes' is missing"))
      return;
    const auto &names = axes ? *axes : none;
    std::set<std::string> unique(names.begin(), names.end());
    bool known = std::all_of(names.begin(), names.end(),
                             [&](const std::string &n) { return prog.grid.coordinate(0, {n}) >= 0; });
    if (!p.require(known && unique.size() == names.size(), at,
                   "attribute 'axes' names an axis that does not exist, or one twice"))
      return;
    const Value &in = prog.values[c.inputs[0]], &out = prog.values[c.outputs[0]];
    if (kind == "scatter_norm_gather")
      return checkScatterNorm(at, c, prog.grid.shards(names));
    int64_t members = prog.grid.shards(names), x = numElements(in.shape), y = numElements(out.shape);
    bool sizes = kind == "reduce_scatter" ? x == y * members : kind == "all_gather" ? y == x * members : x == y;
    if (kind == "all_to_all")
      sizes &= x % members == 0;
    p.require(in.dtype == out.dtype && sizes, at,
              "types or sizes of operand " + shapeText(in.shape) + " and result " + shapeText(out.shape) +
                  " do not fit a group of " + std::to_string(members));
    const auto *reduce = attr<std::string>(c, "reduce");
    if (kind == "all_reduce" || kind == "reduce_scatter")
      p.require(reduce && (*reduce == "sum" || *reduce == "max" || *reduce == "min" || *reduce == "prod"), at,
                "attribute 'reduce' must be sum, max, min or prod");
    const auto *root = attr<int64_t>(c, "root");
    if (kind == "broadcast")
      p.require(root && *root >= 0 && *root < members, at, "attribute 'root' is not a member of the group");
    if (kind == "permute")
      p.require(attr<int64_t>(c, "shift") != nullptr, at, "attribute 'shift' is missing");
  }

  /// x, residual, weight, [bias], [norm_bias] -> normed, sum, own: x and normed [members, R, C], residual, sum and own
  /// [R, C], the others [C].
  void checkScatterNorm(const std::string &at, const Command &c, int64_t members) {
    const Value &in = prog.values[c.inputs[0]];
    const auto *rows = attr<int64_t>(c, "rows"), *layer = attr<int64_t>(c, "layer_norm"),
               *bias = attr<int64_t>(c, "has_bias"), *normBias = attr<int64_t>(c, "has_norm_bias");
    if (!p.require(rows && layer && bias && normBias && attr<double>(c, "epsilon"), at,
                   "attribute 'rows', 'epsilon', 'layer_norm', 'has_bias' or 'has_norm_bias' is missing") ||
        !p.require(c.inputs.size() == 3u + (*bias != 0) + (*normBias != 0), at,
                   "has_bias and has_norm_bias do not agree with the number of operands") ||
        !p.require(in.dtype == DType::F32 || in.dtype == DType::F16 || in.dtype == DType::BF16 ||
                       in.dtype == DType::F64,
                   at, "its elements are not floats") ||
        !p.require(in.shape.size() == 3 && in.shape[0] == members, at,
                   "its operand " + shapeText(in.shape) + " is not one block of rows per member"))
      return;
    p.require(*normBias == 0 || *layer != 0, at, "a bias of the norm needs layer_norm");
    int64_t block = in.shape[1];
    p.require(*rows >= members && block == (*rows + members - 1) / members, at,
              std::to_string(*rows) + " rows are not " + std::to_string(members) + " blocks of " +
                  std::to_string(block));
    Shape local{in.shape[1], in.shape[2]}, vector{in.shape[2]};
    auto expect = [&](int32_t index, const Shape &shape, const char *what) {
      const Value &v = prog.values[index];
      p.require(v.dtype == in.dtype && v.shape == shape, at,
                std::string(what) + " is " + dtypeName(v.dtype) + shapeText(v.shape) + ", not " + dtypeName(in.dtype) +
                    shapeText(shape));
    };
    expect(c.inputs[1], local, "the residual");
    for (size_t i = 2; i < c.inputs.size(); ++i)
      expect(c.inputs[i], vector, "a parameter of the norm");
    expect(c.outputs[0], in.shape, "the normed result");
    expect(c.outputs[1], local, "the sum");
    expect(c.outputs[2], local, "the own rows");
  }

  Problems &p;
  const std::string &where;
  const Executable &exe;
  const Program &prog;
  std::vector<Flight> inFlight;
  std::set<int64_t> tokens;
  int64_t lastPlanId = -1;
};
} // namespace

void checkProgram(Problems &p, const std::string &where, const Executable &exe, const Program &program) {
  Checker(p, where, exe, program).run();
}

} // namespace comm::exe
