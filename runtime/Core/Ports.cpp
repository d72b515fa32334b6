//===- Ports.cpp - inputs and outputs of a run on one rank ----------------===//
#include "runtime/Core/Ports.h"
#include <algorithm>
#include <cstring>

namespace comm::rt {

Status Ports::add(const exe::Port &port, bool needsRoom, bool output, int64_t rank, bool ownOutputs) {
  State s{&port, PortTransfer(port, program->grid, rank)};
  s.piece = s.transfer.piece();
  s.writer = s.transfer.writes() || ownOutputs;
  s.bytes = s.transfer.localBytes();
  if (needsRoom && (s.piece < 0 || (output && !s.writer))) {
    size_t room = (static_cast<size_t>(s.bytes) + 64) / 64 * 64;
    s.local.reset(static_cast<uint8_t *>(std::aligned_alloc(64, room)));
    if (!s.local)
      return {Code::OutOfMemory, "no memory for a part of an input or output (" + std::to_string(s.bytes) + " bytes)"};
  }
  (output ? outs : ins).push_back(std::move(s));
  return Status::ok();
}

Status Ports::prepare(const exe::Program &of, int64_t rank, bool ownOutputs) {
  program = &of;
  for (const exe::Port &port : of.inputs)
    if (Status s = add(port, port.value >= 0, false, rank, ownOutputs); !s)
      return s;
  for (const exe::Port &port : of.outputs) {
    auto index = static_cast<int64_t>(outs.size());
    bool written = std::any_of(of.values.begin(), of.values.end(), [&](const exe::Value &v) {
      return v.storage == exe::Storage::Output && v.index == index;
    });
    if (Status s = add(port, written, true, rank, ownOutputs); !s)
      return s;
  }
  return Status::ok();
}

void Ports::place(const std::vector<const void *> &inputs, const std::vector<void *> &outputs, const PartPorts &parts) {
  auto placeOne = [](State &s, void *given, size_t stride) {
    s.part = stride > 0;
    s.given = static_cast<uint8_t *>(given);
    s.now = s.part ? s.given : s.local ? s.local.get() : s.piece >= 0 ? s.given + s.piece : nullptr;
  };
  for (size_t i = 0; i < ins.size(); ++i)
    placeOne(ins[i], const_cast<void *>(inputs[i]), PartPorts::stride(parts.inputs, i));
  for (size_t i = 0; i < outs.size(); ++i)
    placeOne(outs[i], outputs[i], PartPorts::stride(parts.outputs, i));
}

uint8_t *Ports::address(const exe::Value &v) const {
  return (v.storage == exe::Storage::Input ? ins : outs)[static_cast<size_t>(v.index)].now + v.offset;
}

bool Ports::isOnePlace(const StateUse &use) const {
  const State &in = ins[use.input], &out = outs[use.output];
  return in.part && out.part && in.now == out.now;
}

int64_t Ports::load(uint8_t *arena) const {
  int64_t cut = 0;
  for (const State &s : ins) {
    if (s.port->value < 0)
      continue;
    if (!s.part && s.local) {
      s.transfer.toLocal(s.given, s.local.get());
      cut += s.bytes;
    }
    const exe::Value &v = program->values[static_cast<size_t>(s.port->value)];
    if (v.storage == exe::Storage::Arena)
      std::memcpy(arena + v.offset, s.now, static_cast<size_t>(s.bytes));
  }
  return cut;
}

int64_t Ports::store(const std::function<const uint8_t *(int32_t value)> &address) const {
  int64_t copied = 0;
  for (const State &s : outs) {
    const uint8_t *local = address(s.port->value);
    if (s.part ? local == s.given : !s.writer || (s.piece >= 0 && local == s.given + s.piece))
      continue;
    if (s.part)
      std::memcpy(s.given, local, static_cast<size_t>(s.bytes));
    else
      s.transfer.toWhole(local, s.given);
    copied += s.bytes;
  }
  return copied;
}

} // namespace comm::rt
