//===- Fuzz.cpp - shared by fuzz targets ----------------------------------===//
#include "Fuzz.h"
#include <cstdlib>
#include <fstream>
#include <sys/stat.h>
#include <unistd.h>

namespace comm::fuzz {

size_t throughCount = 0;

InputFile::InputFile(const std::string &name) {
  char pattern[] = "/tmp/commc-fuzz-XXXXXX";
  const char *made = ::mkdtemp(pattern);
  folder = made ? made : "/tmp";
  path = folder + "/" + name;
  // Caches and lists of the user are none of a fuzzer's business.
  ::mkdir((folder + "/cache").c_str(), 0700);
  ::setenv("XDG_CACHE_HOME", (folder + "/cache").c_str(), 1);
}

InputFile::~InputFile() {
  std::string remove = "rm -rf '" + folder + "'";
  if (folder != "/tmp" && std::system(remove.c_str()) != 0)
    ::unlink(path.c_str());
}

const std::string &InputFile::write(const uint8_t *data, size_t size) {
  std::ofstream(path, std::ios::binary).write(reinterpret_cast<const char *>(data), static_cast<std::streamsize>(size));
  return path;
}

} // namespace comm::fuzz
