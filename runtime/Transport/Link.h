//===- Link.h - a slow link between ranks, in virtual time ------*- C++ -*-===//
// Ranks that share memory have no link to wait for. To see, test and measure overlap, a transport may hold every
// operation back until the link that is emulated would have delivered its bytes. Nothing spins meanwhile.
//===----------------------------------------------------------------------===//
#pragma once
#include <algorithm>
#include <cstdint>
#include <string>

namespace comm::rt {

/// One full-duplex port per rank. Plain data: it lies in the memory that ranks share.
struct LinkModel {
  double bytesPerSecond = 0; ///< of each direction; 0: no limit
  int64_t latencyNs = 0;     ///< of a message, after its last byte has left
  /// Large operations are handled in pieces of this size: what has arrived is reduced while the rest is on its way.
  int64_t chunkBytes = 256 << 10;

  bool active() const { return bytesPerSecond > 0 || latencyNs > 0; }
  int64_t timeNs(int64_t bytes) const {
    return bytesPerSecond > 0 ? static_cast<int64_t>(static_cast<double>(bytes) * 1e9 / bytesPerSecond) : 0;
  }
};

/// "1Gbit,50us" or "125MB,0.05ms" (rate per direction, latency; decimal units), "inf,20us": no limit of the rate.
/// The latency may be left out. False when malformed.
bool parseLinkModel(const std::string &text, LinkModel &out);
/// "1 Gbit/s, 50 us".
std::string linkText(const LinkModel &);

/// When bytes leave and reach one rank. Both directions are in order; times are ns of one clock for all ranks and may
/// lie in the past: a port that was late catches up, so delays of the machine do not add up.
class LinkPort {
public:
  explicit LinkPort(const LinkModel &link) : link(link) {}
  /// `bytes` are ready to be sent at `readyNs`; when the last of them has left.
  int64_t leave(int64_t readyNs, int64_t bytes) { return leftNs = std::max(leftNs, readyNs) + link.timeNs(bytes); }
  /// `bytes` that a peer has ready at `readyNs`, or sends from then on; when the last of them is here.
  int64_t arrive(int64_t readyNs, int64_t bytes) {
    takenNs = std::max(takenNs, readyNs) + link.timeNs(bytes);
    return takenNs + link.latencyNs;
  }
  int64_t allLeftNs() const { return leftNs; }

private:
  const LinkModel link;
  int64_t leftNs = 0, takenNs = 0;
};

} // namespace comm::rt
