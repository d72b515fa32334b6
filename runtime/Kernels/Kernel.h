//===- Kernel.h - compute commands as prepared closures ---------*- C++ -*-===//
// A command that computes (see docs/reference/commands.md) is turned once, at load, into a Kernel: everything an
// executable may have got wrong is found there, so that a run only computes. `kernel` (native code) and collectives are
// not handled here.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Executable/Executable.h"
#include "runtime/Kernels/PackCache.h"
#include "runtime/Transport/Transport.h"
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace comm::rt {

/// An operand as prepare sees it. Row-major, contiguous, this rank's shape.
struct TensorDesc {
  exe::DType dtype = exe::DType::F32;
  exe::Shape shape;
  /// The bytes, when the operand is a weight: they never change and are complete during prepare. Else null.
  const void *constant = nullptr;
  /// Names these bytes within one PackCache: equal keys promise equal bytes, for the life of the cache. 0: do not
  /// share.
  uint64_t constantKey = 0;
};

/// Which matrix micro-kernel computes. Auto: the default of this build and CPU, today Builtin (see
/// docs/decisions/0009). Builtin: the project's own for the highest ISA level of this CPU. Avx512BF16, Amx: the same,
/// and products of bf16 on that unit (docs/decisions/0061); Libxsmm, Portable, Avx2 and Avx512 widen bf16 to f32.
/// Naming one that cannot run here makes prepare fail with DeviceMissing.
enum class MicroKernelChoice : uint8_t { Auto = 0, Builtin, Libxsmm, Portable, Avx2, Avx512, Avx512BF16, Amx };
/// "auto", "builtin", "libxsmm", "portable", "avx2", "avx512", "avx512bf16" or "amx"; false for anything else.
bool parseMicroKernelChoice(const std::string &text, MicroKernelChoice &out);
/// A number for the unit that multiplies bf16 under this choice; 0: none, products are computed in f32.
uint64_t narrowUnitIdentity(MicroKernelChoice choice);

/// What prepare may know besides the command. All pointers are borrowed for the call, `cache` for the life of the
/// kernels.
struct PrepareContext {
  const exe::Grid *grid = nullptr; ///< never null
  int64_t rank = 0;
  MicroKernelChoice microKernel = MicroKernelChoice::Auto;
  PackCache *cache = nullptr; ///< may be null: nothing is shared
};

/// Columns [first, last) of a result are final.
using ColumnsDone = std::function<void(int64_t first, int64_t last)>;

/// One prepared command. Holds no pointer to operands except packed copies of its own. Runs of different kernels on one
/// thread share that thread's scratch memory; one kernel may be run by several threads at a time on disjoint iterations
/// and equal pointers.
class Kernel {
public:
  virtual ~Kernel() = default;
  /// Independent units of the outermost loop; 0 when there is nothing to do.
  virtual int64_t iterations() const { return 1; }
  /// Computes iterations [begin, end). `ins` and `outs` are in the order of the command, aligned to the element width
  /// (64 bytes is faster); outputs overlap no input. Fails only on data (an index out of range) and on missing memory.
  virtual Status run(void *const *ins, void *const *outs, int64_t begin, int64_t end) = 0;
  /// All iterations on the calling thread.
  Status run(void *const *ins, void *const *outs) { return run(ins, outs, 0, iterations()); }
  /// Parts of equal size that can be computed by themselves, in the order in which they lie in the output: the first
  /// dimension of a batch, or the rows of a product. 0: there are none.
  virtual int64_t rows() const { return 0; }
  /// Whether row r of the output needs of this input, cut in as many parts, no more than part r.
  virtual bool readsOwnRow(size_t input) const { return input == SIZE_MAX; }
  /// Computes rows [begin, end) on the calling thread; only where there are rows.
  virtual Status runRows(void *const *ins, void *const *outs, int64_t begin, int64_t end) {
    int64_t each = iterations() / std::max<int64_t>(1, rows());
    return run(ins, outs, begin * each, end * each);
  }
  /// Columns of the output (its last dimension), ranges of which can be computed by themselves for all rows, and what
  /// their first column is a multiple of. 0: there are none.
  virtual int64_t columns() const { return 0; }
  virtual int64_t columnStep() const { return 1; }
  /// Computes columns [begin, end) of all rows on the calling thread; only where there are columns. `done` hears of
  /// every range of them in order, as soon as it is final.
  virtual Status runColumns(void *const *, void *const *, int64_t, int64_t, const ColumnsDone &) {
    return Status::ok();
  }
  /// Rows that pass by a packed weight, which comes into the cache once per call; 0: no such product.
  virtual int64_t productRows() const { return 0; }
  /// Bytes of packed weights that this kernel allocated (0 when it found them in the cache).
  virtual int64_t packedBytes() const { return 0; }
  /// False: the input was packed at prepare; its pointer is not read and may be null, its bytes may be freed.
  virtual bool readsInput(size_t index) const { return true; }
};

/// True when `prepareKernel` knows this op.
bool isKernelOp(const std::string &op);
/// All ops that `prepareKernel` knows, sorted.
std::vector<std::string> kernelOps();

/// Validates an untrusted command against its operands and builds its closure. BadExecutable: the command contradicts
/// docs/reference/commands.md; Unsupported: it is sound, but this runtime cannot run it. The text names op and label.
Status prepareKernel(const exe::Command &command, const std::vector<TensorDesc> &ins,
                     const std::vector<TensorDesc> &outs, const PrepareContext &context, std::unique_ptr<Kernel> &out);

} // namespace comm::rt
