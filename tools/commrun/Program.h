//===- Program.h - an executable, its sessions and its calls ----*- C++ -*-===//
#pragma once
#include "Options.h"
#include "Tensor.h"

namespace commrun {

struct PortInfo {
  std::string name;
  comm_dtype dtype;
  std::vector<int64_t> dims;
};

struct EntryInfo {
  std::string name;
  std::vector<PortInfo> inputs, outputs;
  std::vector<std::pair<std::string, std::string>> states; ///< input, output
};

/// Throws the Failure of a status, with the sentence of comm_last_error().
void check(comm_status);

class Executable {
public:
  explicit Executable(const std::string &path);
  ~Executable() { comm_executable_free(handle); }
  Executable(const Executable &) = delete;
  std::vector<EntryInfo> entries;
  comm_executable *handle = nullptr;
  /// Milliseconds of one run of an entry that the compiler predicted; NaN when it did not.
  double predictedMs(int32_t entry) const {
    std::string name = "step_us." + entries[static_cast<size_t>(entry)].name;
    return comm_executable_prediction(handle, name.c_str()) / 1000;
  }
};

/// Inputs of one call in the types of its entry.
struct Call {
  int32_t entry = 0;
  TensorMap inputs;
};

class Session {
public:
  Session(const Executable &, const Options &, bool reference);
  ~Session() { comm_session_free(handle); }
  Session(const Session &) = delete;
  TensorMap run(const Call &);
  /// Into tensors made once, for timing.
  void run(const Call &, TensorMap &outputs);
  /// Of the sizes that the inputs of the call ask for.
  TensorMap makeOutputs(const Call &call) const;
  comm_session_stats stats() const;
  /// Collectives of the last run.
  std::vector<comm_collective_stats> collectives() const;
  void keepState(comm_state_mode mode) { check(comm_session_keep_state(handle, mode)); }
  void resetState() { check(comm_session_reset_state(handle)); }
  void setState(const std::string &input, const Tensor &);
  /// A copy of a kept state; its name and dims belong to the session.
  comm_tensor state(const std::string &input, std::vector<uint8_t> &bytes) const;
  void setOverlap(bool on) { check(comm_session_set_overlap(handle, on)); }
  std::string link() const { return comm_session_link(handle); }
  std::string packedFolder() const { return comm_session_packed_folder(handle); }
  const char *trace() { return comm_session_trace(handle); }

private:
  const Executable &exe;
  comm_session *handle = nullptr;
};

/// The call that these arrays make. With `before`, the outputs of the call before, state inputs come from there when
/// the shapes fit an entry; else from `given`. Inputs without elements may be left out. Throws Failure: no entry has
/// these shapes (all are listed).
Call makeCall(const Executable &, const TensorMap &given, const Call *previous, const TensorMap *before);
/// Made-up inputs: floats in [-1, 1), integers and booleans 0 or 1, the same for the same seed everywhere.
Call randomCall(const Executable &, int32_t entry, uint64_t seed);

} // namespace commrun
