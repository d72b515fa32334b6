//===- Memory.cpp - how much memory there can be --------------------------===//
#include "runtime/Core/Memory.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <fstream>
#include <sys/sysinfo.h>
#include <unistd.h>

namespace comm::rt {
namespace {
/// The limit in a file of the control group: a number, or "max".
int64_t groupLimit(const std::string &path) {
  std::ifstream in(path);
  int64_t limit = 0;
  return in >> limit && limit > 0 ? limit : INT64_MAX;
}
} // namespace

int64_t memoryLimit() {
  struct sysinfo info;
  if (::sysinfo(&info) != 0)
    return 0;
  auto total = static_cast<int64_t>((info.totalram + info.totalswap) * info.mem_unit);
  total = std::min(total, groupLimit("/sys/fs/cgroup/memory.max"));
  std::ifstream self("/proc/self/cgroup"); // version 2 has one line, "0::/path"
  for (std::string line; std::getline(self, line);)
    if (line.rfind("0::/", 0) == 0)
      total = std::min(total, groupLimit("/sys/fs/cgroup" + line.substr(3) + "/memory.max"));
  return std::min(total, groupLimit("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
}

Status requireMemory(int64_t bytes, const std::string &what, int64_t limit) {
  if (limit <= 0 || bytes <= limit)
    return Status::ok();
  auto mib = [](int64_t n) { return std::to_string(n / (1 << 20)) + " MiB"; };
  return {Code::OutOfMemory, what + " need " + mib(bytes) + ", this machine has at most " + mib(limit)};
}

int64_t residentBytes() {
  int fd = ::open("/proc/self/status", O_RDONLY | O_CLOEXEC);
  if (fd < 0)
    return 0;
  char text[4096];
  ssize_t n = ::read(fd, text, sizeof(text) - 1);
  ::close(fd);
  text[std::max<ssize_t>(n, 0)] = 0;
  int64_t kilobytes = 0;
  for (const char *name : {"\nRssAnon:", "\nRssShmem:"})
    if (const char *at = std::strstr(text, name))
      kilobytes += std::strtoll(at + std::strlen(name), nullptr, 10);
  return kilobytes * 1024;
}

} // namespace comm::rt
