//===- ResidentState.cpp - a state that stays with the ranks --------------===//
#include "runtime/Core/ResidentState.h"
#include "runtime/Core/PortTransfer.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {
namespace {
/// Blocks of `bytes` each, `fromPitch` and `toPitch` bytes apart.
void copyBlocks(int64_t blocks, size_t bytes, const uint8_t *from, size_t fromPitch, uint8_t *to, size_t toPitch) {
  if (bytes == fromPitch && bytes == toPitch) {
    bytes *= static_cast<size_t>(blocks);
    blocks = 1;
  }
  for (int64_t b = 0; b < blocks && bytes > 0; ++b)
    std::memcpy(to + static_cast<size_t>(b) * toPitch, from + static_cast<size_t>(b) * fromPitch, bytes);
}

/// A tensor in memory, cut along an axis; the pitch is in positions.
struct Blocks {
  uint8_t *at;
  AxisView view;
  int64_t pitch;
  size_t pitchBytes() const { return static_cast<size_t>(pitch * view.innerBytes); }
};

/// The first or last positions of `from` that `to` has room for, zeros where it has more.
void fitInto(const Blocks &from, const Blocks &to, bool last) {
  int64_t common = std::min(from.view.size, to.view.size), rest = to.view.size - common, inner = to.view.innerBytes;
  const uint8_t *source = from.at + (last ? from.view.size - common : 0) * inner;
  copyBlocks(to.view.outer, static_cast<size_t>(common * inner), source, from.pitchBytes(),
             to.at + (last ? rest : 0) * inner, to.pitchBytes());
  for (int64_t b = 0; b < to.view.outer && rest > 0; ++b)
    std::memset(to.at + b * to.pitch * inner + (last ? 0 : common * inner), 0, static_cast<size_t>(rest * inner));
}

/// The dimension in which two shapes of one rank differ, else `otherwise`.
size_t differing(const exe::Shape &a, const exe::Shape &b, size_t otherwise) {
  for (size_t d = 0; d < a.size(); ++d)
    if (a[d] != b[d])
      return d;
  return otherwise;
}

bool sameBut(const exe::Shape &a, const exe::Shape &b, size_t axis) {
  for (size_t d = 0; d < a.size(); ++d)
    if (d != axis && a[d] != b[d])
      return false;
  return true;
}
size_t bytesOf(const exe::Port &port) { return static_cast<size_t>(exe::byteSize(port.dtype, port.shape)); }
bool apart(size_t a, size_t aBytes, size_t b, size_t bBytes) { return a + aBytes <= b || b + bBytes <= a; }
} // namespace

void ResidentState::forget() {
  known = inPlace = false;
  own.clear();
}

void ResidentState::set(const exe::Port &port, const exe::Shape &shape, const void *data, size_t bytes) {
  forget();
  state = port;
  state.shape = shape;
  own.resize(bytes);
  if (bytes > 0)
    std::memcpy(own.data(), data, bytes);
  known = true;
}

exe::Shape ResidentState::partOf(const exe::Shape &whole) const { return exe::localShape(whole, state.layout, grid); }

size_t ResidentState::span(const Window &w, const exe::Shape &part) const {
  AxisView view(part, w.axis, state.dtype);
  return static_cast<size_t>((std::max<int64_t>(0, view.outer - 1) * w.pitch + view.size) * view.innerBytes);
}

bool ResidentState::turn(size_t axis, Window &w) const {
  exe::Shape part = partOf(state.shape);
  if (axis == w.axis || part.empty())
    return true;
  bool gaps = w.pitch != part[w.axis];
  w.axis = axis;
  w.pitch = part[axis];
  return !gaps;
}

void ResidentState::get(void *to) const {
  auto *all = static_cast<uint8_t *>(to);
  if (bytesOf(state) == 0) // there may be no memory at all
    return;
  if (!inPlace) {
    std::memcpy(all, own.data(), own.size());
    return;
  }
  AxisView view(partOf(state.shape), window.axis, state.dtype);
  std::vector<uint8_t> part(static_cast<size_t>(view.outer * view.size * view.innerBytes));
  for (int64_t rank = 0; rank < place.ranks; ++rank) {
    PortTransfer transfer(state, grid, rank);
    if (!transfer.writes())
      continue;
    Blocks from{place.memory + static_cast<size_t>(rank) * place.stride + window.offset, view, window.pitch};
    if (from.pitch == view.size) {
      transfer.toWhole(from.at, all);
      continue;
    }
    fitInto(from, {part.data(), view, view.size}, false);
    transfer.toWhole(part.data(), all);
  }
}

