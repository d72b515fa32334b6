//===- EqualityState.h - the memory of all ranks, as views (private) -*- C++ -*-===//
#pragma once
#include "EqualityTerms.h"
#include "comm/Executable/Executable.h"
#include <memory>
#include <optional>

namespace comm::proof {

using SharedView = std::shared_ptr<const View>;

/// Tensors of the executable's own data section, by what they hold: programs that are to be equal may have made them
/// apart from each other.
class Constants {
public:
  Constants(const exe::Executable &exe, exe::DataView data);
  /// Bytes from the start of the data section to the first known weight of the same content.
  int64_t offset(int64_t weight);
  /// The value of all elements as a term's name, "" for zero; none when they differ.
  std::optional<std::string> splat(int64_t weight) const;

private:
  bool bytesOf(int64_t weight, std::string_view &out) const;
  const exe::Executable &exe;
  exe::DataView data;
  std::map<std::pair<exe::DType, std::string_view>, int64_t> known;
};

/// One program in execution: what every byte range of every rank's storage holds.
class State {
public:
  /// One program per rank.
  State(const exe::Executable &exe, const std::vector<const exe::Program *> &programs, Constants &constants,
        Terms &terms);
  /// The tensor that a value names, by linear index.
  SharedView read(int64_t rank, int32_t value);
  void write(int64_t rank, int32_t value, SharedView view);
  const exe::Program &program(int64_t rank) const { return *programs[static_cast<size_t>(rank)]; }
  const exe::Value &value(int64_t rank, int32_t v) const { return program(rank).values[static_cast<size_t>(v)]; }
  int64_t ranks() const { return static_cast<int64_t>(programs.size()); }

  const exe::Executable &exe;
  const std::vector<const exe::Program *> programs;
  const exe::Grid &grid;
  Constants &constants;
  Terms &terms;

private:
  struct Region {
    int64_t end = 0; ///< bytes
    exe::DType dtype = exe::DType::F32;
    SharedView view;
    int64_t skip = 0; ///< elements of the view before the region
  };
  using Memory = std::map<int64_t, Region>;
  Memory &memory(int64_t rank, const exe::Value &);
  SharedView weight(int64_t rank, const exe::Value &);
  SharedView weightWhole(int64_t rank, int64_t index);

  std::map<std::array<int64_t, 3>, Memory> memories;        ///< by rank, storage, number
  std::map<std::pair<int64_t, int64_t>, SharedView> loaded; ///< by weight, rank
};

/// What a rank holds of a whole tensor, as a box: by local index, with the strides of the whole; and the fill.
exe::Shape localBox(const exe::Shape &whole, const exe::Layout &, const exe::Grid &, int64_t rank, Access &box);

} // namespace comm::proof
