//===- ResidentState.h - a state that stays with the ranks ------*- C++ -*-===//
#pragma once
#include "runtime/Core/StateUse.h"

namespace comm::rt {

/// Every rank's part of one state, in memory that the ranks read and write and the caller can look at. A rank has two
/// halves, each large enough for the part before a call and after it: a call reads the one and writes the other, and
/// the next call the other way round. Where the program only appends (Growth) it reads and writes the same place: what
/// it goes on from lies in the first positions of its output already, one position further in memory for each one that
/// leaves the window. New positions then lie where those were that have left:
///
///     [a0 a1 a2][b0 b1 b2]       two blocks after a call that appended a2 and b2 to windows of two
///        [a1 a2 A3][b1 b2 B3]    the next call: A3 lies where b0 was
///
/// In both ways what a call was to read is whole after that call has failed.
class ResidentState {
public:
  struct Place {
    uint8_t *memory = nullptr; ///< of rank 0
    size_t stride = 0;         ///< bytes to the next rank: two halves
    int64_t ranks = 1;
  };
  explicit ResidentState(const Place &place) : place(place) {}
  /// The stride of states with parts of up to so many bytes.
  static size_t strideFor(size_t partBytes) { return (partBytes + 64) / 64 * 128; }

  bool there() const { return known; }
  const exe::Shape &shape() const { return state.shape; } ///< of the whole tensor
  exe::DType dtype() const { return state.dtype; }
  size_t stride() const { return place.stride; }
  void forget();
  /// A copy of the caller's; `port` is one that has this state.
  void set(const exe::Port &port, const exe::Shape &, const void *data, size_t bytes);
  void get(void *to) const;

  /// Before a run: `in` and `out` become the places of rank 0. `given`: what is read instead of the state, which stays
  /// what it is. `last`: of more positions than the input has the last are taken, else the first.
  void load(const exe::Program &, const StateUse &, const void *given, bool last, uint8_t *&in, uint8_t *&out);
  /// After a good run: what lies at `out` is the state.
  void keep(const exe::Program &, const StateUse &, const uint8_t *out);

private:
  /// Where a rank's part lies: along `axis`, `pitch` positions from one block to the next.
  struct Window {
    size_t offset = 0, axis = 0;
    int64_t pitch = 0;
  };
  size_t half() const { return place.stride / 2; }
  exe::Shape partOf(const exe::Shape &) const;
  /// Bytes from the first to the last one.
  size_t span(const Window &, const exe::Shape &part) const;
  /// Of the window as it is seen along another axis; false when it has gaps.
  bool turn(size_t axis, Window &) const;
  bool goesOn(const exe::Shape &part, bool last, size_t room, Window &target) const;
  bool moveHere(const exe::Shape &to, bool last, const Window &target) const;
  void loadWhole(const exe::Port &, const void *given, bool last, const Window &target);
  void scatter(const exe::Port &to, const uint8_t *from, const Window &target) const;

  const Place place;
  bool known = false;
  exe::Port state; ///< type, layout and shape
  exe::Grid grid;
  std::vector<uint8_t> own; ///< the whole tensor when `inPlace` is not set
  bool inPlace = false;
  Window window; ///< when it is
};

} // namespace comm::rt
