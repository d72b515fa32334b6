//===- ExternalData.cpp - files beside a model ----------------------------===//
// A model may only reach files inside its own folder. The Hugging Face cache is made of symbolic links, so "own folder"
// is the one the user named or the one the model file really lies in.
//===----------------------------------------------------------------------===//
#include "ExternalData.h"
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <utility>

namespace mlir::comm::onnx {

MappedFile::MappedFile(MappedFile &&other) noexcept { *this = std::move(other); }
MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(base, other.base);
  std::swap(bytes, other.bytes);
  std::swap(path, other.path);
  return *this;
}
MappedFile::~MappedFile() {
  if (base)
    munmap(const_cast<uint8_t *>(base), bytes);
}

bool MappedFile::map(int fd, std::string &error) {
  struct stat info;
  bool good = fstat(fd, &info) == 0;
  if (!good)
    error = std::strerror(errno);
  else if (!S_ISREG(info.st_mode))
    error = "not a regular file", good = false;
  if (good && info.st_size > 0) {
    void *address = mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
    if (address == MAP_FAILED)
      error = std::strerror(errno), good = false;
    else
      base = static_cast<const uint8_t *>(address), bytes = static_cast<uint64_t>(info.st_size);
  }
  close(fd);
  return good;
}

std::string checkLocation(const std::string &location) {
  if (location.empty())
    return "is empty";
  if (location.size() > 4095)
    return "is longer than a path can be";
  if (location.find('\0') != std::string::npos)
    return "holds a NUL byte";
  if (location.find('\\') != std::string::npos)
    return "holds a backslash";
  if (location[0] == '/')
    return "is an absolute path";
  if (location.size() > 1 && location[1] == ':')
    return "starts with a drive letter";
  for (size_t start = 0; start <= location.size();) {
    size_t end = std::min(location.find('/', start), location.size());
    std::string part = location.substr(start, end - start);
    if (part == "..")
      return "leaves the model's folder";
    if (part.empty() && end != location.size())
      return "holds an empty component";
    start = end + 1;
  }
  return location.back() == '/' ? "names a folder" : "";
}

namespace {
std::string folderOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}
std::string realPathOf(const std::string &path) {
  char *resolved = realpath(path.c_str(), nullptr);
  std::string result = resolved ? resolved : "";
  free(resolved);
  return result;
}
bool isInside(const std::string &path, const std::string &folder) {
  return !folder.empty() && (folder == "/" || path.compare(0, folder.size() + 1, folder + "/") == 0);
}

/// Component by component, never through a symbolic link: for kernels without openat2, and for the strict rule.
int openWithoutLinks(int folder, const std::string &location) {
  int current = dup(folder);
  for (size_t start = 0; current >= 0 && start < location.size();) {
    size_t end = std::min(location.find('/', start), location.size());
    bool last = end == location.size();
    int next = openat(current, location.substr(start, end - start).c_str(),
                      O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | (last ? 0 : O_DIRECTORY));
    int saved = errno;
    close(current);
    errno = saved;
    current = next;
    start = end + 1;
  }
  return current;
}

/// -1 with errno; ELOOP or EXDEV mean that a symbolic link is in the way.
int openBeneath(int folder, const std::string &location) {
#ifdef SYS_openat2
  struct open_how how = {};
  how.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK;
  how.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS;
  int fd = static_cast<int>(syscall(SYS_openat2, folder, location.c_str(), &how, sizeof how));
  if (fd >= 0 || (errno != ENOSYS && errno != EPERM))
    return fd;
#endif
  return openWithoutLinks(folder, location);
}

/// Through symbolic links, if the target stays in the model's logical or real folder.
int openThroughLinks(const std::string &modelPath, const std::string &location, std::string &error) {
  std::string target = realPathOf(folderOf(modelPath) + "/" + location);
  if (target.empty()) {
    error = std::strerror(errno);
    return -1;
  }
  std::string logical = realPathOf(folderOf(modelPath)), real = folderOf(realPathOf(modelPath));
  if (!isInside(target, logical) && !isInside(target, real)) {
    error = "a symbolic link leads out of the model's folder";
    return -1;
  }
  struct stat expected, actual;
  if (stat(target.c_str(), &expected) != 0) {
    error = std::strerror(errno);
    return -1;
  }
  int fd = open(target.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd >= 0 && (fstat(fd, &actual) != 0 || actual.st_ino != expected.st_ino || actual.st_dev != expected.st_dev)) {
    close(fd);
    fd = -1;
    error = "the file changed while it was opened";
  } else if (fd < 0) {
    error = std::strerror(errno);
  }
  return fd;
}
} // namespace

int openExternal(const std::string &modelPath, const std::string &location, bool strict, std::string &realPath,
                 std::string &error) {
  error = checkLocation(location);
  if (!error.empty())
    return -1;
  int folder = open(folderOf(modelPath).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder < 0) {
    error = std::strerror(errno);
    return -1;
  }
  int fd = strict ? openWithoutLinks(folder, location) : openBeneath(folder, location);
  int reason = errno;
  close(folder);
  if (fd < 0 && !strict && (reason == ELOOP || reason == EXDEV))
    fd = openThroughLinks(modelPath, location, error);
  else if (fd < 0)
    error = reason == ELOOP || (strict && reason == ENOTDIR) ? "a symbolic link is in the way" : std::strerror(reason);
  struct stat info;
  if (fd >= 0 && fstat(fd, &info) == 0 && (!S_ISREG(info.st_mode) || (strict && info.st_nlink != 1))) {
    error = S_ISREG(info.st_mode) ? "the file has several hard links" : "not a regular file";
    close(fd);
    return -1;
  }
  if (fd >= 0)
    realPath = realPathOf("/proc/self/fd/" + std::to_string(fd));
  return fd;
}

} // namespace mlir::comm::onnx
