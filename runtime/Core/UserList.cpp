//===- UserList.cpp - small per-user lists of facts -----------------------===//
#include "runtime/Core/UserList.h"
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

namespace comm::rt {
namespace {
constexpr off_t maxListBytes = 16 << 20;

struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0)
      ::close(fd);
  }
};

/// Text of the list if it is the user's own and private, else "".
std::string readPrivate(int fd) {
  struct stat st;
  if (fd < 0 || ::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 0077) != 0 ||
      st.st_size > maxListBytes)
    return "";
  std::string text(static_cast<size_t>(st.st_size), '\0');
  size_t done = 0;
  while (done < text.size()) {
    ssize_t n = ::pread(fd, &text[done], text.size() - done, static_cast<off_t>(done));
    if (n <= 0)
      break;
    done += static_cast<size_t>(n);
  }
  text.resize(done);
  return text;
}

bool hasLine(const std::string &text, const std::string &line) {
  for (size_t begin = 0; begin < text.size();) {
    size_t end = std::min(text.find('\n', begin), text.size());
    if (text.compare(begin, end - begin, line) == 0)
      return true;
    begin = end + 1;
  }
  return false;
}

/// "" unless the variable is an absolute path, as the XDG specification asks.
std::string folderFrom(const char *variable) {
  const char *value = std::getenv(variable);
  return value && value[0] == '/' ? value : "";
}
} // namespace

std::string UserList::path() const {
  std::string base = folderFrom("XDG_CACHE_HOME");
  if (base.empty()) {
    std::string home = folderFrom("HOME");
    if (home.empty())
      return "";
    base = home + "/.cache";
  }
  return base + "/commc/" + name;
}

std::string UserList::first() const {
  std::string file = path();
  Fd fd{file.empty() ? -1 : ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  std::string text = readPrivate(fd.fd);
  size_t end = text.find('\n');
  return end == std::string::npos ? "" : text.substr(0, end);
}

bool UserList::contains(const std::string &line) const {
  std::string file = path();
  Fd fd{file.empty() ? -1 : ::open(file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  return !line.empty() && hasLine(readPrivate(fd.fd), line);
}

Status UserList::add(const std::string &line) const {
  auto failure = [&](const std::string &what) {
    return Status{Code::InvalidArgument, what + ": " + std::strerror(errno)};
  };
  std::string file = path();
  if (file.empty())
    return {Code::InvalidArgument, "neither XDG_CACHE_HOME nor HOME names a folder to keep the list in"};
  std::string folder = file.substr(0, file.rfind('/'));
  for (size_t end = folder.find('/', 1);; end = folder.find('/', end + 1)) { // with its parents
    std::string dir = folder.substr(0, end);
    if (::mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST)
      return failure("cannot make the folder " + dir);
    if (end == std::string::npos)
      break;
  }
  Fd fd{::open(file.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600)};
  if (fd.fd < 0)
    return failure("cannot open " + file);
  struct stat st;
  if (::fstat(fd.fd, &st) != 0 || !S_ISREG(st.st_mode) || st.st_uid != ::geteuid() || (st.st_mode & 0077) != 0)
    return {Code::InvalidArgument, file + " must be a file of this user with mode 0600"};
  if (::flock(fd.fd, LOCK_EX) != 0) // two compilers at once
    return failure("cannot lock " + file);
  if (hasLine(readPrivate(fd.fd), line))
    return Status::ok();
  std::string text = line + "\n";
  if (::write(fd.fd, text.data(), text.size()) != static_cast<ssize_t>(text.size()))
    return failure("cannot write " + file);
  return Status::ok();
}

UserList trustedExecutables() { return UserList("trusted"); }
UserList verifiedFiles() { return UserList("verified"); }

} // namespace comm::rt
