//===- LoopCases.h - fused loops, each beside one by hand -------*- C++ -*-===//
#ifndef BENCH_KERNELS_LOOPCASES_H
#define BENCH_KERNELS_LOOPCASES_H
#include "CompiledLoop.h"
#include "HandLoops.h"

namespace comm::bench {

struct LoopCase {
  std::string name, text; ///< text: what the compiler gets
  HandLoop hand = nullptr;
  HandShape shape;
  int64_t handRows = 0; ///< iterations of `hand`
};

/// The loops of a Llama block and of a sentence encoder, and those of quantised tensors, for one row and for many.
std::vector<LoopCase> loopCases();

/// Buffers of one case: inputs with numbers, two sets of results.
class LoopBuffers {
public:
  explicit LoopBuffers(const CompiledLoop &loop);
  /// Inputs, then results: those of the compiled loop or those of the one by hand.
  void *const *compiled() const { return mine.data(); }
  void *const *hand() const { return other.data(); }
  /// A sentence about the first result in which the two differ; empty: none. Integers are to be equal, floats to 4e-6
  /// of 1 + their size.
  std::string difference() const;

private:
  struct Free {
    void operator()(void *p) const;
  };
  void *allocate(const Port &port, int filling);
  const CompiledLoop &loop;
  std::vector<std::unique_ptr<void, Free>> memory;
  std::vector<void *> mine, other;
};

} // namespace comm::bench
#endif
