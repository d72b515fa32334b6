//===- Exchange.h - the messages of one operation ---------------*- C++ -*-===//
// What goes where in which order, without a clock and without MPI: the progress thread asks what to post next and says
// what has come.
//===----------------------------------------------------------------------===//
#pragma once
#include "runtime/Transport/Operation.h"
#include <algorithm>

namespace comm::rt::mpi {

enum Tag : int { headerTag = 1, dataTag, resultTag, abortTag };

struct ExchangeOptions {
  int64_t chunkBytes = 60 << 10, window = 32, oneShotBytes = 32 << 10;
};

/// A run of bytes to or from one peer, in pieces. Pieces are posted in order and may end in any order.
struct Stream {
  bool sends = false;
  int32_t peer = 0;
  int tag = dataTag;
  uint8_t *base = nullptr; ///< of a ring: `ring` pieces that are used in turn
  int64_t bytes = 0, ring = 0;
  int64_t posted = 0, ended = 0; ///< pieces; `ended`: all before this one
  std::vector<bool> done;        ///< by piece

  int64_t pieces(int64_t chunk) const { return (bytes + chunk - 1) / chunk; }
  int64_t length(int64_t piece, int64_t chunk) const { return std::min(chunk, bytes - piece * chunk); }
  uint8_t *at(int64_t piece, int64_t chunk) const { return base + (ring ? piece % ring : piece) * chunk; }
};

class Exchange {
public:
  /// `op` is prepared and outlives this. Nothing is written yet.
  Exchange(const Operation &op, const ExchangeOptions &);
  /// All members have come and agree: what needs no message is done, and receives may be posted from here on.
  void begin();

  struct Post {
    bool sends;
    void *data;
    size_t bytes;
    int32_t peer;
    int tag;
    uint64_t token;
  };
  /// The next message that may be posted, if there is one.
  bool next(Post &out);
  /// The message of this token has ended. Reduces what has become complete.
  void end(uint64_t token);
  bool finished() const;
  /// Ranks whose messages are missing.
  std::vector<int32_t> pendingPeers() const;
  int64_t bytesSent() const;

private:
  void addStream(bool sends, size_t member, int tag, void *base, int64_t bytes, int64_t ring = 0);
  void planReduction();
  void planCopies();
  bool mayPost(const Stream &) const;
  void reduce();

  const Operation &op;
  const ExchangeOptions options;
  int64_t chunk; ///< bytes of a piece: whole elements
  std::vector<Stream> streams;
  std::vector<uint8_t> staging;
  std::vector<size_t> sendOf, operandOf, resultOf; ///< by member: indices in `streams` + 1; 0: none
  // Reductions: what this member reduces.
  uint8_t *result = nullptr;
  const uint8_t *own = nullptr;
  int64_t resultBytes = 0, reduced = 0; ///< `reduced`: pieces
  bool halves = false;                  ///< the results of the members are exchanged too
  bool begun = false;
};

} // namespace comm::rt::mpi
