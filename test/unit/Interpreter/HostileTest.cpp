//===- HostileTest.cpp - IR that verifies never brings the interpreter down //
// Sizes of zero, tensors of rank zero, ops it does not know and operands that do not fit: a value or a clean refusal.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"

using namespace testing_interpreter;

TEST(Hostile, SizeZeroEverywhere) {
  const std::string z = "tensor<0x4xf32>", grid = "comm.grid @grid [\"tp\"] = [2]\n", tp = " over @grid[\"tp\"]";
  Numbers four = {1, 2, 3, 4};
  struct Case {
    std::string text;
    Args args;
  };
  const Case cases[] = {
      {oneOp(z + ", tensor<4xf32>", z, "comm.rms_norm %a, %b epsilon 1.0 : " + z + ", tensor<4xf32>"), {{}, four}},
      {oneOp("tensor<4x0xf32>, tensor<0xf32>", "tensor<4x0xf32>",
             "comm.layer_norm %a, %b epsilon 1.0 : tensor<4x0xf32>, tensor<0xf32>"),
       {{}, {}}},
      {oneOp("tensor<4x0xf32>", "tensor<4x0xf32>", "comm.softmax %a : tensor<4x0xf32>"), {{}}},
      {oneOp(z, z, "comm.gelu erf %a : " + z), {{}}},
      {oneOp(z + ", " + z, z, "arith.addf %a, %b : " + z), {{}, {}}},
      {oneOp("tensor<1x0x3x4xf32>, tensor<1x3x2xf32>, tensor<1x3x2xf32>", "tensor<1x0x3x4xf32>",
             "comm.rotary %a, %b, %c : tensor<1x0x3x4xf32>, tensor<1x3x2xf32>"),
       {{}, counting(6), counting(6)}},
      {oneOp("tensor<1x1x2x0xf32>, tensor<1x2x0xf32>, tensor<1x2x0xf32>", "tensor<1x1x2x0xf32>",
             "comm.rotary %a, %b, %c : tensor<1x1x2x0xf32>, tensor<1x2x0xf32>"),
       {{}, {}, {}}},
      {oneOp(z + ", tensor<4x0xf32>", "tensor<0x0xf32>",
             "comm.matmul %a, %b : " + z + ", tensor<4x0xf32> -> tensor<0x0xf32>"),
       {{}, {}}},
      {oneOp("tensor<1x0x3x2xf32>, tensor<1x2x3x2xf32>, tensor<1x2x3x2xf32>", "tensor<1x0x3x2xf32>",
             "comm.attention %a, %b, %c scale 1.0 : tensor<1x0x3x2xf32>, tensor<1x2x3x2xf32>, tensor<1x2x3x2xf32> -> "
             "tensor<1x0x3x2xf32>"),
       {{}, counting(12), counting(12)}},
      {oneOp(z, "tensor<0x2x2xf32>",
             "tensor.expand_shape %a [[0], [1, 2]] output_shape [0, 2, 2] : " + z + " into tensor<0x2x2xf32>"),
       {{}}},
      {grid + oneOp(z, z, "comm.all_reduce sum %a" + tp + " : " + z), {{}}},
      {grid + oneOp(z, z, "comm.all_gather %a dim 0" + tp + " : " + z + " -> " + z), {{}}},
      {grid + oneOp(z, z, "comm.reduce_scatter sum %a dim 0" + tp + " : " + z + " -> " + z), {{}}},
      {grid + oneOp(z, z, "comm.shard_slice %a dim 0" + tp + " : " + z + " -> " + z), {{}}},
      {grid +
           oneOp(z, "tensor<0x2xf32>", "comm.all_to_all %a split 1 concat 0" + tp + " : " + z + " -> tensor<0x2xf32>"),
       {{}}},
  };
  for (const Case &c : cases) {
    bool split = c.text.find("@grid") != std::string::npos;
    std::vector<Args> out = tryRanks(c.text, split ? std::vector<Args>{c.args, c.args} : std::vector<Args>{c.args});
    ASSERT_FALSE(out.empty()) << c.text;
    EXPECT_TRUE(out[0][0].empty()) << c.text;
  }
}

