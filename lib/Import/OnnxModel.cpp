//===- OnnxModel.cpp - opening and checking a model -----------------------===//
#include "DimExpr.h"
#include "Entry.h"
#include "ModelImpl.h"
#include "OpTable.h"
#include "Read.h"
#include "Wire.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/SHA1.h"
#include <cerrno>
#include <climits>
#include <cstring>
#include <fcntl.h>
#include <functional>
#include <unistd.h>

namespace mlir::comm {

std::string Problem::str() const {
  std::string text = std::string(warning ? "warning[" : "error[") + code + "]: " + what;
  if (!where.empty())
    text += "\n  at " + where;
  if (!hint.empty())
    text += "\n  try: " + hint;
  return text;
}

std::string printable(llvm::StringRef text) {
  std::string result = text.substr(0, 600).str();
  for (char &c : result)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f)
      c = '?';
  return text.size() > 600 ? result + "..." : result;
}

bool hasErrors(const Problems &problems) {
  return llvm::any_of(problems, [](const Problem &problem) { return !problem.warning; });
}

OnnxModel::OnnxModel() : impl(std::make_unique<Impl>()) {}
OnnxModel::~OnnxModel() = default;

static void append(Problems &problems, const onnx::Complaints &complaints) {
  for (const onnx::Complaint &complaint : complaints)
    problems.push_back(
        {complaint.code, printable(complaint.what), printable(complaint.where), complaint.hint, complaint.warning});
}

llvm::ArrayRef<char> OnnxModel::Impl::bytesOf(const onnx::Tensor &tensor) const {
  if (tensor.file.empty())
    return {tensor.inlined.data(), tensor.inlined.size()};
  auto file = files.find(tensor.file);
  if (file == files.end())
    return {};
  return {reinterpret_cast<const char *>(file->second.data()) + tensor.offset, static_cast<size_t>(tensor.bytes)};
}

namespace {
/// Calls `visit` on every tensor of the model, those in attributes and subgraphs included.
template <typename Visit> void forEachTensor(onnx::Graph &graph, const Visit &visit) {
  for (onnx::Tensor &tensor : graph.initializers)
    visit(tensor);
  for (onnx::Node &node : graph.nodes)
    for (onnx::Attribute &attribute : node.attributes) {
      if (attribute.tensor)
        visit(*attribute.tensor);
      if (attribute.graph)
        forEachTensor(*attribute.graph, visit);
    }
}
} // namespace

bool OnnxModel::Impl::mapExternal(Problems &problems) {
  std::map<std::string, std::string> refused; // location -> why, said once
  int64_t total = 0;
  bool good = true;
  auto complain = [&](const char *code, std::string what, const onnx::Tensor &tensor, std::string hint = "") {
    if (problems.size() < 20)
      problems.push_back({code, printable(what), printable("tensor '" + tensor.name + "'"), std::move(hint)});
    good = false;
  };
  forEachTensor(model.graph, [&](onnx::Tensor &tensor) {
    if (tensor.bytes > options.maxTensorBytes)
      complain("E304",
               "a weight of " + std::to_string(tensor.bytes) + " bytes is above the limit of " +
                   std::to_string(options.maxTensorBytes),
               tensor);
    if (__builtin_add_overflow(total, tensor.bytes, &total) || total > options.maxTotalBytes)
      return complain("E304",
                      "the weights together are above the limit of " + std::to_string(options.maxTotalBytes) + " bytes",
                      tensor);
    if (tensor.file.empty() || tensor.file == fileName || refused.count(tensor.file))
      return;
    std::string error;
    if (!files.count(tensor.file)) {
      onnx::MappedFile file;
      int fd = onnx::openExternal(path, tensor.file, options.strictExternalData, file.path, error);
      if (fd < 0 || !file.map(fd, error)) {
        refused[tensor.file] = error;
        return complain("E303", "external data '" + tensor.file.substr(0, 200) + "': " + error, tensor,
                        error.find("No such file") != std::string::npos ? "put the file beside the model" : "");
      }
      files[tensor.file] = std::move(file);
    }
    uint64_t size = files[tensor.file].size(), offset = static_cast<uint64_t>(tensor.offset),
             bytes = static_cast<uint64_t>(tensor.bytes);
    if (offset > size || bytes > size - offset)
      return complain("E303",
                      "external data '" + tensor.file + "' has " + std::to_string(size) + " bytes; the tensor needs " +
                          std::to_string(bytes) + " at offset " + std::to_string(offset),
                      tensor, "download the file again: it looks cut off");
    if (options.strictExternalData && !tensor.checksum.empty()) {
      llvm::SHA1 sha;
      sha.update(llvm::ArrayRef(files[tensor.file].data(), files[tensor.file].size()));
      if (llvm::toHex(sha.final(), /*LowerCase=*/true) != llvm::StringRef(tensor.checksum).lower())
        complain("E303", "external data '" + tensor.file + "' does not have the recorded SHA-1", tensor);
    }
  });
  return good;
}

