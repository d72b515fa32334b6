//===- CompileTimeTest.cpp - the search is linear in the layers -----------===//
#include "SplitCase.h"
#include "mlir/Parser/Parser.h"
#include <chrono>
#include <gtest/gtest.h>

using namespace mlir;
using namespace commtest;

namespace {
/// `layers` residual blocks of four products each, on a grid of two axes.
std::string model(int layers) {
  std::string body, last = "%x";
  auto weight = [&](const std::string &name, const char *type) {
    body += "  %" + name + " = comm.weight \"" + name + "\" in \"m\" at 0 : " + type + " -> " + type + "\n";
  };
  for (int i = 0; i < layers; ++i) {
    std::string n = std::to_string(i), x = "tensor<8x64xf32>", h = "tensor<8x256xf32>";
    weight("n" + n, "tensor<64xf32>");
    weight("g" + n, "tensor<64x256xf32>");
    weight("u" + n, "tensor<64x256xf32>");
    weight("d" + n, "tensor<256x64xf32>");
    body += "  %a" + n + " = comm.rms_norm " + last + ", %n" + n + " epsilon 1.0e-5 : " + x + ", tensor<64xf32>\n";
    for (const char *name : {"g", "u"})
      body += "  %" + std::string(name) + "m" + n + " = comm.matmul %a" + n + ", %" + name + n + " : " + x +
              ", tensor<64x256xf32> -> " + h + "\n";
    body += "  %s" + n + " = comm.silu %gm" + n + " : " + h + "\n  %p" + n + " = arith.mulf %s" + n + ", %um" + n +
            " : " + h + "\n";
    body += "  %o" + n + " = comm.matmul %p" + n + ", %d" + n + " : " + h + ", tensor<256x64xf32> -> " + x + "\n";
    body += "  %x" + n + " = arith.addf " + last + ", %o" + n + " : " + x + "\n";
    last = "%x" + n;
  }
  return "comm.grid @grid [\"dp\", \"tp\"] = [2, 4]\nfunc.func @main(%x: tensor<8x64xf32>) -> tensor<8x64xf32> {\n" +
         body + "  return " + last + " : tensor<8x64xf32>\n}\n";
}

double seconds(int layers) {
  auto module = parseSourceString<ModuleOp>(model(layers), &sharedContext());
  PassManager manager(&sharedContext());
  mlir::comm::buildPartitionPhase(manager, {});
  auto start = std::chrono::steady_clock::now();
  EXPECT_TRUE(succeeded(manager.run(*module)));
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

TEST(CompileTime, EightyLayersInSecondsAndLinear) {
  seconds(10);
  double some = seconds(40), many = seconds(160);
  EXPECT_LT(many, 10);
  // Four times the layers; quadratic would be sixteen. Wide for busy machines.
  EXPECT_LT(many, 10 * some + 0.1);
}
} // namespace
