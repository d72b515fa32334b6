//===- ByteMap.h - what each byte holds (private) ---------------*- C++ -*-===//
#pragma once
#include <cstdint>
#include <iterator>
#include <map>

namespace comm::proof {

/// Disjoint intervals, each with a value; the bytes between them have none. Operations cost a search and a step per
/// interval that they meet.
template <class T> class ByteMap {
public:
  /// fn(begin, end, const T *) for every piece of [begin, end) in order; null where there is nothing.
  template <class Fn> void visit(int64_t begin, int64_t end, Fn fn) const {
    auto it = at(begin);
    while (begin < end) {
      if (it == pieces.end() || it->first >= end) {
        fn(begin, end, static_cast<const T *>(nullptr));
        return;
      }
      if (it->first > begin) {
        fn(begin, it->first, static_cast<const T *>(nullptr));
        begin = it->first;
      }
      int64_t stop = it->second.end < end ? it->second.end : end;
      fn(begin, stop, &it->second.value);
      begin = stop;
      ++it;
    }
  }
  void erase(int64_t begin, int64_t end) {
    if (begin >= end)
      return;
    split(begin);
    split(end);
    pieces.erase(pieces.lower_bound(begin), pieces.lower_bound(end));
  }
  void assign(int64_t begin, int64_t end, T value) {
    if (begin >= end)
      return;
    erase(begin, end);
    pieces.emplace(begin, Piece{end, std::move(value)});
  }
  /// fn(T &) on every piece of [begin, end) after cutting at both ends; gaps get `fresh` first.
  template <class Fn> void update(int64_t begin, int64_t end, const T &fresh, Fn fn) {
    if (begin >= end)
      return;
    split(begin);
    split(end);
    auto it = pieces.lower_bound(begin);
    while (begin < end) {
      if (it == pieces.end() || it->first > begin) {
        int64_t stop = it == pieces.end() || it->first > end ? end : it->first;
        it = pieces.emplace_hint(it, begin, Piece{stop, fresh});
      }
      fn(it->second.value);
      begin = it->second.end;
      ++it;
    }
  }

private:
  struct Piece {
    int64_t end;
    T value;
  };
  /// First piece that ends behind `begin`.
  typename std::map<int64_t, Piece>::const_iterator at(int64_t begin) const {
    auto it = pieces.upper_bound(begin);
    if (it != pieces.begin() && std::prev(it)->second.end > begin)
      --it;
    return it;
  }
  void split(int64_t where) {
    auto it = pieces.lower_bound(where);
    if (it == pieces.begin())
      return;
    --it;
    if (it->second.end <= where)
      return;
    Piece right{it->second.end, it->second.value};
    it->second.end = where;
    pieces.emplace(where, std::move(right));
  }
  std::map<int64_t, Piece> pieces;
};

} // namespace comm::proof