std::unique_ptr<OnnxModel> OnnxModel::open(const std::string &path, const OpenOptions &options, Problems &problems) {
  std::unique_ptr<OnnxModel> result(new OnnxModel());
  Impl &impl = *result->impl;
  impl.path = path;
  impl.fileName = path.substr(path.rfind('/') + 1); // npos + 1 is 0
  impl.options = options;
  auto refuse = [&](std::string what) {
    problems.push_back({"E301", std::move(what), path, ""});
    return nullptr;
  };
  onnx::MappedFile file;
  std::string error;
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    problems.push_back({"E300", std::string("cannot open the model: ") + std::strerror(errno), path, ""});
    return nullptr;
  }
  if (!file.map(fd, error)) {
    problems.push_back({"E300", "cannot read the model: " + error, path, ""});
    return nullptr;
  }
  if (char *real = realpath(path.c_str(), nullptr)) {
    file.path = real;
    free(real);
  }
  std::string skeleton;
  if (file.size() == 0)
    return refuse("not an ONNX model: the file is empty");
  if (file.size() > 4 && (std::memcmp(file.data(), "PK\3\4", 4) == 0 ||
                          std::memcmp(file.data(), "version ht", std::min<uint64_t>(10, file.size())) == 0))
    return refuse(file.data()[0] == 'P' ? "not an ONNX model but a zip archive"
                                        : "not an ONNX model but a Git LFS pointer");
  if (!onnx::makeSkeleton(file.data(), file.size(), skeleton, error))
    return refuse("not an ONNX model, or cut off: " + error);
  onnx::Complaints complaints;
  bool good = onnx::parseSkeleton(skeleton, impl.fileName, file.size(), impl.model, complaints);
  impl.files[impl.fileName] = std::move(file);
  if (good)
    onnx::checkStructure(impl.model, complaints);
  if (!onnx::hasErrors(complaints))
    onnx::inlineFunctions(impl.model, complaints);
  if (!onnx::hasErrors(complaints)) {
    onnx::findGroupedProducts(impl.model);
    onnx::findQuantizedProducts(impl.model);
  }
  append(problems, complaints);
  if (onnx::hasErrors(complaints) || !impl.mapExternal(problems))
    return nullptr;
  for (const onnx::Tensor &tensor : impl.model.graph.initializers)
    impl.initializers[tensor.name] = &tensor;
  for (const onnx::Node &node : impl.model.graph.nodes)
    for (const std::string &input : node.inputs) {
      impl.numUses[input]++;
      impl.numUsesNotMul[input] += node.op != "Mul";
    }
  return result;
}

