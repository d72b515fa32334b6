//===- ImportRun.cpp - import a model and interpret it --------------------===//
// import-run model.onnx [--check] [--raise] [--print] [--dim name=value]... [--shape input=2x3]... [--data
// input=file]... [--out folder] Files hold the elements as little-endian f64 (floats) or i64 (integers), row-major. The
// weights are read from the model. Exit 3: the model was refused.
//===----------------------------------------------------------------------===//
#include "comm/Import/Import.h"
#include "comm/Interpreter/Interpreter.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/IR/BuiltinOps.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Import/Passes.h"
#include <fstream>
#include <iostream>

using namespace mlir;
using namespace mlir::comm;

static std::vector<int64_t> parseShape(llvm::StringRef text) {
  std::vector<int64_t> shape;
  while (!text.empty()) {
    auto [head, tail] = text.split('x');
    shape.push_back(std::atoll(head.str().c_str()));
    text = tail;
  }
  return shape;
}

static bool readRaw(const std::string &path, HostTensor &tensor) {
  std::ifstream in(path, std::ios::binary);
  char *target =
      tensor.isFloat() ? reinterpret_cast<char *>(tensor.floats.data()) : reinterpret_cast<char *>(tensor.ints.data());
  return bool(in.read(target, tensor.size() * 8)) || tensor.size() == 0;
}

/// The whole stored tensor of a weight.
static FailureOr<HostTensor> readWeight(const OnnxModel &model, WeightOp weight) {
  auto type = cast<RankedTensorType>(weight.getStored());
  llvm::ArrayRef<char> bytes = model.getBytes(weight.getFile(), weight.getOffset(), getTensorBytes(type));
  if (bytes.empty())
    return failure();
  if (type.getElementType().isInteger(1))
    return HostTensor::fromAttr(
        DenseElementsAttr::get(type, llvm::ArrayRef(reinterpret_cast<const bool *>(bytes.data()), bytes.size())));
  return HostTensor::fromAttr(DenseElementsAttr::getFromRawBuffer(type, bytes));
}

static int fail(const Problems &problems) {
  for (const Problem &problem : problems)
    std::cerr << problem.str() << "\n";
  return 3;
}

static int run(const OnnxModel &model, func::FuncOp function, const std::map<std::string, std::string> &data,
               const std::string &out) {
  std::vector<HostTensor> inputs;
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    HostTensor tensor = HostTensor::zeros(cast<RankedTensorType>(function.getArgument(i).getType()));
    auto file = data.find(function.getArgAttrOfType<StringAttr>(i, kNameAttr).getValue().str());
    if (file == data.end() || !readRaw(file->second, tensor)) {
      std::cerr << "no data for argument " << i << "\n";
      return 2;
    }
    inputs.push_back(std::move(tensor));
  }
  InterpreterOptions options;
  options.weight = [&](WeightOp weight) { return readWeight(model, weight); };
  auto results = interpret(function, {inputs}, options);
  if (failed(results))
    return 1;
  for (unsigned i = 0; i < function.getNumResults(); ++i) {
    const HostTensor &tensor = (*results)[0][i];
    std::ofstream file(out + "/out_" + std::to_string(i) + ".bin", std::ios::binary);
    file.write(tensor.isFloat() ? reinterpret_cast<const char *>(tensor.floats.data())
                                : reinterpret_cast<const char *>(tensor.ints.data()),
               tensor.size() * 8);
    std::cout << function.getResultAttrOfType<StringAttr>(i, kNameAttr).getValue().str() << " "
              << (tensor.isFloat() ? "float" : "int");
    for (int64_t size : tensor.type.getShape())
      std::cout << " " << size;
    std::cout << "\n";
  }
  return 0;
}

int main(int argc, char **argv) {
  ImportOptions options;
  OpenOptions open;
  std::map<std::string, std::string> data;
  std::string path, out;
  bool check = false, raise = false, print = false;
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef arg = argv[i];
    auto value = [&] { return llvm::StringRef(++i < argc ? argv[i] : "").rsplit('='); };
    if (arg == "--check")
      check = true;
    else if (arg == "--raise")
      raise = true;
    else if (arg == "--print")
      print = true;
    else if (arg == "--strict")
      open.strictExternalData = true;
    else if (arg == "--dim") {
      auto [name, number] = value();
      options.dims[name.str()] = std::atoll(number.str().c_str());
    } else if (arg == "--shape") {
      auto [name, shape] = value();
      options.inputShapes[name.str()] = parseShape(shape);
    } else if (arg == "--data") {
      auto [name, file] = value();
      data[name.str()] = file.str();
    } else if (arg == "--out")
      out = ++i < argc ? argv[i] : "";
    else
      path = arg.str();
  }
  Problems problems;
  auto model = OnnxModel::open(path, open, problems);
  if (!model)
    return fail(problems);
  if (check)
    return model->check(problems) ? fail(problems), 0 : fail(problems);
  MLIRContext context;
  OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
  if (failed(model->importEntry(*module, options, problems)))
    return fail(problems);
  if (raise) {
    PassManager manager(&context);
    buildImportPhase(manager, [](llvm::StringRef) { return true; });
    if (failed(manager.run(*module)))
      return 1;
  }
  if (print)
    module->print(llvm::outs(), OpPrintingFlags().elideLargeElementsAttrs(32));
  return out.empty() ? 0 : run(*model, *module->getOps<func::FuncOp>().begin(), data, out);
}
