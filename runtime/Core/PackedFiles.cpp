//===- PackedFiles.cpp - packed weights kept on disk ----------------------===//
#include "runtime/Core/PackedFiles.h"
#include "comm/Executable/Executable.h"
#include "runtime/Core/UserList.h"
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <memory>
#include <random>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

namespace comm::rt {
namespace {
constexpr char magic[8] = {'C', 'O', 'M', 'M', 'P', 'A', 'C', 'K'};
constexpr uint32_t formatVersion = 1;
constexpr int64_t pieceBytes = 256 << 10; // read and summed while it lies in the cache
constexpr size_t hexBytes = 64;
constexpr uint64_t leastFreeShare = 20; // of the file system: a twentieth is left free
constexpr time_t abandonedSeconds = 3600;

/// 256 bytes in front of the packed bytes.
struct Header {
  char magic[8];
  uint32_t version, headerBytes;
  int64_t bytes;
  uint64_t checksum;
  char name[hexBytes]; ///< hash of release, executable and name
  char seal[hexBytes]; ///< of what stands above, with this user's secret
  char unused[96];
};
static_assert(sizeof(Header) == 256, "packed bytes begin behind it");

std::string sha256(const std::string &text) {
  return exe::sha256(reinterpret_cast<const uint8_t *>(text.data()), text.size());
}

/// The secret is as long as a block of the hash.
std::string sealOf(const Header &h, const std::string &secret) {
  std::string text(reinterpret_cast<const char *>(&h), offsetof(Header, seal));
  return sha256(secret + sha256(secret + text));
}

/// A number that only this user knows, made once: nobody else can write files that count. Empty without a folder to
/// keep it in.
std::string userSecret() {
  UserList list("packed-secret");
  std::string secret = list.first();
  if (secret.empty()) {
    std::random_device random;
    std::string noise;
    for (int i = 0; i < 16; ++i)
      noise += std::to_string(random()) + ".";
    if (!list.add(sha256(noise)))
      return "";
    secret = list.first(); // another process may have been first
  }
  return secret.size() == hexBytes ? secret : "";
}

struct Fd {
  int fd;
  ~Fd() {
    if (fd >= 0)
      ::close(fd);
  }
};

bool transfer(int fd, bool writing, char *data, int64_t bytes, int64_t offset) {
  while (bytes > 0) {
    ssize_t n = writing ? ::pwrite(fd, data, static_cast<size_t>(bytes), offset)
                        : ::pread(fd, data, static_cast<size_t>(bytes), offset);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    data += n;
    bytes -= n;
    offset += n;
  }
  return true;
}

bool ownedByUser(const struct stat &st) { return st.st_uid == ::geteuid() && (st.st_mode & 0022) == 0; }
} // namespace

void PackedChecksum::add(const char *data, int64_t bytes) {
  auto mix = [&](const char *from) {
    for (int lane = 0; lane < 4; ++lane) {
      uint64_t word;
      std::memcpy(&word, from + lane * 8, 8);
      lanes[lane] = (lanes[lane] ^ word) * 0x9fb21c651e98df25;
      lanes[lane] ^= lanes[lane] >> 32;
    }
  };
  int64_t i = 0;
  for (; i + 32 <= bytes; i += 32)
    mix(data + i);
  if (i < bytes) {
    char rest[32] = {};
    std::memcpy(rest, data + i, static_cast<size_t>(bytes - i));
    mix(rest);
  }
}

uint64_t PackedChecksum::value() const {
  uint64_t sum = 0;
  for (uint64_t lane : lanes)
    sum = (sum ^ lane) * 0x9fb21c651e98df25 + (sum >> 29);
  return sum;
}

PackedFiles::PackedFiles(std::string folder, std::string executable)
    : folder(std::move(folder)), executable(std::move(executable)), secret(userSecret()) {
  writable = !secret.empty() && !this->folder.empty();
}

std::string PackedFiles::fileOf(const std::string &name) const {
  return folder + "/" + executable.substr(0, 16) + "-" + name.substr(0, 32) + ".panels";
}

static std::string fullName(const std::string &executable, const std::string &name) {
  return sha256(std::string(COMM_VERSION) + "\n" + executable + "\n" + name);
}

bool PackedFiles::read(const std::string &name, char *out, int64_t bytes) const {
  if (secret.empty() || bytes < leastBytes)
    return false;
  std::string full = fullName(executable, name);
  Fd file{::open(fileOf(full).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK)};
  struct stat st;
  Header h;
  if (file.fd < 0 || ::fstat(file.fd, &st) != 0 || !S_ISREG(st.st_mode) || !ownedByUser(st) ||
      st.st_size != bytes + static_cast<int64_t>(sizeof(h)) ||
      !transfer(file.fd, false, reinterpret_cast<char *>(&h), sizeof(h), 0))
    return false;
  if (std::memcmp(h.magic, magic, sizeof(magic)) != 0 || h.version != formatVersion || h.headerBytes != sizeof(h) ||
      h.bytes != bytes || full.compare(0, hexBytes, h.name, hexBytes) != 0 ||
      sealOf(h, secret).compare(0, hexBytes, h.seal, hexBytes) != 0)
    return false;
  PackedChecksum sum;
  for (int64_t at = 0; at < bytes; at += pieceBytes) {
    int64_t some = std::min(pieceBytes, bytes - at);
    if (!transfer(file.fd, false, out + at, some, at + static_cast<int64_t>(sizeof(h))))
      return false;
    sum.add(out + at, some);
  }
  return sum.value() == h.checksum;
}

bool PackedFiles::prepareFolder() {
  prepared = true;
  struct stat st;
  if (::mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
    return false;
  // Whoever may write there may also take files away; a folder of somebody else is left alone.
  if (::lstat(folder.c_str(), &st) != 0 || !S_ISDIR(st.st_mode) || !ownedByUser(st))
    return false;
  std::unique_ptr<DIR, int (*)(DIR *)> dir(::opendir(folder.c_str()), ::closedir);
  std::string mine = executable.substr(0, 16) + "-";
  auto endsWith = [](const std::string &text, const std::string &end) {
    return text.size() > end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
  };
  for (struct dirent *entry; dir && (entry = ::readdir(dir.get()));) {
    std::string name = entry->d_name;
    bool stale = endsWith(name, ".panels") && name.compare(0, mine.size(), mine) != 0;
    bool abandoned = endsWith(name, ".panels.tmp") && ::fstatat(::dirfd(dir.get()), name.c_str(), &st, 0) == 0 &&
                     st.st_mtime + abandonedSeconds < ::time(nullptr);
    if (stale || abandoned)
      ::unlinkat(::dirfd(dir.get()), name.c_str(), 0);
  }
  return true;
}

bool PackedFiles::write(const std::string &name, const char *data, int64_t bytes) {
  if (!writable || bytes < leastBytes)
    return false;
  if (!prepared && !prepareFolder())
    return writable = false;
  struct rlimit most; // beyond it, a write ends the process
  if (::getrlimit(RLIMIT_FSIZE, &most) != 0 || most.rlim_cur < static_cast<uint64_t>(bytes) + sizeof(Header))
    return writable = false;
  struct statvfs disk;
  if (::statvfs(folder.c_str(), &disk) != 0 ||
      disk.f_bavail * disk.f_frsize < static_cast<uint64_t>(bytes) + disk.f_blocks / leastFreeShare * disk.f_frsize)
    return writable = false;
  Header h = {};
  std::string full = fullName(executable, name), target = fileOf(full);
  std::memcpy(h.magic, magic, sizeof(magic));
  h.version = formatVersion;
  h.headerBytes = sizeof(h);
  h.bytes = bytes;
  PackedChecksum sum;
  sum.add(data, bytes);
  h.checksum = sum.value();
  std::memcpy(h.name, full.data(), hexBytes);
  std::memcpy(h.seal, sealOf(h, secret).data(), hexBytes);
  static std::atomic<uint64_t> count{0};
  std::string temporary = folder + "/" + std::to_string(::getpid()) + "-" + std::to_string(count++) + "-" +
                          executable.substr(0, 16) + ".panels.tmp";
  // Not synchronised: after a crash of the machine the checksum tells what is not there.
  Fd file{::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644)};
  if (file.fd < 0)
    return writable = false;
  if (!transfer(file.fd, true, reinterpret_cast<char *>(&h), sizeof(h), 0) ||
      !transfer(file.fd, true, const_cast<char *>(data), bytes, sizeof(h)) ||
      ::rename(temporary.c_str(), target.c_str()) != 0) {
    ::unlink(temporary.c_str());
    return writable = false;
  }
  return true;
}

} // namespace comm::rt
