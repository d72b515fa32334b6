//===- Kernel.cpp - the table of compute commands -------------------------===//
#include "runtime/Kernels/Kernel.h"
#include "runtime/Kernels/Experts/ExpertMatmul.h"
#include "runtime/Kernels/Support.h"
#include <algorithm>
#include <new>

using namespace comm;
using namespace comm::rt;

namespace {
struct KernelEntry {
  const char *op;
  PrepareFunction prepare;
};
// Sorted by name.
constexpr KernelEntry table[] = {
    {"attention", prepareAttention},
    {"copy", prepareCopy},
    {"embedding", prepareEmbedding},
    {"expert_matmul", prepareExpertMatmul},
    {"fill", prepareFill},
    {"gather", prepareGather},
    {"gather_elements", prepareGatherElements},
    {"gather_nd", prepareGatherND},
    {"matmul", prepareMatmul},
    {"pack_shards", preparePackShards},
    {"quantized_matmul", prepareQuantizedMatmul},
    {"rank_mask", prepareRankMask},
    {"scatter_nd", prepareScatterND},
    {"shard_copy", prepareShardCopy},
    {"top_k", prepareTopK},
    {"unpack_shards", prepareUnpackShards},
};

PrepareFunction find(const std::string &op) {
  for (const KernelEntry &entry : table)
    if (op == entry.op)
      return entry.prepare;
  return nullptr;
}
} // namespace

bool comm::rt::isKernelOp(const std::string &op) { return find(op) != nullptr; }

std::vector<std::string> comm::rt::kernelOps() {
  std::vector<std::string> ops;
  for (const KernelEntry &entry : table)
    ops.push_back(entry.op);
  return ops;
}

Status comm::rt::prepareKernel(const exe::Command &command, const std::vector<TensorDesc> &ins,
                               const std::vector<TensorDesc> &outs, const PrepareContext &context,
                               std::unique_ptr<Kernel> &out) {
  out.reset();
  Preparation preparation(command, ins, outs, context);
  PrepareFunction prepare = find(command.op);
  if (!prepare)
    return preparation.unsupported("this runtime has no such operation");
  try {
    Status status = prepare(preparation, out);
    // Memory of an empty tensor may be null, so nothing touches it.
    if (status && elementsOf(outs[0].shape) == 0)
      out = makeKernel(0, {});
    return status;
  } catch (const std::bad_alloc &) {
    return {Code::OutOfMemory, preparation.prefix() + "no memory for its packed weights"};
  }
}

bool comm::rt::parseMicroKernelChoice(const std::string &text, MicroKernelChoice &out) {
  constexpr const char *names[] = {"auto", "builtin", "libxsmm", "portable", "avx2", "avx512", "avx512bf16", "amx"};
  for (int i = 0; i < 8; ++i)
    if (text == names[i]) {
      out = MicroKernelChoice(i);
      return true;
    }
  return false;
}