bool OnnxModel::check(Problems &problems) const {
  struct Unsupported {
    std::string op, first;
    int64_t count = 0;
  };
  std::vector<Unsupported> unsupported; // in order of first use
  std::map<std::string, size_t> indexOf;
  std::function<void(const onnx::Node &)> listNode;
  std::function<void(const std::vector<onnx::Node> &)> visit = [&](const std::vector<onnx::Node> &nodes) {
    for (const onnx::Node &node : nodes)
      listNode(node);
  };
  listNode = [&](const onnx::Node &node) {
    for (const onnx::Attribute &attribute : node.attributes)
      if (attribute.graph && onnx::isControl(node))
        visit(attribute.graph->nodes);
    if (onnx::isControl(node) || OpTable::get().find(node))
      return;
    auto [index, isNew] = indexOf.emplace(node.qualifiedOp(), unsupported.size());
    if (isNew)
      unsupported.push_back({node.qualifiedOp(), node.describe()});
    unsupported[index->second].count++;
  };
  visit(impl->model.graph.nodes);
  for (const Unsupported &entry : unsupported)
    problems.push_back(
        {"E401",
         printable(entry.op + " x" + std::to_string(entry.count) + ", first at " + entry.first + ": not supported"), "",
         ""});
  bool good = unsupported.empty();
  for (const onnx::ValueInfo &input : impl->model.graph.inputs) {
    bool known =
        input.isTensor &&
        (input.dataType == onnx::Float || input.dataType == onnx::Float16 || input.dataType == onnx::BFloat16 ||
         input.dataType == onnx::Double || input.dataType == onnx::Int8 || input.dataType == onnx::Int16 ||
         input.dataType == onnx::Int32 || input.dataType == onnx::Int64 || input.dataType == onnx::Bool ||
         NodeContext::isUnsignedType(input.dataType) || NodeContext::narrowBits(input.dataType));
    if (known)
      continue;
    problems.push_back(
        {"E401",
         input.isTensor ? "element type " + onnx::nameOf(input.dataType) + " is not supported" : "it is not a tensor",
         printable("graph input '" + input.name + "'"), ""});
    good = false;
  }
  return good;
}

static std::vector<GraphValue> describe(const std::vector<onnx::ValueInfo> &values,
                                        const std::map<std::string, const onnx::Tensor *> &initializers) {
  std::vector<GraphValue> result;
  for (const onnx::ValueInfo &value : values) {
    if (initializers.count(value.name))
      continue;
    GraphValue out;
    out.name = value.name;
    out.elementType = onnx::nameOf(value.dataType);
    for (const onnx::Dim &dim : value.dims)
      out.dims.push_back(dim.value >= 0 ? std::to_string(dim.value) : dim.param.empty() ? "?" : dim.param);
    result.push_back(std::move(out));
  }
  return result;
}
std::vector<GraphValue> OnnxModel::getInputs() const { return describe(impl->model.graph.inputs, impl->initializers); }
std::vector<GraphValue> OnnxModel::getOutputs() const { return describe(impl->model.graph.outputs, {}); }

LogicalResult OnnxModel::importEntry(ModuleOp module, const ImportOptions &options, Problems &problems) const {
  // A size that is not known may follow from an input whose value is: then again, with that input fixed.
  std::set<std::string> fixed;
  while (true) {
    Problems found;
    EntryImporter importer(*impl, options, found);
    importer.fixed = fixed;
    LogicalResult result = importer.run(module);
    size_t before = fixed.size();
    for (const std::string &name : importer.wanted)
      if (failed(result) && options.inputValues.count(name))
        fixed.insert(name);
    if (succeeded(result) || fixed.size() == before) {
      for (const std::string &name : fixed)
        if (succeeded(result))
          problems.push_back({"E215", "the value of this input is fixed to the one given: it decides a shape",
                              printable("graph input '" + name + "'"), "", true});
      problems.insert(problems.end(), found.begin(), found.end());
      return result;
    }
  }
}

llvm::ArrayRef<char> OnnxModel::getBytes(llvm::StringRef file, int64_t offset, int64_t size) const {
  auto found = impl->files.find(file.str());
  if (found == impl->files.end() || offset < 0 || size < 0 || static_cast<uint64_t>(offset) > found->second.size() ||
      static_cast<uint64_t>(size) > found->second.size() - static_cast<uint64_t>(offset))
    return {};
  return {reinterpret_cast<const char *>(found->second.data()) + offset, static_cast<size_t>(size)};
}

std::string OnnxModel::getFilePath(llvm::StringRef file) const {
  auto found = impl->files.find(file.str());
  return found == impl->files.end() ? "" : found->second.path;
}

} // namespace mlir::comm
