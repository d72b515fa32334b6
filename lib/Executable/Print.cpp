//===- Print.cpp - the text of `commc inspect` ----------------------------===//
#include "Problems.h"
#include <algorithm>
#include <cstdio>

namespace comm::exe {
namespace {

std::string human(int64_t bytes) {
  static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double v = static_cast<double>(bytes);
  int u = 0;
  for (; v >= 1024 && u < 4; ++u)
    v /= 1024;
  char text[48];
  std::snprintf(text, sizeof(text), u == 0 ? "%.0f %s" : "%.2f %s", v, units[u]);
  return text;
}

std::string number(double v) {
  char text[48];
  std::snprintf(text, sizeof(text), "%.6g", v);
  return text;
}

std::string layoutText(const Layout &layout) {
  if (layout.replicated())
    return "replicated";
  std::string out;
  for (size_t d = 0; d < layout.dims.size(); ++d) {
    const Split &s = layout.dims[d];
    if (s.axes.empty())
      continue;
    out += (out.empty() ? "split dim " : ", dim ") + std::to_string(d) + " over ";
    for (size_t a = 0; a < s.axes.size(); ++a)
      out += (a ? "*" : "") + s.axes[a];
    if (s.grain != 1)
      out += " in blocks of " + std::to_string(s.grain);
  }
  return out;
}

std::string attrText(const Attr &attr) {
  struct Visitor {
    std::string operator()(int64_t v) const { return std::to_string(v); }
    std::string operator()(double v) const { return number(v); }
    std::string operator()(const std::string &v) const { return v; }
    std::string operator()(const std::vector<int64_t> &v) const { return shapeText(v); }
    std::string operator()(const std::vector<std::string> &v) const {
      std::string out = "[";
      for (size_t i = 0; i < v.size(); ++i)
        out += (i ? ", " : "") + v[i];
      return out + "]";
    }
  };
  return std::visit(Visitor{}, attr);
}

/// Lines of "key   value" with the keys aligned.
class Table {
public:
  void section(const std::string &title) { text += (text.empty() ? "" : "\n") + title + "\n"; }
  void row(std::string key, const std::string &value) {
    key.resize(std::max<size_t>(key.size(), 14), ' ');
    text += "  " + key + "  " + value + "\n";
  }
  void line(const std::string &value) { text += "  " + value + "\n"; }
  std::string text;
};

void printPorts(Table &t, const char *title, const std::vector<Port> &ports) {
  for (const Port &p : ports)
    t.row(title, p.name + "  " + dtypeName(p.dtype) + shapeText(p.shape) + "  " + layoutText(p.layout));
}

void printCommands(Table &t, const Program &program) {
  auto operands = [&](const std::vector<int32_t> &list) {
    std::string out;
    for (int32_t i : list) {
      const Value &v = program.values[i];
      static const char *const places[] = {"arena", "weight", "input", "output"};
      out += (out.empty() ? "" : ", ") + (v.name.empty() ? "%" + std::to_string(i) : v.name) + ":" +
             dtypeName(v.dtype) + shapeText(v.shape) + "@" + places[static_cast<size_t>(v.storage)] +
             (v.storage == Storage::Arena ? "" : std::to_string(v.index)) + "+" + std::to_string(v.offset);
    }
    return out;
  };
  for (size_t i = 0; i < program.commands.size(); ++i) {
    const Command &c = program.commands[i];
    std::string attrs;
    for (const auto &[key, value] : c.attrs)
      attrs += (attrs.empty() ? " {" : ", ") + key + "=" + attrText(value);
    t.row(std::to_string(i), c.op + (attrs.empty() ? "" : attrs + "}") + "  " + operands(c.inputs) +
                                 (c.outputs.empty() ? "" : " -> ") + operands(c.outputs) +
                                 (c.label.empty() ? "" : "  # " + c.label));
  }
}

void printProgram(Table &t, const Program &program, bool commands) {
  std::string grid;
  for (const Axis &a : program.grid.axes)
    grid += (grid.empty() ? "" : " x ") + a.name + "=" + std::to_string(a.size);
  int64_t ranks = program.grid.ranks();
  t.row("grid", std::to_string(ranks) + (ranks == 1 ? " rank" : " ranks") + (grid.empty() ? "" : " (" + grid + ")"));
  t.row("arena", human(program.arenaBytes) + " per rank, of it " + human(program.commBytes) + " for communication");
  std::map<std::string, int64_t> ops;
  struct Traffic {
    int64_t count = 0, started = 0, bytes = 0;
  };
  std::map<std::string, Traffic> collectives;
  for (const Command &c : program.commands) {
    const std::string &kind = collectiveOf(c);
    if (kind.empty()) {
      if (c.op != "wait")
        ++ops[c.op];
      continue;
    }
    // The larger side is what the collective is about: the gathered result, the unreduced operand.
    const Value &in = program.values[c.inputs[0]], &out = program.values[c.outputs[0]];
    Traffic &traffic = collectives[kind];
    ++traffic.count;
    traffic.started += c.op == "start";
    traffic.bytes += std::max(byteSize(in.dtype, in.shape), byteSize(out.dtype, out.shape));
  }
  std::string list;
  for (const auto &[op, count] : ops)
    list += (list.empty() ? "" : ", ") + std::to_string(count) + " " + op;
  t.row("commands", std::to_string(program.commands.size()) + (list.empty() ? "" : ": " + list));
  for (const auto &[kind, traffic] : collectives)
    t.row("collective", std::to_string(traffic.count) + " " + kind + ", " + human(traffic.bytes) + " per run, " +
                            std::to_string(traffic.started) + " asynchronous");
  if (collectives.empty())
    t.row("collective", "none");
  if (commands)
    printCommands(t, program);
}
} // namespace

std::string printExecutable(const Executable &exe, bool commands, int64_t dataBytes) {
  if (dataBytes < 0)
    dataBytes = static_cast<int64_t>(exe.data.size());
  Table t;
  t.section("model");
  t.row("name", exe.modelName);
  if (!exe.modelSha256.empty())
    t.row("sha256", exe.modelSha256);
  t.row("compiler", exe.compilerVersion);
  t.row("options", exe.options);
  for (const Entry &entry : exe.entries) {
    t.section("entry " + entry.name);
    printPorts(t, "input", entry.split.inputs);
    printPorts(t, "output", entry.split.outputs);
    for (const PadSymbol &s : entry.pads)
      t.row("takes", s.name + " from " + std::to_string(s.least) + " to " + std::to_string(s.size));
    for (const StatePair &s : entry.states)
      t.row("state", s.input + " <- " + s.output);
    printProgram(t, entry.split, commands);
  }
  t.section("weights");
  int64_t total = 0, local = 0, split = 0;
  for (const Weight &w : exe.weights) {
    total += byteSize(w.dtype, slicedShape(w));
    split += !w.layout.replicated();
    if (!exe.entries.empty())
      local += byteSize(w.dtype, localShape(slicedShape(w), w.layout, exe.entries[0].split.grid));
  }
  t.row("count", std::to_string(exe.weights.size()) + ", " + std::to_string(split) + " of them split");
  t.row("bytes", human(total) + ", " + human(local) + " per rank");
  t.row("embedded", human(dataBytes));
  for (const WeightFile &f : exe.files)
    t.row("file", f.path + "  " + human(f.bytes) + (f.sha256.empty() ? "  not hashed" : "  sha256 " + f.sha256));
  t.section("native code");
  for (const NativeObject &o : exe.objects)
    t.row(o.isa, human(static_cast<int64_t>(o.bytes.size())));
  if (exe.objects.empty())
    t.line("none");
  if (!exe.predictions.empty()) {
    t.section("predictions");
    for (const auto &[key, value] : exe.predictions)
      t.row(key, number(value));
  }
  if (!exe.explain.empty()) {
    t.section("explain");
    for (const std::string &line : exe.explain)
      t.line(line);
  }
  return t.text;
}

} // namespace comm::exe
