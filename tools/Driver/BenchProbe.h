//===- BenchProbe.h - small programs that measure this machine --*- C++ -*-===//
#ifndef TOOLS_DRIVER_BENCHPROBE_H
#define TOOLS_DRIVER_BENCHPROBE_H
#include "comm/Executable/Executable.h"
#include <memory>
#include <string>

namespace commc {

/// Builds one program over `ranks` ranks by hand, writes it to a file and runs it. Buffers start filled with ones.
class Probe {
public:
  Probe(int64_t ranks, std::string folder);
  ~Probe();
  Probe(Probe &&) noexcept;
  /// A buffer; `shared` ones may be operands and results of collectives.
  int32_t buffer(comm::exe::DType, const comm::exe::Shape &, bool shared = false);
  /// A constant of ones that the runtime packs as it packs weights.
  int32_t weight(comm::exe::DType, const comm::exe::Shape &);
  void command(const std::string &op, std::vector<int32_t> inputs, std::vector<int32_t> outputs,
               comm::exe::Attrs attrs = {});
  /// A collective over all ranks, itself or started; a started one needs a `wait`.
  void collective(const std::string &op, int32_t in, int32_t out, int64_t token = -1);
  void wait(int64_t token);
  /// Native code that "kernel" commands may name.
  void native(const std::vector<comm::exe::NativeObject> &, const std::vector<comm::exe::Kernel> &);
  /// Writes and loads the program; its ranks wait from now on. False and a sentence on failure.
  bool start(std::string &error);
  /// Time of one run in us, from the first command to the last.
  bool run(double &us, std::string &error);

private:
  struct Running;
  int64_t ranks;
  std::string folder;
  comm::exe::Executable executable;
  comm::exe::Program program;
  std::vector<comm::exe::Command> fills;
  std::vector<int32_t> privateBuffers;
  std::vector<std::pair<int32_t, int32_t>> results; ///< values that commands write, and the buffers they lie in
  int64_t nextPlanId = 0;
  std::unique_ptr<Running> running;
};

} // namespace commc
#endif
