//===- Support.h - what every kernel family needs to validate ---*- C++ -*-===//
#pragma once
#include "runtime/Kernels/Kernel.h"
#include <functional>

namespace comm::rt {

/// Highest tensor rank that the kernels take.
constexpr size_t maxRank = 32;

/// a * b and a + b without overflow; false when the result does not fit.
inline bool mulFits(int64_t a, int64_t b, int64_t &out) { return !__builtin_mul_overflow(a, b, &out); }
inline bool addFits(int64_t a, int64_t b, int64_t &out) { return !__builtin_add_overflow(a, b, &out); }

/// Elements of dimensions [begin, end) of a checked shape (one whose non-zero dimensions multiply to an int64).
inline int64_t elementsOf(const exe::Shape &shape, size_t begin, size_t end) {
  int64_t n = 1;
  for (size_t d = begin; d < end; ++d)
    n *= shape[d];
  return n;
}
inline int64_t elementsOf(const exe::Shape &shape) { return elementsOf(shape, 0, shape.size()); }
std::string shapeText(const exe::Shape &shape);

/// Float types that kernels accumulate in f32 or wider.
inline bool isFloat(exe::DType t) {
  return t == exe::DType::F32 || t == exe::DType::F16 || t == exe::DType::BF16 || t == exe::DType::F64;
}

/// A command under preparation: attribute access with types, and the two ways to refuse. The first failure sticks.
class Preparation {
public:
  Preparation(const exe::Command &command, const std::vector<TensorDesc> &ins, const std::vector<TensorDesc> &outs,
              const PrepareContext &context)
      : command(command), ins(ins), outs(outs), context(context) {}

  const exe::Command &command;
  const std::vector<TensorDesc> &ins, &outs;
  const PrepareContext &context;

  /// "matmul 'layer0/q': ", the beginning of every sentence about this command.
  std::string prefix() const;
  Status bad(const std::string &what) const { return {Code::BadExecutable, prefix() + what}; }
  Status unsupported(const std::string &what) const { return {Code::Unsupported, prefix() + what}; }

  /// Operand counts, ranks, element counts and byte sizes within int64, and no attribute beyond `known` (an attribute
  /// that this runtime does not know could change the meaning).
  Status check(size_t minInputs, size_t maxInputs, size_t outputs, const std::vector<std::string> &known) const;

  Status intAttr(const char *name, int64_t &out, const int64_t *fallback = nullptr) const;
  Status boolAttr(const char *name, bool &out, bool fallback) const;                       ///< int 0 or 1
  Status floatAttr(const char *name, double &out, const double *fallback = nullptr) const; ///< takes an int as well
  Status intsAttr(const char *name, std::vector<int64_t> &out) const;
  /// `axes`: names of the grid's axes, each at most once. An empty `ints` list stands for an empty list.
  Status axesAttr(std::vector<std::string> &out) const;

  /// Same element type on every listed operand.
  Status sameType(const TensorDesc &a, const TensorDesc &b) const;
  Status sameShape(const exe::Shape &got, const exe::Shape &expected, const char *what) const;
};

/// A kernel made of a function over iterations.
using RunFunction = std::function<Status(void *const *ins, void *const *outs, int64_t begin, int64_t end)>;
std::unique_ptr<Kernel> makeKernel(int64_t iterations, RunFunction function);

/// This thread's scratch memory, at least `bytes`, aligned to 64; contents are undefined and live until the next call
/// with the same slot on this thread. Null when memory is missing.
enum class ScratchSlot { PackA, PackB, Scores, Convert, Tile, Count };
void *scratch(ScratchSlot slot, int64_t bytes);

/// One prepare function per family.
using PrepareFunction = Status (*)(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareCopy(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareFill(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareShardCopy(const Preparation &, std::unique_ptr<Kernel> &);
Status preparePackShards(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareUnpackShards(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareRankMask(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareMatmul(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareQuantizedMatmul(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareAttention(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareEmbedding(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareGather(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareGatherND(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareScatterND(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareTopK(const Preparation &, std::unique_ptr<Kernel> &);
Status prepareGatherElements(const Preparation &, std::unique_ptr<Kernel> &);

} // namespace comm::rt
