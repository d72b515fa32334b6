//===- CompiledLoop.cpp - a fused loop as commc makes it ------------------===//
#include "CompiledLoop.h"
#include "comm/Export/Export.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Parser/Parser.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Lower/Codegen/Codegen.h"
#include "passes/Pipeline.h"

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;
namespace rt = ::comm::rt;
using ::comm::bench::CompiledLoop;

bool CompiledLoop::make(const std::string &text, std::string &error) {
  MLIRContext context(MLIRContext::Threading::DISABLED);
  context.loadDialect<CommDialect, func::FuncDialect, arith::ArithDialect, math::MathDialect, linalg::LinalgDialect,
                      tensor::TensorDialect>();
  auto module = parseSourceString<ModuleOp>("comm.grid @grid [\"tp\"] = [1]\n" + text, &context);
  if (!module) {
    error = "the text cannot be read";
    return false;
  }
  for (const PhaseInfo &info : getPhases()) {
    if (info.phase == Phase::Export)
      break;
    PassManager manager(&context);
    buildPhase(info.phase, manager, {});
    if (failed(manager.run(*module))) {
      error = "phase " + info.flag.str() + " fails";
      return false;
    }
  }
  std::vector<KernelSource> kernels;
  for (KernelOp kernel : module->getOps<KernelOp>())
    kernels.push_back({kernel.getSymName().str(), &kernel.getBody().front()});
  auto objects = compileKernels(kernels, {});
  if (failed(objects)) {
    error = "its loops cannot be compiled";
    return false;
  }
  auto executable = exportExecutable(*module, std::move(*objects), {});
  if (failed(executable)) {
    error = "it cannot be exported";
    return false;
  }
  return load(*executable, error);
}

bool CompiledLoop::load(const exe::Executable &executable, std::string &error) {
  const exe::Program &program = executable.entries.front().split;
  if (program.commands.size() != 1 || program.commands[0].op != "kernel") {
    error = "it does not become one native command but";
    for (const exe::Command &command : program.commands)
      error += " " + command.op;
    return false;
  }
  const exe::Command &command = program.commands[0];
  size_t chosen = 0;
  if (rt::Status s = rt::chooseNativeObject(executable.objects, chosen); !s) {
    error = s.text;
    return false;
  }
  object = executable.objects[chosen].bytes;
  if (rt::Status s = rt::NativeCode::load(object.data(), object.size(), code); !s) {
    error = s.text;
    return false;
  }
  function = code->find(std::get<std::string>(command.attrs.at("symbol")));
  count = std::get<int64_t>(command.attrs.at("iterations"));
  for (auto [ports, mine] : {std::pair(&program.inputs, &ins), std::pair(&program.outputs, &outs)})
    for (const exe::Port &port : *ports)
      mine->push_back({port.dtype, port.shape});
  for (const auto *list : {&command.inputs, &command.outputs})
    for (int32_t number : *list) {
      const exe::Value &value = program.values[static_cast<size_t>(number)];
      if (value.storage != exe::Storage::Input && value.storage != exe::Storage::Output) {
        error = "its command works on something else than inputs and results";
        return false;
      }
      operands.push_back(static_cast<size_t>(value.index) + (value.storage == exe::Storage::Output ? ins.size() : 0));
    }
  if (!function || operands.size() > 16)
    error = "the native code has no such function";
  return error.empty();
}

void CompiledLoop::run(void *const *buffers, int64_t begin, int64_t end) const {
  void *pointers[16];
  for (size_t i = 0; i < operands.size(); ++i)
    pointers[i] = buffers[operands[i]];
  function(pointers, begin, end);
}