/// A whole tensor to every rank.
void ResidentState::scatter(const exe::Port &to, const uint8_t *from, const Window &target) const {
  if (bytesOf(to) == 0)
    return;
  AxisView view(partOf(to.shape), target.axis, to.dtype);
  std::vector<uint8_t> part(target.pitch == view.size ? 0
                                                      : static_cast<size_t>(view.outer * view.size * view.innerBytes));
  for (int64_t rank = 0; rank < place.ranks; ++rank) {
    uint8_t *at = place.memory + static_cast<size_t>(rank) * place.stride + target.offset;
    PortTransfer(to, grid, rank).toLocal(from, part.empty() ? at : part.data());
    if (!part.empty())
      fitInto({part.data(), view, view.size}, {at, view, target.pitch}, false);
  }
}

/// From the window to another one, in the memory of the ranks; false when one lies over the other.
bool ResidentState::moveHere(const exe::Shape &to, bool last, const Window &target) const {
  exe::Shape from = partOf(state.shape), part = partOf(to);
  Window source = window;
  if (!turn(target.axis, source) || !sameBut(from, part, target.axis) ||
      !apart(source.offset, span(source, from), target.offset, span(target, part)))
    return false;
  for (int64_t rank = 0; rank < place.ranks; ++rank) {
    uint8_t *memory = place.memory + static_cast<size_t>(rank) * place.stride;
    fitInto({memory + source.offset, AxisView(from, target.axis, state.dtype), source.pitch},
            {memory + target.offset, AxisView(part, target.axis, state.dtype), target.pitch}, last);
  }
  return true;
}

/// The window of which the next call reads `part` from where it is, `room` bytes from there; false when it has to move.
bool ResidentState::goesOn(const exe::Shape &part, bool last, size_t room, Window &target) const {
  Window source = window;
  exe::Shape from = partOf(state.shape);
  if (!inPlace || !turn(target.axis, source) || source.pitch != target.pitch || !sameBut(from, part, target.axis))
    return false;
  AxisView view(from, target.axis, state.dtype);
  int64_t leaving = part.empty() ? 0 : view.size - part[target.axis];
  target.offset = source.offset + static_cast<size_t>(last && leaving > 0 ? leaving * view.innerBytes : 0);
  return leaving >= 0 && target.offset + room <= place.stride;
}

/// What the window does not hold, or where it cannot be moved at once.
void ResidentState::loadWhole(const exe::Port &port, const void *given, bool last, const Window &target) {
  if (inPlace) { // in the way
    own.resize(bytesOf(state));
    get(own.data());
    inPlace = false;
  }
  if (given)
    return scatter(port, static_cast<const uint8_t *>(given), target);
  std::vector<uint8_t> fitted(bytesOf(port)); // zeros
  if (known) {
    size_t axis = differing(state.shape, port.shape, 0);
    AxisView from(state.shape, axis, port.dtype), to(port.shape, axis, port.dtype);
    fitInto({own.data(), from, from.size}, {fitted.data(), to, to.size}, last);
  }
  scatter(port, fitted.data(), target);
}

void ResidentState::load(const exe::Program &program, const StateUse &use, const void *given, bool last, uint8_t *&in,
                         uint8_t *&out) {
  const exe::Port &port = program.inputs[use.input];
  if (!known)
    state = port;
  grid = program.grid;
  exe::Shape part = partOf(port.shape), after = partOf(program.outputs[use.output].shape);
  size_t axis = known ? differing(state.shape, port.shape, 0) : 0;
  Window target{0, axis, part.empty() ? 1 : part[axis]}; // as the program reads it
  bool grows = use.growth.copy >= 0, stays = false;
  if (grows && !given) {
    Window wide{0, use.growth.axis, after[use.growth.axis]};
    stays = goesOn(part, last, static_cast<size_t>(exe::byteSize(port.dtype, after)), wide);
    if (stays)
      target = wide;
  }
  if (!stays && !given && goesOn(part, last, span(target, part), target) &&
      (target.offset + span(target, part) <= half() || target.offset >= half())) {
    stays = true;
    grows = false; // the program copies it to the other half
  }
  if (!stays) {
    if (grows)
      target = {0, use.growth.axis, after[use.growth.axis]};
    target.offset = 0;
    bool moved = inPlace && !given && moveHere(port.shape, last, target);
    if (!moved && inPlace && !given) {
      target.offset = half();
      moved = moveHere(port.shape, last, target);
    }
    if (!moved) {
      target.offset = 0;
      loadWhole(port, given, last, target);
    }
  }
  in = place.memory + target.offset;
  out = grows ? in : place.memory + (target.offset < half() ? half() : 0);
  if (given || !known)
    return;
  // The run may write over where it came from; should it fail, this is what is left.
  state = port;
  window = target;
  inPlace = true;
  own.clear();
}

void ResidentState::keep(const exe::Program &program, const StateUse &use, const uint8_t *out) {
  forget();
  state = program.outputs[use.output];
  grid = program.grid;
  exe::Shape part = partOf(state.shape);
  window.axis = use.growth.copy >= 0 ? use.growth.axis : 0;
  window.offset = static_cast<size_t>(out - place.memory);
  window.pitch = part.empty() ? 1 : part[window.axis];
  known = inPlace = true;
}

} // namespace comm::rt
