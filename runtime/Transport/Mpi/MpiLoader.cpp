//===- MpiLoader.cpp - finds and loads the MPI plugin ---------------------===//
#include "runtime/Transport/Mpi/MpiApi.h"
#include <climits>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <string>
#include <unistd.h>

namespace comm::rt::mpi {
namespace {
/// The program or shared library that contains this function.
std::string thisFolder() {
  Dl_info info;
  char path[PATH_MAX];
  std::string found;
  if (::dladdr(reinterpret_cast<const void *>(&loadMpi), &info) && info.dli_fname &&
      std::strstr(info.dli_fname, ".so") && ::realpath(info.dli_fname, path))
    found = path;
  else if (ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1); n > 0)
    found.assign(path, static_cast<size_t>(n));
  return found.substr(0, found.rfind('/') + 1);
}
} // namespace

const MpiApi *loadMpi(const char *&error) {
  static std::string text;
  std::string folder = thisFolder();
  std::string places[] = {folder + "libcommc_mpi.so", folder + "../lib/libcommc_mpi.so",
                          folder + "../../lib/libcommc_mpi.so"}; // the last one: test programs of a build folder
  const char *given = ::secure_getenv("COMM_MPI_PLUGIN");
  if (given)
    places[0] = places[1] = places[2] = given;
  error = nullptr;
  for (const std::string &place : places) {
    if (::access(place.c_str(), R_OK) != 0)
      continue;
    // Open MPI loads parts of itself later; they look for its symbols among the global ones.
    void *library = ::dlopen(place.c_str(), RTLD_NOW | RTLD_GLOBAL);
    auto get = library ? reinterpret_cast<GetApi>(::dlsym(library, getApiName)) : nullptr;
    if (const MpiApi *api = get ? get(apiVersion) : nullptr)
      return api;
    const char *why = library ? "it belongs to another version of the runtime" : ::dlerror();
    text = "the MPI plugin " + place + " cannot be loaded: " + (why ? why : "unknown reason");
    error = text.c_str();
    return nullptr;
  }
  text = "no MPI plugin at " + places[0] +
         (given ? "" : " or " + places[1] + "; it is built where an MPI with headers is found") +
         "; COMM_MPI_PLUGIN names another place";
  error = text.c_str();
  return nullptr;
}

} // namespace comm::rt::mpi
