//===- MpiApi.h - what the MPI plugin offers --------------------*- C++ -*-===//
// MPI has no common binary interface: handles are pointers in one library and numbers in another. So the few calls that
// are needed lie in a plugin of their own, libcommc_mpi.so, compiled against the MPI of the machine and loaded when a
// session asks for it. The runtime itself knows no MPI.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstddef>
#include <cstdint>

namespace comm::rt::mpi {

constexpr uint32_t apiVersion = 1;

/// All calls from one thread, the one that called init. An int result is 0 or an
/// error of MPI.
struct MpiApi {
  uint32_t version;
  /// At most once per process.
  int (*init)(int *rank, int *ranks);
  /// Nothing may be under way. After it nothing but errorText.
  int (*finalize)();
  /// At most 2^31 - 1 bytes. `token` comes back from `test`; memory is borrowed until then.
  int (*send)(const void *data, size_t bytes, int peer, int tag, uint64_t token);
  /// peer -1: from anybody.
  int (*receive)(void *data, size_t bytes, int peer, int tag, uint64_t token);
  /// Moves data and takes up to `capacity` finished tokens. Never blocks.
  int (*test)(uint64_t *tokens, int capacity, int *finished);
  /// Of a receive that nobody will answer.
  int (*cancel)(uint64_t token);
  const char *(*library)();
  void (*errorText)(int error, char *text, size_t bytes);
};

/// The only symbol of the plugin; null when it offers another version.
using GetApi = const MpiApi *(*)(uint32_t version);
constexpr const char *getApiName = "commc_mpi_api";

/// Loads the plugin: COMM_MPI_PLUGIN, else libcommc_mpi.so beside this library or program, or in ../lib from there.
/// Null and a sentence in `error` when there is none or its MPI cannot be loaded.
const MpiApi *loadMpi(const char *&error);

} // namespace comm::rt::mpi
