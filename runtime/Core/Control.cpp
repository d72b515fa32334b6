//===- Control.cpp - messages between the host and its ranks --------------===//
#include "runtime/Core/Control.h"
#include <cerrno>
#include <cstring>
#include <sys/socket.h>
#include <unistd.h>

namespace comm::rt {
namespace {
void put(std::string &to, uint64_t value) { to.append(reinterpret_cast<const char *>(&value), 8); }
bool get(const std::string &from, size_t &at, uint64_t &value) {
  if (from.size() - at < 8)
    return false;
  std::memcpy(&value, from.data() + at, 8);
  at += 8;
  return true;
}
} // namespace

void FileDescriptor::reset(int other) {
  if (fd >= 0)
    ::close(fd);
  fd = other;
}

std::string requestFrame(RequestKind kind, const std::string &payload) {
  std::string frame;
  put(frame, 8 + payload.size());
  put(frame, static_cast<uint64_t>(kind));
  return frame + payload;
}

bool parseRequest(const std::string &body, RequestKind &kind, std::string &payload) {
  size_t at = 0;
  uint64_t value;
  if (!get(body, at, value))
    return false;
  kind = static_cast<RequestKind>(value);
  payload = body.substr(at);
  return true;
}

std::string replyFrame(const Status &status, const std::string &payload) {
  std::string frame;
  put(frame, 16 + status.text.size() + payload.size());
  put(frame, static_cast<uint64_t>(status.code));
  put(frame, status.text.size());
  return frame + status.text + payload;
}

bool parseReply(const std::string &body, Status &status, std::string &payload) {
  size_t at = 0;
  uint64_t code, text;
  if (!get(body, at, code) || !get(body, at, text) || text > body.size() - at)
    return false;
  status = {static_cast<Code>(code), body.substr(at, text)};
  payload = body.substr(at + text);
  return true;
}

bool readFrame(int fd, std::string &body) {
  uint64_t length = 0;
  auto readAll = [&](char *to, size_t size) {
    for (size_t done = 0; done < size;) {
      ssize_t n = ::recv(fd, to + done, size - done, 0);
      if (n < 0 && errno == EINTR)
        continue;
      if (n <= 0)
        return false;
      done += static_cast<size_t>(n);
    }
    return true;
  };
  if (!readAll(reinterpret_cast<char *>(&length), sizeof length))
    return false;
  body.resize(length);
  return readAll(&body[0], length);
}

bool writeAll(int fd, const std::string &bytes) {
  for (size_t done = 0; done < bytes.size();) {
    ssize_t n = ::send(fd, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    done += static_cast<size_t>(n);
  }
  return true;
}

bool Channel::progress() {
  while (sending()) {
    ssize_t n = ::send(fd.get(), out.data() + written, out.size() - written, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      break;
    if (n <= 0)
      return false;
    written += static_cast<size_t>(n);
  }
  if (!sending()) {
    out.clear();
    written = 0;
  }
  for (char buffer[65536];;) {
    ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
      continue;
    if (n < 0 && errno == EAGAIN)
      return true;
    if (n <= 0)
      return false;
    in.append(buffer, static_cast<size_t>(n));
  }
}

bool Channel::receive(std::string &body) {
  uint64_t length;
  size_t at = 0;
  if (!get(in, at, length) || in.size() - at < length)
    return false;
  body = in.substr(at, length);
  in.erase(0, at + length);
  return true;
}

} // namespace comm::rt
