//===- WeaveTest.cpp - fused, split and chunked decoders keep their values ===//
// Fill rows hold NaN in the interpreter, so that a result which depends on one is not close to anything.
//===----------------------------------------------------------------------===//
#include "LocalCase.h"
#include "mlir/IR/BuiltinOps.h"
#include <gtest/gtest.h>

using namespace commtest;

namespace {
const char *kFuse = "func.func(comm-fuse-all-reduce-norm,comm-shard-residual,canonicalize,cse)";
std::string split(int64_t cut, const std::string &more = "") {
  return "func.func(comm-fuse-all-reduce-norm,comm-split-tokens{min-rows=2 tile=1 cut=" + std::to_string(cut) + "}" +
         more + ",canonicalize,cse)";
}
const std::string kAsync = ",comm-make-async,comm-sink-waits,comm-decompose-collectives";

std::string printed(mlir::OwningOpRef<mlir::ModuleOp> &module) {
  std::string text;
  llvm::raw_string_ostream(text) << *module;
  return text;
}
int64_t count(mlir::OwningOpRef<mlir::ModuleOp> &module, const char *name) { return countOps(*module, name); }

// Every number of rows modulo the ranks, fewer rows than ranks among them.
TEST(ShardResidual, EveryNumberOfRows) {
  for (int64_t ranks : {1, 2, 3, 4})
    for (int64_t tokens = 1; tokens <= 9; ++tokens) {
      Decoder d;
      d.ranks = ranks;
      d.tokens = tokens;
      d.layers = 2;
      d.layerNorm = tokens % 2;
      d.bias = tokens % 3 == 0;
      d.flat = tokens % 4 == 0;
      d.returnsSum = tokens % 2 == 0;
      mlir::OwningOpRef<mlir::ModuleOp> after;
      ASSERT_EQ(compareLocal(d.module(), kFuse, static_cast<uint32_t>(tokens), &after), "")
          << ranks << " ranks, " << tokens << " tokens";
      bool fused = ranks > 1 && tokens >= ranks;
      EXPECT_EQ(count(after, "comm.scatter_norm_gather"), fused ? 4 : 0);
      EXPECT_EQ(count(after, "comm.all_reduce"), 0) << "every chain is found\n" << printed(after);
      EXPECT_EQ(count(after, "comm.shard_slice"), fused ? 1 : 0) << "the residual is cut once";
      EXPECT_EQ(count(after, "comm.all_gather"), fused && d.returnsSum ? 1 : 0) << "and gathered for the result only";
    }
}

TEST(SplitTokens, EveryCutOfCausalSequences) {
  for (int64_t past : {0, 1, 3})
    for (int64_t tokens : {1, 2, 5})
      for (int64_t cut = 1; cut < std::max<int64_t>(tokens, 2); ++cut) {
        Decoder d;
        d.tokens = tokens;
        d.past = past;
        d.layers = 2;
        d.returnsSum = cut % 2;
        d.flat = cut % 3 == 0;
        d.bias = tokens == 5;
        for (const char *more : {"", ",comm-shard-residual"}) {
          mlir::OwningOpRef<mlir::ModuleOp> after;
          ASSERT_EQ(compareLocal(d.module(), split(cut, more), 5, &after), "")
              << tokens << " tokens cut at " << cut << ", " << past << " past" << more;
          EXPECT_EQ(count(after, "comm.attention"), tokens > 1 ? 4 : 2);
        }
      }
}

// The cut falls inside and on the borders of sequences: one dimension of a batch of sequences, the other between them.
TEST(SplitTokens, SequencesOfABatch) {
  for (bool causal : {true, false})
    for (int64_t batch : {2, 3})
      for (int64_t cut : {1, 2}) {
        Decoder d;
        d.batch = batch;
        d.tokens = 3;
        d.ranks = 3;
        d.causal = causal;
        d.flat = batch == 3;
        d.layerNorm = !causal;
        mlir::OwningOpRef<mlir::ModuleOp> after;
        ASSERT_EQ(compareLocal(d.module(), split(cut, ",comm-shard-residual"), 3, &after), "")
            << "batch " << batch << " cut at " << cut;
        EXPECT_EQ(count(after, "comm.attention"), cut < batch || causal ? 2 : 1);
      }
}

TEST(SplitTokens, RefusesOneSequenceThatIsNotCausal) {
  Decoder d;
  d.causal = false;
  mlir::OwningOpRef<mlir::ModuleOp> after;
  ASSERT_EQ(compareLocal(d.module(), split(0), 3, &after), "");
  EXPECT_EQ(count(after, "comm.attention"), 1);
  EXPECT_NE(countOps(*after, "comm.all_reduce_norm"), 0);
}

// The schedule and the lowering of collectives keep the values too, from 2 to 4 ranks.
TEST(Weave, ThroughTheSchedule) {
  for (int64_t ranks : {2, 3, 4})
    for (int64_t tokens : {4, 7, 8}) {
      Decoder d;
      d.ranks = ranks;
      d.tokens = tokens;
      d.past = tokens == 7 ? 2 : 0;
      d.layers = 2;
      d.returnsSum = true;
      mlir::OwningOpRef<mlir::ModuleOp> after;
      ASSERT_EQ(compareLocal(d.module(), split(0, ",comm-shard-residual" + kAsync), 11, &after), "")
          << ranks << " ranks, " << tokens << " tokens";
      EXPECT_EQ(count(after, "comm.start"), 8 + (tokens / 2 >= ranks ? 2 : (tokens + 1) / 2 >= ranks ? 1 : 0));
    }
}

TEST(PipelineMatmuls, EveryNumberOfChunks) {
  for (int64_t chunks : {1, 2, 3, 7})
    for (int64_t tokens : {1, 2, 6, 7}) {
      Decoder d;
      d.tokens = tokens;
      d.ranks = 3;
      d.layers = 1;
      std::string passes = "func.func(comm-fuse-all-reduce-norm,comm-pipeline-matmuls{tile=1 min-rows=2 "
                           "chunks=" +
                           std::to_string(chunks) + "},comm-shard-residual,canonicalize,cse" + kAsync + ")";
      mlir::OwningOpRef<mlir::ModuleOp> after;
      ASSERT_EQ(compareLocal(d.module(), passes, 7, &after), "") << chunks << " chunks of " << tokens << " tokens";
    }
}

// Shards in the rows: what is gathered or scattered in chunks lies where it lay.
TEST(PipelineMatmuls, ShardsInTheRows) {
  for (int64_t ranks : {2, 3, 4})
    for (int64_t rows : {1, 2, 5})
      for (int64_t chunks : {2, 3}) {
        std::string local = "tensor<" + std::to_string(rows) + "x4xf64>",
                    whole = "tensor<" + std::to_string(rows * ranks) + "x4xf64>", w = "tensor<4x4xf64>";
        std::string text = "comm.grid @grid [\"dp\", \"tp\"] = [2, " + std::to_string(ranks) +
                           "]\nfunc.func @main(%x: " + local + ", %a: " + w + ", %b: " + w + ") -> (" + local +
                           ") {\n" + "  %g = comm.all_gather %x dim 0 over @grid[\"tp\"] : " + local + " -> " + whole +
                           "\n" + "  %p = comm.matmul %g, %a : " + whole + ", " + w + " -> " + whole + "\n" +
                           "  %s = comm.silu %p : " + whole + "\n  %q = comm.matmul %s, %b : " + whole + ", " + w +
                           " -> " + whole + "\n  %r = comm.reduce_scatter sum %q dim 0 over @grid[\"tp\"] : " + whole +
                           " -> " + local + "\n  return %r : " + local + "\n}\n";
        std::string passes = "func.func(comm-pipeline-matmuls{tile=1 min-rows=1 chunks=" + std::to_string(chunks) +
                             "},canonicalize,cse)";
        mlir::OwningOpRef<mlir::ModuleOp> after;
        ASSERT_EQ(compareLocal(text, passes, 13, &after), "") << ranks << " ranks, " << rows << " rows";
        EXPECT_EQ(count(after, "comm.reduce_scatter"), rows == 1 ? 1 : std::min(chunks, rows));
        EXPECT_EQ(count(after, "comm.all_gather"), rows == 1 ? 1 : std::min(chunks, rows));
      }
}
/// An all_gather read by two products, and a reduce_scatter of what they make, along dimension 1 of [batch, rows, 4].
std::string ringCase(int64_t ranks, int64_t batch, int64_t local, int64_t rows) {
  auto type = [&](int64_t size) { return "tensor<" + std::to_string(batch) + "x" + std::to_string(size) + "x4xf64>"; };
  std::string own = type(local), whole = type(rows), w = "tensor<4x4xf64>", over = " dim 1 over @grid[\"tp\"] : ";
  auto matmul = [&](const std::string &x, const std::string &weight) {
    return "comm.matmul " + x + ", " + weight + " : " + whole + ", " + w + " -> " + whole + "\n";
  };
  return "comm.grid @grid [\"dp\", \"tp\"] = [2, " + std::to_string(ranks) + "]\nfunc.func @main(%x: " + own +
         ", %a: " + w + ", %b: " + w + ", %c: " + w + ") -> (" + own + ") {\n  %g = comm.all_gather %x" + over + own +
         " -> " + whole + "\n  %p = " + matmul("%g", "%a") + "  %q = " + matmul("%g", "%b") +
         "  %m = arith.mulf %p, %q : " + whole + "\n  %s = " + matmul("%m", "%c") +
         "  %r = comm.reduce_scatter sum %s" + over + whole + " -> " + own + "\n  return %r : " + own + "\n}\n";
}

// Shards that divide and that do not, ranks without a row of their own, as values, started, and lowered.
TEST(PipelineMatmuls, RingOrder) {
  for (int64_t ranks : {2, 3, 4})
    for (int64_t batch : {1, 2})
      for (int64_t rows : {2, 4, 5, 6, 7})
        for (const std::string &more : {std::string(), kAsync}) {
          mlir::OwningOpRef<mlir::ModuleOp> after;
          int64_t local = (rows + ranks - 1) / ranks;
          if (local * (ranks - 1) >= rows && rows % ranks != 0 && rows < ranks)
            continue; // blocks are replicated: another layout
          ASSERT_EQ(compareLocal(ringCase(ranks, batch, local, rows),
                                 "func.func(comm-pipeline-matmuls{order=ring min-rows=1},canonicalize,cse" + more + ")",
                                 17, &after),
                    "")
              << ranks << " ranks, " << rows << " rows";
          EXPECT_EQ(count(after, "comm.permute"), 2 * (ranks - 1));
          EXPECT_EQ(count(after, "comm.all_gather") + count(after, "comm.reduce_scatter"), 0);
        }
}
} // namespace
