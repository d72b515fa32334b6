//===- Validate.cpp - is an untrusted executable sound? -------------------===//
// Files, weights, entries and objects; programs are checked in ValidateProgram.cpp.
//===----------------------------------------------------------------------===//
#include "Problems.h"
#include <algorithm>
#include <set>

namespace comm::exe {

std::string quoted(const std::string &text) {
  std::string out = "'";
  for (unsigned char c : text.substr(0, 80))
    out += c < 32 || c == 127 ? '?' : static_cast<char>(c);
  // A cut inside a UTF-8 sequence would leave half a character.
  if (text.size() > 80) {
    while (!out.empty() && (static_cast<unsigned char>(out.back()) & 0xC0) == 0x80)
      out.pop_back();
    if (static_cast<unsigned char>(out.back()) >= 0xC0)
      out.pop_back();
    out += "...";
  }
  return out + "'";
}

std::string shapeText(const Shape &shape) {
  std::string out = "[";
  for (size_t i = 0; i < shape.size(); ++i)
    out += (i ? ", " : "") + std::to_string(shape[i]);
  return out + "]";
}

bool checkTensor(Problems &p, const std::string &where, DType dtype, const Shape &shape) {
  if (!p.require(byteWidth(dtype) > 0, where, "unknown element type") ||
      !p.require(shape.size() <= 32, where, "more than 32 dimensions"))
    return false;
  if (std::any_of(shape.begin(), shape.end(), [](int64_t d) { return d < 0; }))
    return p.require(false, where, "negative dimension in " + shapeText(shape));
  int64_t bytes = byteSize(dtype, shape);
  return p.require(bytes >= 0 && bytes <= maxBytes, where, "shape " + shapeText(shape) + " is too large");
}

bool checkLayout(Problems &p, const std::string &where, const Shape &shape, const Layout &layout) {
  if (layout.dims.empty())
    return true;
  if (!p.require(layout.dims.size() == shape.size(), where, "the layout has another rank than " + shapeText(shape)))
    return false;
  std::set<std::string> used;
  bool ok = true;
  for (size_t d = 0; d < shape.size(); ++d) {
    const Split &split = layout.dims[d];
    ok &= p.require(split.grain >= 1, where, "the grain of a split is not positive");
    for (const std::string &axis : split.axes)
      ok &= p.require(used.insert(axis).second, where, "axis " + quoted(axis) + " splits twice");
    if (ok && !split.axes.empty())
      ok &= p.require(shape[d] % split.grain == 0, where,
                      "dimension of size " + std::to_string(shape[d]) + " is not a multiple of its grain " +
                          std::to_string(split.grain));
  }
  return ok;
}

namespace {
bool isHash(const std::string &s) {
  return s.size() == 64 && s.find_first_not_of("0123456789abcdef") == std::string::npos;
}

/// Relative, inside the directory, the same on every system.
bool isSafePath(const std::string &path) {
  if (path.empty() || path.size() > 4096 || path.front() == '/' || path.find('\\') != std::string::npos ||
      path.find('\0') != std::string::npos || (path.size() > 1 && path[1] == ':'))
    return false;
  for (size_t begin = 0; begin <= path.size();) {
    size_t end = std::min(path.find('/', begin), path.size());
    std::string part = path.substr(begin, end - begin);
    if (part.empty() || part == "." || part == "..")
      return false;
    begin = end + 1;
  }
  return true;
}

void checkFiles(Problems &p, const Executable &exe) {
  std::set<std::string> paths;
  for (size_t i = 0; i < exe.files.size() && !p.full(); ++i) {
    const WeightFile &f = exe.files[i];
    std::string where = "weight file " + std::to_string(i);
    p.require(isSafePath(f.path), where, "path " + quoted(f.path) + " must be relative and stay beside the executable");
    p.require(paths.insert(f.path).second, where, "path " + quoted(f.path) + " is listed twice");
    p.require(f.bytes >= 0 && f.bytes <= maxBytes, where, "length " + std::to_string(f.bytes) + " is out of range");
    p.require(f.sha256.empty() || isHash(f.sha256), where, "the SHA-256 is not 64 lower-case hexadecimal digits");
  }
}

void checkWeight(Problems &p, const std::string &where, const Executable &exe, const Weight &w, int64_t dataBytes) {
  if (!checkTensor(p, where, w.dtype, w.shape) ||
      !p.require(w.file >= -1 && w.file < static_cast<int64_t>(exe.files.size()), where,
                 "file number " + std::to_string(w.file) + " does not exist"))
    return;
  int64_t limit = w.file < 0 ? dataBytes : exe.files[w.file].bytes, bytes = byteSize(w.dtype, w.shape);
  p.require(w.offset >= 0 && w.offset <= limit && bytes <= limit - w.offset, where,
            std::to_string(bytes) + " bytes at offset " + std::to_string(w.offset) + " leave the " +
                std::to_string(limit) + " bytes of " + (w.file < 0 ? "the data section" : "its file"));
  Shape shape = w.shape;
  for (const Slice &s : w.slices) {
    if (!p.require(s.dim >= 0 && s.dim < static_cast<int64_t>(shape.size()), where,
                   "slice of a dimension that does not exist") ||
        !p.require(s.start >= 0 && s.size >= 0 && s.start <= shape[s.dim] && s.size <= shape[s.dim] - s.start, where,
                   "slice leaves its dimension of size " + std::to_string(shape[s.dim])))
      return;
    shape[s.dim] = s.size;
  }
  checkLayout(p, where, shape, w.layout);
}

/// The two programs of an entry must be interchangeable to a caller.
void checkPorts(Problems &p, const std::string &where, const std::vector<Port> &split,
                const std::vector<Port> &reference, const char *what) {
  if (!p.require(split.size() == reference.size(), where, std::string("the two programs have different ") + what + "s"))
    return;
  std::set<std::string> names;
  for (size_t i = 0; i < split.size() && !p.full(); ++i) {
    const Port &a = split[i], &b = reference[i];
    bool same =
        std::equal(a.pads.begin(), a.pads.end(), b.pads.begin(), b.pads.end(), [](const PadDim &x, const PadDim &y) {
          return x.dim == y.dim && x.symbol == y.symbol && x.offset == y.offset;
        });
    p.require(same && a.name == b.name && a.dtype == b.dtype && a.shape == b.shape, where,
              std::string(what) + " " + quoted(a.name) + " differs between the two programs");
    p.require(!a.name.empty(), where, std::string(what) + " without a name");
    p.require(names.insert(a.name).second, where, std::string(what) + " " + quoted(a.name) + " appears twice");
  }
}

const Port *findPort(const std::vector<Port> &ports, const std::string &name) {
  for (const Port &port : ports)
    if (port.name == name)
      return &port;
  return nullptr;
}

/// Sizes of calls: in range, each read from an input that a caller gives.
void checkPads(Problems &p, const std::string &where, const Entry &entry) {
  const Program &program = entry.split;
  size_t hidden = 0, symbols = entry.pads.size();
  for (const PadSymbol &symbol : entry.pads)
    hidden += symbol.input >= 0;
  if (!p.require(symbols <= 64 && hidden <= program.inputs.size(), where, "more symbols than inputs"))
    return;
  size_t next = program.inputs.size() - hidden;
  for (const PadSymbol &symbol : entry.pads) {
    p.require(!symbol.name.empty() && symbol.least >= 0 && symbol.least <= symbol.size && symbol.size <= maxBytes,
              where, "the sizes of symbol " + quoted(symbol.name) + " are out of range");
    if (symbol.input < 0)
      continue;
    if (p.require(symbol.input == static_cast<int64_t>(next), where,
                  "the sizes of symbols are not the last inputs, in order")) {
      const Port &port = program.inputs[next];
      p.require(port.dtype == DType::I64 && port.shape == Shape{1} && port.pads.empty() && port.fixed.empty(), where,
                "the size of symbol " + quoted(symbol.name) + " is not one number of type i64");
    }
    ++next;
  }
  std::set<int64_t> read;
  for (const auto *ports : {&program.inputs, &program.outputs})
    for (const Port &port : *ports) {
      std::set<int64_t> dims;
      for (const PadDim &pad : port.pads) {
        bool known = pad.symbol >= 0 && pad.symbol < static_cast<int64_t>(symbols) && pad.dim >= 0 &&
                     pad.dim < static_cast<int64_t>(port.shape.size()) && dims.insert(pad.dim).second &&
                     pad.offset >= -maxBytes && pad.offset <= maxBytes;
        if (!p.require(known, where, "a dimension of " + quoted(port.name) + " follows no symbol"))
          continue;
        const PadSymbol &symbol = entry.pads[static_cast<size_t>(pad.symbol)];
        p.require(port.shape[static_cast<size_t>(pad.dim)] == symbol.size + pad.offset &&
                      symbol.least + pad.offset >= 0,
                  where, "a dimension of " + quoted(port.name) + " has another size than its symbol says");
        if (ports == &program.inputs)
          read.insert(pad.symbol);
      }
    }
  p.require(read.size() == symbols, where, "no input tells the size of a symbol");
}

void checkEntry(Problems &p, const std::string &where, const Executable &exe, const Entry &entry) {
  checkProgram(p, where + " split", exe, entry.split);
  checkProgram(p, where + " reference", exe, entry.reference);
  p.require(entry.reference.grid.ranks() == 1, where, "the reference program is not for one rank");
  checkPorts(p, where, entry.split.inputs, entry.reference.inputs, "input");
  checkPorts(p, where, entry.split.outputs, entry.reference.outputs, "output");
  checkPads(p, where, entry);
  std::set<std::string> used;
  for (const StatePair &s : entry.states) {
    const Port *in = findPort(entry.split.inputs, s.input), *out = findPort(entry.split.outputs, s.output);
    if (p.require(in && out, where,
                  "state " + quoted(s.input) + " <- " + quoted(s.output) + " names no input or no output"))
      p.require(in->dtype == out->dtype, where, "state " + quoted(s.input) + " changes its element type");
    p.require(used.insert(s.input).second, where, "state " + quoted(s.input) + " appears twice");
  }
}
} // namespace

std::vector<std::string> validate(const Executable &exe, int64_t dataBytes) {
  Problems p;
  if (dataBytes < 0)
    dataBytes = static_cast<int64_t>(exe.data.size());
  checkFiles(p, exe);
  for (size_t i = 0; i < exe.weights.size() && !p.full(); ++i)
    checkWeight(p, "weight " + std::to_string(i) + " " + quoted(exe.weights[i].name), exe, exe.weights[i], dataBytes);
  std::set<std::string> levels;
  for (const NativeObject &o : exe.objects) {
    p.require(!o.isa.empty() && levels.insert(o.isa).second, "native object " + quoted(o.isa),
              "the ISA level is empty or appears twice");
    p.require(!o.bytes.empty(), "native object " + quoted(o.isa), "it is empty");
  }
  checkKernels(p, exe);
  if (!p.list.empty())
    return p.list; // programs are checked against sound weights and kernels only
  p.require(!exe.entries.empty(), "executable", "it has no entry");
  std::set<std::string> names;
  for (size_t i = 0; i < exe.entries.size() && !p.full(); ++i) {
    const Entry &entry = exe.entries[i];
    std::string where = "entry " + std::to_string(i) + " " + quoted(entry.name);
    p.require(names.insert(entry.name).second, where, "another entry has this name");
    checkEntry(p, where, exe, entry);
  }
  return p.list;
}

} // namespace comm::exe