TEST(Hostile, RankZero) {
  EXPECT_EQ(run(oneOp("tensor<f32>, tensor<f32>", "tensor<f32>", "arith.addf %a, %b : tensor<f32>"), {{1}, {2}}),
            Numbers({3}));
  EXPECT_EQ(run(oneOp("tensor<f32>", "tensor<f32>", "comm.silu %a : tensor<f32>"), {{0}}), Numbers({0}));
  std::string sum = "comm.grid @grid [\"tp\"] = [2]\n" +
                    oneOp("tensor<f32>", "tensor<f32>", "comm.all_reduce sum %a over @grid[\"tp\"] : tensor<f32>");
  EXPECT_EQ(runRanks(sum, {{{1}}, {{2}}}), Args(2, {3}));
}

TEST(Hostile, DivisionByZeroIsRefused) {
  for (const char *op : {"divsi", "divui", "remsi", "remui", "floordivsi"}) {
    std::string text =
        oneOp("tensor<1xi64>, tensor<1xi64>", "tensor<1xi64>", std::string("arith.") + op + " %a, %b : tensor<1xi64>");
    EXPECT_TRUE(refuses(text, {{4}, {0}})) << op;
  }
  std::string divide = oneOp("tensor<1xi64>, tensor<1xi64>", "tensor<1xi64>", "arith.divsi %a, %b : tensor<1xi64>");
  EXPECT_TRUE(refuses(divide, {{-9223372036854775808.0}, {-1}}));
  std::string remainder = oneOp("tensor<1xi64>, tensor<1xi64>", "tensor<1xi64>", "arith.remsi %a, %b : tensor<1xi64>");
  EXPECT_EQ(run(remainder, {{-9223372036854775808.0}, {-1}}), Numbers({0}));
}

TEST(Hostile, UnknownOpsAndTypesAreRefused) {
  EXPECT_TRUE(refuses(oneOp("tensor<2xi32>", "tensor<2xi32>", "math.ctlz %a : tensor<2xi32>"), {{1, 2}}));
  // A function of several blocks, a declaration, an op without results, scalars, vectors, complex and very wide
  // elements.
  for (const char *text : {
           "func.func @f() { func.call @g() : () -> ()\n return }\nfunc.func private @g()",
           "func.func private @f()",
           "func.func @f() -> tensor<1xf32> { cf.br ^bb1\n^bb1:\n %c = arith.constant dense<1.0> : tensor<1xf32>\n "
           "return %c : tensor<1xf32> }",
           "func.func @f() -> f32 { %c = arith.constant 1.0 : f32\n return %c : f32 }",
           "func.func @f() -> vector<2xf32> { %c = arith.constant dense<1.0> : vector<2xf32>\n return %c : "
           "vector<2xf32> }",
           "func.func @f() -> tensor<1xcomplex<f32>> { %c = arith.constant dense<(1.0, 2.0)> : "
           "tensor<1xcomplex<f32>>\n return %c : tensor<1xcomplex<f32>> }",
           "func.func @f() -> tensor<1xi128> { %c = arith.constant dense<1> : tensor<1xi128>\n return %c : "
           "tensor<1xi128> }",
           "func.func @f() -> tensor<2xf32> { %c = arith.constant 1.0 : f32\n %e = tensor.empty() : tensor<2xf32>\n"
           " %r = linalg.fill ins(%c : f32) outs(%e : tensor<2xf32>) -> tensor<2xf32>\n return %r : tensor<2xf32> }",
           "func.func @f() -> tensor<?xf32> { %c = arith.constant dense<1.0> : tensor<2xf32>\n"
           " %r = tensor.cast %c : tensor<2xf32> to tensor<?xf32>\n return %r : tensor<?xf32> }",
       }) {
    OwningOpRef<ModuleOp> module;
    {
      ScopedDiagnosticHandler quiet(&context(), [](Diagnostic &) { return success(); });
      module = parseSourceString<ModuleOp>(text, &context());
      if (!module)
        continue; // does not verify: not our concern
      func::FuncOp function = *module->getOps<func::FuncOp>().begin();
      EXPECT_TRUE(failed(interpret(function, {{}}))) << text;
    }
    module->walk([&](Operation *op) {
      if (op->getNumOperands() == 0 && !isa<ModuleOp, func::FuncOp>(op))
        EXPECT_TRUE(failed(evaluateOp(op, {})) || canEvaluate(op)) << text;
    });
  }
}

