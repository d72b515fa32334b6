//===- Ports.h - inputs and outputs of a run on one rank --------*- C++ -*-===//
#pragma once
#include "runtime/Core/PortTransfer.h"
#include "runtime/Core/StateUse.h"
#include "runtime/Transport/Transport.h"
#include <cstdlib>
#include <functional>
#include <memory>

namespace comm::rt {

/// Ports of a run that come as every rank's part, in memory of its own: by port, the bytes from one rank's part to the
/// next one's; 0 or missing: the whole tensor.
struct PartPorts {
  std::vector<size_t> inputs, outputs;
  static size_t stride(const std::vector<size_t> &list, size_t port) { return port < list.size() ? list[port] : 0; }
};

/// Where the parts of one rank lie: in the whole tensor, where they are one piece of it, in memory that is given for
/// parts, or in memory of their own, from and to which they are copied.
class Ports {
public:
  /// `ownOutputs`: this rank writes all outputs it holds. The program is borrowed. Fails when there is no memory.
  Status prepare(const exe::Program &, int64_t rank, bool ownOutputs);

  /// Where everything lies in this run.
  void place(const std::vector<const void *> &inputs, const std::vector<void *> &outputs, const PartPorts &);
  /// Of an input or output value, after place().
  uint8_t *address(const exe::Value &) const;
  /// Whether this run reads and writes parts of a state in one place.
  bool isOnePlace(const StateUse &) const;
  /// Copies what does not lie where commands read it. Returns the bytes that were cut out of whole tensors.
  int64_t load(uint8_t *arena) const;
  /// Copies results to where they belong; `address` is that of a value. Returns the bytes.
  int64_t store(const std::function<const uint8_t *(int32_t value)> &address) const;

private:
  struct Free {
    void operator()(void *p) const { std::free(p); }
  };
  struct State {
    const exe::Port *port;
    PortTransfer transfer;
    int64_t piece = -1;  ///< where this rank's part lies in the whole tensor, which it then uses in place
    bool writer = false; ///< of outputs
    std::unique_ptr<uint8_t, Free> local;     ///< for what is no such piece, or an output that another rank writes
    int64_t bytes = 0;                        ///< of the local part
    bool part = false;                        ///< in this run: what is given is the local part
    uint8_t *given = nullptr, *now = nullptr; ///< in this run: what is given; the local part
  };
  Status add(const exe::Port &, bool needsRoom, bool output, int64_t rank, bool ownOutputs);

  const exe::Program *program = nullptr;
  std::vector<State> ins, outs;
};

} // namespace comm::rt
