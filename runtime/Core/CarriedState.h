//===- CarriedState.h - what a session keeps between calls ------*- C++ -*-===//
#pragma once
#include "comm-c/runtime.h"
#include "runtime/Core/Engine.h"
#include "runtime/Core/ResidentState.h"
#include "runtime/Core/Staging.h"

namespace comm::rt {

/// The states of a session, each known by the name of its input. Where every rank holds its part in the same way before
/// and after a call, the parts stay with the ranks (ResidentState); what the caller gives goes to them, what it asks
/// for is collected. Other states are whole tensors where the engine reads inputs and writes outputs, and between two
/// calls are moved once, from where the first one wrote them to where the next one reads them. After a failed call the
/// state is what that call was to read.
class CarriedState {
public:
  /// All are borrowed.
  CarriedState(const LoadedExecutable &loaded, bool reference, Engine &engine);

  /// Forgets the state.
  void setMode(comm_state_mode);
  void reset();
  /// The port belongs to a state and states are carried.
  bool carries(size_t entry, size_t port, bool output) const { return offer(entry, output)[port] != nullptr; }
  /// By the name of the input, copied.
  Status set(const comm_tensor &);
  /// Fills type and shape, and copies the values when `out.data` is not null.
  Status get(const char *input, comm_tensor &out) const;

  /// A stand-in for each state port of the entry, null for all others: what the caller need not give.
  std::vector<void *> offer(size_t entry, bool outputs) const;
  /// Puts memory in place of stand-ins that are left, inputs with what is carried. `parts`: those that the ranks keep.
  Status load(size_t entry, std::vector<void *> &in, std::vector<void *> &out, PartPorts &parts);
  /// After a good run: its state outputs are the state.
  void keep(size_t entry, const std::vector<void *> &out);

private:
  struct Kept {
    exe::DType dtype;
    exe::Shape shape;
    uint8_t *at;              ///< in one of the two memories, or in `own`
    std::vector<uint8_t> own; ///< given by the caller
  };
  /// Where calls read a state and where they write it.
  struct Memory {
    uint8_t *in = nullptr, *out = nullptr;
    bool engines = false; ///< belongs to the engine
    std::unique_ptr<Pages> pages[2];
  };
  Status memoryOf(size_t entry, const StateUse &, Memory *&out);
  Status residentOf(const std::string &name, ResidentState *&out);
  const exe::Shape *shapeOf(const std::string &name, exe::DType &dtype) const;
  /// What is carried can become the input; the dimensions that differ.
  Status check(size_t entry, const StateUse &, std::vector<size_t> &differing) const;
  void move(size_t entry, const StateUse &, const std::vector<size_t> &differing, Memory &);
  Status loadWhole(size_t entry, const StateUse &, const std::vector<size_t> &differing, std::vector<void *> &in,
                   std::vector<void *> &out);
  const exe::Program &program(size_t entry) const { return programOf(loaded.exe.entries[entry], reference); }

  const LoadedExecutable &loaded;
  const bool reference;
  Engine &engine;
  comm_state_mode mode = COMM_STATE_NONE;
  std::vector<std::vector<StateUse>> pairs; ///< by entry
  std::map<std::string, size_t> residents;  ///< bytes of a rank's part
  std::map<std::string, ResidentState> parts;
  std::vector<std::unique_ptr<Pages>> ownParts; ///< where the engine has no memory for them
  std::vector<void *> asked;                    ///< of this run, by pair: where the caller wants the output of parts
  std::map<std::string, size_t> largest[2];     ///< bytes of inputs and of outputs
  std::map<std::string, Memory> memories;
  std::map<std::string, Kept> kept;
};

} // namespace comm::rt