TEST(Hostile, WhatIsKnownCanBeRun) {
  // canEvaluate and evaluateOp must agree on ops with harmless operands.
  OwningOpRef<ModuleOp> module = parse(R"(func.func @f(%x: tensor<2x2xf32>, %s: f32) {
    %a = arith.constant dense<1.0> : tensor<2xf32>
    %b = arith.constant 1.0 : f32
    %e = tensor.empty() : tensor<2x2xf32>
    %c = linalg.fill ins(%s : f32) outs(%e : tensor<2x2xf32>) -> tensor<2x2xf32>
    %d = arith.addf %x, %x : tensor<2x2xf32>
    %g = comm.softmax %x : tensor<2x2xf32>
    %h = arith.addf %s, %s : f32
    return })");
  module->walk([&](Operation *op) {
    if (isa<ModuleOp, func::FuncOp, func::ReturnOp>(op))
      return;
    SmallVector<HostTensor> operands;
    for (Type type : op->getOperandTypes())
      if (auto tensor = dyn_cast<RankedTensorType>(type))
        operands.push_back(HostTensor::zeros(tensor));
    EXPECT_EQ(canEvaluate(op), succeeded(evaluateOp(op, operands))) << op->getName().getStringRef().str();
  });
}

TEST(Hostile, OperandsThatDoNotFitAreRefused) {
  OwningOpRef<ModuleOp> module =
      parse(oneOp("tensor<2xf32>, tensor<2xf32>", "tensor<2xf32>", "arith.addf %a, %b : tensor<2xf32>"));
  Operation *add = nullptr;
  module->walk([&](arith::AddFOp op) { add = op; });
  RankedTensorType two = cast<RankedTensorType>(add->getResult(0).getType()),
                   three = RankedTensorType::get({3}, two.getElementType());
  HostTensor fits = HostTensor::zeros(two), shorter = fits;
  shorter.floats.pop_back();
  EXPECT_TRUE(succeeded(evaluateOp(add, {fits, fits})));
  EXPECT_TRUE(failed(evaluateOp(add, {fits})));
  EXPECT_TRUE(failed(evaluateOp(add, {fits, HostTensor::zeros(three)})));
  EXPECT_TRUE(failed(evaluateOp(add, {fits, shorter})));
  EXPECT_TRUE(
      failed(evaluateOp(add, {fits, HostTensor::zeros(RankedTensorType::get({2}, IntegerType::get(&context(), 32)))})));
}

TEST(Hostile, ShapesTheVerifierDoesNotCompare) {
  // A vocabulary that the table is no shard of, a grain that does not divide it, an axis that the grid does not have.
  auto embedding = [](const std::string &vocab, const std::string &more) {
    return "comm.grid @grid [\"tp\"] = [2]\n" + oneOp("tensor<2x1xf32>, tensor<1xi64>", "tensor<1x1xf32>",
                                                      "comm.embedding %a, %b vocab " + vocab + more +
                                                          " : tensor<2x1xf32>, tensor<1xi64> -> tensor<1x1xf32>");
  };
  Args args = {{1, 2}, {3}};
  EXPECT_FALSE(tryRanks(embedding("4", " over [\"tp\"]"), {args, args}).empty());
  EXPECT_TRUE(tryRanks(embedding("40", " over [\"tp\"]"), {args, args}).empty());
  EXPECT_TRUE(tryRanks(embedding("4", " over [\"tp\"] {grain = 3 : i64}"), {args, args}).empty());
  EXPECT_TRUE(tryRanks(embedding("4", " over [\"tp\"] {grain = 0 : i64}"), {args, args}).empty());
  EXPECT_TRUE(tryRanks(embedding("4", " over [\"ep\"]"), {args, args}).empty());
  // Indices with more rows than the data: the type inference refuses it, or the interpreter does.
  ScopedDiagnosticHandler quiet(&context(), [](Diagnostic &) { return success(); });
  std::string elements =
      oneOp("tensor<2x3xi32>, tensor<5x2xi64>", "tensor<5x2xi32>",
            "comm.gather_elements %a, %b axis 1 : tensor<2x3xi32>, tensor<5x2xi64> -> tensor<5x2xi32>");
  if (OwningOpRef<ModuleOp> module = parseSourceString<ModuleOp>(elements, &context()))
    EXPECT_TRUE(tryRanks(elements, {{counting(6), Numbers(10, 0)}}).empty());
}
