//===- Control.h - messages between the host and its ranks ------*- C++ -*-===//
// Frames over a stream socket: a length, then that many bytes. Small things only; tensors pass through shared memory.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Transport.h"

namespace comm::rt {

class FileDescriptor {
public:
  FileDescriptor() = default;
  explicit FileDescriptor(int fd) : fd(fd) {}
  FileDescriptor(FileDescriptor &&other) noexcept : fd(other.release()) {}
  FileDescriptor &operator=(FileDescriptor &&other) noexcept {
    reset(other.release());
    return *this;
  }
  ~FileDescriptor() { reset(); }
  int get() const { return fd; }
  int release() {
    int result = fd;
    fd = -1;
    return result;
  }
  void reset(int other = -1);

private:
  int fd = -1;
};

enum class RequestKind : uint32_t { Setup, Call };

std::string requestFrame(RequestKind, const std::string &payload);
std::string replyFrame(const Status &, const std::string &payload);
/// False when the body is malformed.
bool parseReply(const std::string &body, Status &, std::string &payload);
bool parseRequest(const std::string &body, RequestKind &, std::string &payload);

/// Blocking; false at the end of the stream.
bool readFrame(int fd, std::string &body);
bool writeAll(int fd, const std::string &bytes);

/// One end of a socket that never blocks.
class Channel {
public:
  explicit Channel(FileDescriptor fd) : fd(std::move(fd)) {}
  int descriptor() const { return fd.get(); }
  void send(std::string frame) { out += frame; }
  bool sending() const { return written < out.size(); }
  /// Moves what can be moved; false at the end of the stream.
  bool progress();
  /// Takes a whole frame, if there is one.
  bool receive(std::string &body);
  void close() { fd.reset(); }

private:
  FileDescriptor fd;
  std::string out, in;
  size_t written = 0;
};

} // namespace comm::rt
