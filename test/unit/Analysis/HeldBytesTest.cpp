//===- HeldBytesTest.cpp - what a rank holds, before and after Lower ------===//
#include "comm/Analysis/HeldBytes.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include <gtest/gtest.h>

using namespace mlir;
using namespace mlir::comm;

namespace {
HeldBytes heldBy(const std::string &function) {
  MLIRContext context;
  context.loadDialect<CommDialect, arith::ArithDialect, func::FuncDialect, tensor::TensorDialect>();
  OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>("comm.grid @grid [\"tp\"] = [2]\n" + function, &context);
  if (!module) {
    ADD_FAILURE() << "not parsed";
    return {};
  }
  return getHeldBytes(*module->getOps<func::FuncOp>().begin());
}

// The same weights count alike as tensors and as what commands read: packed once (10 rows of 64 columns), and as stored
// where the weight is read in place. The copy of the columns is there while they are packed.
TEST(HeldBytes, FormsAgree) {
  HeldBytes local = heldBy(R"(
func.func @f(%x: tensor<4x10xf32>) -> tensor<4x33xf32> attributes {comm.entry} {
  %w = comm.weight "w" in "m.data" at 0 layout <[[], ["tp"]]> : tensor<10x66xf32> -> tensor<10x33xf32>
  %t = comm.weight "tied" in "m.data" at 0 layout <[[], ["tp"]]> : tensor<10x66xf32> -> tensor<10x33xf32>
  %b = comm.weight "b" in "m.data" at 4096 : tensor<4x33xf32> -> tensor<4x33xf32>
  %y = comm.matmul %x, %w : tensor<4x10xf32>, tensor<10x33xf32> -> tensor<4x33xf32>
  %z = comm.matmul %x, %t : tensor<4x10xf32>, tensor<10x33xf32> -> tensor<4x33xf32>
  %s = arith.addf %y, %z : tensor<4x33xf32>
  %r = arith.addf %s, %b : tensor<4x33xf32>
  return %r : tensor<4x33xf32>
})");
  HeldBytes command = heldBy(R"(
func.func @f(%x: memref<4x10xf32>, %r: memref<4x33xf32> {comm.output}) attributes {comm.entry} {
  %w = comm.loaded_weight "w" in "m.data" at 0 layout <[[], ["tp"]]> : tensor<10x66xf32> -> memref<10x33xf32>
  %t = comm.loaded_weight "tied" in "m.data" at 0 layout <[[], ["tp"]]> : tensor<10x66xf32> -> memref<10x33xf32>
  %b = comm.loaded_weight "b" in "m.data" at 4096 : tensor<4x33xf32> -> memref<4x33xf32>
  comm.command "matmul" ins(%x, %w : memref<4x10xf32>, memref<10x33xf32>) outs(%r : memref<4x33xf32>) {}
  comm.command "matmul" ins(%x, %t : memref<4x10xf32>, memref<10x33xf32>) outs(%r : memref<4x33xf32>) {}
  comm.command "matmul" ins(%b, %x : memref<4x33xf32>, memref<4x10xf32>) outs(%r : memref<4x33xf32>) {}
  return
})");
  for (const HeldBytes &held : {local, command}) {
    EXPECT_EQ(held.weights, 10 * 64 * 4);
    EXPECT_EQ(held.mapped, 4 * 33 * 4);
    EXPECT_EQ(held.ports, (40 + 132) * 4);
    EXPECT_EQ(held.loading, 10 * 64 * 4 + 10 * 33 * 4);
    EXPECT_EQ(held.total(), held.weights + held.ports);
  }
}

// Integers and rounded products; parts of one weight are not the same weight.
TEST(HeldBytes, NarrowProducts) {
  HeldBytes held = heldBy(R"(
func.func @f(%x: tensor<1x32xf32>) -> tensor<1x8xf32> {
  %q = comm.weight "q" in "m.data" at 0 : tensor<8x1x16xi8> -> tensor<8x1x16xi8>
  %s = comm.weight "s" in "m.data" at 128 : tensor<8x1xf32> -> tensor<8x1xf32>
  %w = comm.weight "w" in "m.data" at 256 : tensor<64x8xf32> -> tensor<64x8xf32>
  %low = tensor.extract_slice %w[0, 0] [32, 8] [1, 1] : tensor<64x8xf32> to tensor<32x8xf32>
  %high = tensor.extract_slice %w[32, 0] [32, 8] [1, 1] : tensor<64x8xf32> to tensor<32x8xf32>
  %a = comm.quantized_matmul %x, %q scales %s : tensor<8x1xf32> bits 4 block 32 : tensor<1x32xf32>, tensor<8x1x16xi8> -> tensor<1x8xf32>
  %b = comm.matmul %x, %low {comm.precision = "bf16"} : tensor<1x32xf32>, tensor<32x8xf32> -> tensor<1x8xf32>
  %c = comm.matmul %x, %high : tensor<1x32xf32>, tensor<32x8xf32> -> tensor<1x8xf32>
  %d = arith.addf %a, %b : tensor<1x8xf32>
  %e = arith.addf %d, %c : tensor<1x8xf32>
  return %e : tensor<1x8xf32>
})");
  EXPECT_EQ(held.weights, 16 * (16 + 4) + 32 * 32 * 2 + 32 * 32 * 4);
  EXPECT_EQ(held.mapped, 0);
}

// A part of an input stands beside the whole.
TEST(HeldBytes, SplitPorts) {
  HeldBytes held = heldBy(R"(
func.func @f(%x: tensor<4xf32> {comm.whole = tensor<8xf32>}) -> (tensor<4xf32> {comm.whole = tensor<8xf32>}) {
  return %x : tensor<4xf32>
})");
  EXPECT_EQ(held.ports, 4 * 16);
}
} // namespace
