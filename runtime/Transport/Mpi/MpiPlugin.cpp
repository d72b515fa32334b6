//===- MpiPlugin.cpp - libcommc_mpi.so: the calls of MPI that are needed --===//
// Compiled against the MPI of the machine; see MpiApi.h. Open MPI moves data only inside its calls and waits by
// spinning: nothing here blocks but init and finalize.
//===----------------------------------------------------------------------===//
#define OMPI_SKIP_MPICXX
#define MPICH_SKIP_MPICXX
#include "runtime/Transport/Mpi/MpiApi.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mpi.h>
#include <sys/uio.h>
#include <unistd.h>
#include <vector>

using namespace comm::rt::mpi;

namespace {
MPI_Comm world = MPI_COMM_NULL;
std::vector<MPI_Request> requests; ///< under way, and at the same index
std::vector<uint64_t> tokens;
std::vector<int> indices;

/// Containers refuse that processes read each other's memory; Open MPI then prints a complaint for every message.
void allowForContainers() {
  char from = 1, to = 0;
  iovec here{&to, 1}, there{&from, 1};
  if (::process_vm_readv(::getpid(), &here, 1, &there, 1, 0) != 1)
    ::setenv("OMPI_MCA_btl_vader_single_copy_mechanism", "none", 0);
}

/// A process that leaves while MPI runs takes the others along, with its exit status.
void endOthers(int status, void *) {
  int started = 0, ended = 0;
  MPI_Initialized(&started);
  MPI_Finalized(&ended);
  if (started && !ended)
    MPI_Abort(MPI_COMM_WORLD, status ? status : 1);
}

int init(int *rank, int *ranks) {
  int started = 0, provided = 0;
  MPI_Initialized(&started);
  if (started)
    return MPI_ERR_OTHER;
  allowForContainers();
  if (int e = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided))
    return e;
  ::on_exit(endOthers, nullptr);
  if (int e = MPI_Comm_dup(MPI_COMM_WORLD, &world))
    return e;
  MPI_Comm_set_errhandler(world, MPI_ERRORS_RETURN);
  MPI_Comm_rank(world, rank);
  return MPI_Comm_size(world, ranks);
}

int finalize() {
  MPI_Comm_free(&world);
  return MPI_Finalize();
}

MPI_Request *add(uint64_t token) {
  requests.push_back(MPI_REQUEST_NULL);
  tokens.push_back(token);
  return &requests.back();
}

int send(const void *data, size_t bytes, int peer, int tag, uint64_t token) {
  return MPI_Isend(const_cast<void *>(data), static_cast<int>(bytes), MPI_BYTE, peer, tag, world, add(token));
}

int receive(void *data, size_t bytes, int peer, int tag, uint64_t token) {
  return MPI_Irecv(data, static_cast<int>(bytes), MPI_BYTE, peer < 0 ? MPI_ANY_SOURCE : peer, tag, world, add(token));
}

int test(uint64_t *out, int capacity, int *finished) {
  *finished = 0;
  auto active = static_cast<int>(std::min<size_t>(requests.size(), static_cast<size_t>(capacity)));
  if (active == 0)
    return 0;
  indices.resize(static_cast<size_t>(active));
  int count = 0;
  if (int e = MPI_Testsome(active, requests.data(), &count, indices.data(), MPI_STATUSES_IGNORE))
    return e;
  if (count == MPI_UNDEFINED)
    count = 0;
  for (int i = 0; i < count; ++i)
    out[i] = tokens[static_cast<size_t>(indices[static_cast<size_t>(i)])];
  *finished = count;
  if (count > 0) { // the rest keeps its order
    size_t kept = 0;
    for (size_t i = 0; i < requests.size(); ++i)
      if (requests[i] != MPI_REQUEST_NULL) {
        requests[kept] = requests[i];
        tokens[kept++] = tokens[i];
      }
    requests.resize(kept);
    tokens.resize(kept);
  }
  return 0;
}

int cancel(uint64_t token) {
  for (size_t i = 0; i < requests.size(); ++i)
    if (tokens[i] == token) {
      if (int e = MPI_Cancel(&requests[i]))
        return e;
      int e = MPI_Wait(&requests[i], MPI_STATUS_IGNORE);
      requests.erase(requests.begin() + static_cast<std::ptrdiff_t>(i));
      tokens.erase(tokens.begin() + static_cast<std::ptrdiff_t>(i));
      return e;
    }
  return 0;
}

const char *library() {
  static char text[MPI_MAX_LIBRARY_VERSION_STRING] = "";
  int length = 0;
  MPI_Get_library_version(text, &length);
  return text;
}

void errorText(int error, char *text, size_t bytes) {
  char full[MPI_MAX_ERROR_STRING] = "";
  int length = 0;
  if (MPI_Error_string(error, full, &length) != MPI_SUCCESS)
    std::snprintf(full, sizeof full, "error %d", error);
  std::snprintf(text, bytes, "%s", full);
}

const MpiApi api{apiVersion, init, finalize, send, receive, test, cancel, library, errorText};
} // namespace

extern "C" __attribute__((visibility("default"))) const MpiApi *commc_mpi_api(uint32_t version) {
  return version == apiVersion ? &api : nullptr;
}
