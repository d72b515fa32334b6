//===- WrongSlices.h - seeds faults of the kind "wrong part of a tensor" --===//
// Everything that says which part a rank holds, reads, sends or writes is altered, one place at a time: windows and
// layouts of weights, views, strides and offsets of copies, shards, axes, roots, masks, layouts of outputs.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <functional>
#include <set>

namespace comm::proof {

struct Mutant {
  exe::Executable exe;
  std::string what;
};

class WrongSlices {
public:
  /// `visit` sees each mutant that the format accepts, of every `stride` one.
  WrongSlices(const exe::Executable &exe, size_t entry, size_t stride, std::function<void(const Mutant &)> visit)
      : original(exe), entry(entry), stride(stride), visit(std::move(visit)) {}

  void run() {
    weights();
    values();
    commands();
    outputs();
  }

private:
  exe::Program &program(exe::Executable &e) { return e.entries[entry].split; }
  template <class Edit> void add(const std::string &what, Edit edit) {
    if (count++ % stride != 0)
      return;
    Mutant m{original, what};
    edit(m.exe);
    if (exe::validate(m.exe).empty())
      visit(m);
  }

  /// The split program gets a weight of its own: the reference keeps the right one.
  template <class Edit> void addWeight(int64_t index, const std::string &what, Edit edit) {
    add("weight " + std::to_string(index) + " '" + original.weights[size_t(index)].name + "': " + what,
        [&](exe::Executable &e) {
          exe::Weight copy = e.weights[size_t(index)];
          edit(copy);
          e.weights.push_back(copy);
          for (exe::Value &v : program(e).values)
            if (v.storage == exe::Storage::Weight && v.index == index)
              v.index = int64_t(e.weights.size()) - 1;
        });
  }

  void weights() {
    std::set<int64_t> used;
    const exe::Program &p = original.entries[entry].split;
    for (const exe::Command &c : p.commands)
      for (int32_t v : c.inputs)
        if (p.values[size_t(v)].storage == exe::Storage::Weight)
          used.insert(p.values[size_t(v)].index);
    for (int64_t w : used) {
      const exe::Weight &weight = original.weights[size_t(w)];
      int64_t width = exe::byteWidth(weight.dtype), row = weight.shape.empty() ? 1 : weight.shape.back();
      for (int64_t shift : {width, -width, row * width, -row * width})
        addWeight(w, "offset moved by " + std::to_string(shift), [&](exe::Weight &x) { x.offset += shift; });
      for (size_t s = 0; s < weight.slices.size(); ++s)
        for (int64_t by : {int64_t(1), int64_t(-1), weight.slices[s].size})
          addWeight(w, "slice moved by " + std::to_string(by), [&](exe::Weight &x) { x.slices[s].start += by; });
      for (size_t d = 0; d < weight.layout.dims.size(); ++d) {
        if (weight.layout.dims[d].axes.empty())
          continue;
        addWeight(w, "not split", [&](exe::Weight &x) { x.layout.dims[d].axes.clear(); });
        for (int64_t grain : {int64_t(1), int64_t(2), int64_t(8)})
          if (grain != weight.layout.dims[d].grain)
            addWeight(w, "grain " + std::to_string(grain), [&](exe::Weight &x) { x.layout.dims[d].grain = grain; });
        for (size_t other = 0; other < weight.layout.dims.size(); ++other)
          if (other != d)
            addWeight(w, "split on dimension " + std::to_string(other),
                      [&](exe::Weight &x) { std::swap(x.layout.dims[d], x.layout.dims[other]); });
      }
    }
  }

  /// One operand of one command reads or writes beside its place.
  void values() {
    const exe::Program &p = original.entries[entry].split;
    for (size_t i = 0; i < p.commands.size(); ++i)
      for (bool result : {false, true}) {
        const auto &list = result ? p.commands[i].outputs : p.commands[i].inputs;
        for (size_t k = 0; k < list.size(); ++k) {
          const exe::Value &v = p.values[size_t(list[k])];
          int64_t width = exe::byteWidth(v.dtype), row = v.shape.empty() ? 1 : v.shape.back();
          for (int64_t shift : {width, -row * width})
            add(place(i) + (result ? " result " : " operand ") + std::to_string(k) + " moved by " +
                    std::to_string(shift),
                [&](exe::Executable &e) {
                  exe::Value moved = v;
                  moved.offset += shift;
                  program(e).values.push_back(moved);
                  exe::Command &c = program(e).commands[i];
                  (result ? c.outputs : c.inputs)[k] = int32_t(program(e).values.size()) - 1;
                });
        }
      }
  }

  std::string place(size_t i) const {
    const exe::Command &c = original.entries[entry].split.commands[i];
    return "command " + std::to_string(i) + " " + c.op;
  }
  template <class T, class Edit> void addAttr(size_t i, const char *key, const std::string &what, Edit edit) {
    auto it = original.entries[entry].split.commands[i].attrs.find(key);
    if (it == original.entries[entry].split.commands[i].attrs.end() || !std::get_if<T>(&it->second))
      return;
    add(place(i) + " " + key + " " + what,
        [&](exe::Executable &e) { edit(std::get<T>(program(e).commands[i].attrs[key]), program(e).commands[i]); });
  }

  void commands() {
    using Ints = std::vector<int64_t>;
    using Names = std::vector<std::string>;
    for (size_t i = 0; i < original.entries[entry].split.commands.size(); ++i) {
      const std::string &op = original.entries[entry].split.commands[i].op;
      for (const char *key : {"in_offset", "out_offset", "causal_offset", "root", "shift"})
        for (int64_t by : {1, -1})
          addAttr<int64_t>(i, key, "moved by " + std::to_string(by), [&](int64_t &v, exe::Command &) { v += by; });
      for (const char *key : {"dim", "axis"})
        for (int64_t by : {1, -1})
          addAttr<int64_t>(i, key, "moved by " + std::to_string(by), [&](int64_t &v, exe::Command &) { v += by; });
      for (const char *key : {"transpose_a", "transpose_b", "causal", "rotated"})
        addAttr<int64_t>(i, key, "turned", [&](int64_t &v, exe::Command &) { v = !v; });
      addAttr<int64_t>(i, "grain", "doubled", [&](int64_t &v, exe::Command &) { v *= 2; });
      if (op != "kernel")
        addAttr<Names>(i, "axes", "dropped", [&](Names &v, exe::Command &) { v.clear(); });
      for (const char *key : {"in_strides", "out_strides"})
        addAttr<Ints>(i, key, "exchanged", [&](Ints &v, exe::Command &) {
          if (v.size() > 1)
            std::swap(v[0], v[1]);
        });
      addAttr<Ints>(i, "dims", "one less", [&](Ints &v, exe::Command &) {
        if (!v.empty())
          --v[0];
      });
    }
  }

  void outputs() {
    const exe::Program &p = original.entries[entry].split;
    for (size_t i = 0; i < p.outputs.size(); ++i)
      for (size_t d = 0; d < p.outputs[i].layout.dims.size(); ++d)
        for (int64_t grain : {int64_t(2), int64_t(4)})
          if (!p.outputs[i].layout.dims[d].axes.empty())
            add("output " + std::to_string(i) + " grain " + std::to_string(grain),
                [&](exe::Executable &e) { program(e).outputs[i].layout.dims[d].grain = grain; });
  }

  const exe::Executable &original;
  size_t entry, stride, count = 0;
  std::function<void(const Mutant &)> visit;
};

} // namespace comm::proof
