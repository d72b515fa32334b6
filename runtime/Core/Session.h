//===- Session.h - an executable ready to run -------------------*- C++ -*-===//
#pragma once
#include "comm-c/runtime.h"
#include "runtime/Core/CarriedState.h"
#include "runtime/Core/Padding.h"

namespace comm::rt {

class Session {
public:
  /// `loaded` is shared: it outlives its handle in the C interface.
  static Status create(std::shared_ptr<const LoadedExecutable> loaded, const comm_session_options &,
                       std::unique_ptr<Session> &out);
  Status run(int32_t entry, const comm_tensor *inputs, int32_t nInputs, comm_tensor *outputs, int32_t nOutputs);
  /// Null: there is no such place.
  Status memory(int32_t entry, bool outputs, int32_t port, void *&out);
  void stats(comm_session_stats &) const;
  size_t collectives() const { return last.each.size(); }
  void collective(size_t index, comm_collective_stats &) const;
  void setOverlap(bool on) { engine->setOverlap(on); }
  const char *link() const { return linkName.c_str(); }
  const char *packedFolder() const { return options.packedFolder.c_str(); }
  /// Null when tracing is off or nothing ran yet.
  const char *trace();
  /// What is carried from call to call.
  CarriedState &state() { return *carried; }

private:
  /// Loads the native code, or decides that kernels are interpreted.
  Status prepareNative(const comm_session_options &);
  /// Finds every port by name. What is not named keeps what `out` has; else an output gets memory that nobody looks at
  /// and an input is missing, which is an error.
  Status bind(const exe::Entry &entry, const exe::Program &program, const CallSizes &call, const comm_tensor *tensors,
              int32_t count, bool outputs, std::vector<void *> &out);
  /// Memory of a run for one input or output of full size.
  void *newScratch(const exe::Port &port);

  std::shared_ptr<const LoadedExecutable> loaded;
  EngineOptions options;
  std::unique_ptr<WeightFiles> files;
  std::unique_ptr<NativeCode> native;
  std::unique_ptr<Engine> engine; ///< after everything that it borrows
  std::unique_ptr<CarriedState> carried;
  std::vector<std::unique_ptr<uint8_t[]>> scratch;
  RunResult last;
  size_t lastEntry = 0;
  double lastMs = 0;
  std::string traceText, linkName;
};

} // namespace comm::rt
