//===- ImportFuzz.cpp - ONNX bytes through the importer -------------------===//
// Opens, checks, imports with every symbolic dimension set to 2, then runs the passes of the Import phase. The mutator
// changes the protobuf as a tree, so that lengths stay right.
//===----------------------------------------------------------------------===//
#include "Fuzz.h"
#include "comm/Import/Import.h"
#include "mlir/Pass/PassManager.h"
#include "passes/Import/Passes.h"
#include "passes/Verify/Passes.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>

using namespace mlir;
using namespace mlir::comm;
using namespace ::comm::fuzz;

namespace {
//===--- protobuf as a tree -----------------------------------------------===//
struct Field {
  uint64_t tag = 0; ///< number and wire type
  uint64_t number = 0;
  std::string bytes;
  std::vector<Field> children; ///< of bytes that are a message themselves
};

bool readVarint(const uint8_t *&p, const uint8_t *end, uint64_t &out) {
  out = 0;
  for (int shift = 0; p < end && shift < 64; shift += 7) {
    out |= uint64_t(*p & 127) << shift;
    if (!(*p++ & 128))
      return true;
  }
  return false;
}

bool readMessage(const uint8_t *p, const uint8_t *end, int depth, std::vector<Field> &out) {
  while (p < end) {
    Field f;
    uint64_t size = 0;
    if (!readVarint(p, end, f.tag) || f.tag >> 3 == 0)
      return false;
    switch (f.tag & 7) {
    case 0:
      if (!readVarint(p, end, f.number))
        return false;
      break;
    case 1:
    case 5:
      size = (f.tag & 7) == 1 ? 8 : 4;
      [[fallthrough]];
    case 2:
      if ((f.tag & 7) == 2 && !readVarint(p, end, size))
        return false;
      if (size > static_cast<uint64_t>(end - p))
        return false;
      f.bytes.assign(reinterpret_cast<const char *>(p), size);
      if ((f.tag & 7) == 2 && depth > 0 && size > 1 && !readMessage(p, p + size, depth - 1, f.children))
        f.children.clear();
      p += size;
      break;
    default:
      return false;
    }
    out.push_back(std::move(f));
  }
  return true;
}

void writeVarint(std::string &out, uint64_t v) {
  for (; v >= 128; v >>= 7)
    out.push_back(static_cast<char>(v | 128));
  out.push_back(static_cast<char>(v));
}

std::string writeMessage(const std::vector<Field> &fields) {
  std::string out;
  for (const Field &f : fields) {
    writeVarint(out, f.tag);
    if ((f.tag & 7) == 0) {
      writeVarint(out, f.number);
      continue;
    }
    std::string bytes = f.children.empty() ? f.bytes : writeMessage(f.children);
    if ((f.tag & 7) == 2)
      writeVarint(out, bytes.size());
    out += bytes;
  }
  return out;
}

void collect(std::vector<Field> &fields, std::vector<std::vector<Field> *> &all) {
  if (!fields.empty())
    all.push_back(&fields);
  for (Field &f : fields)
    collect(f.children, all);
}

void change(std::vector<Field> &message, Random &random) {
  std::vector<std::vector<Field> *> all;
  collect(message, all);
  std::vector<Field> &list = *all[below(random, all.size())], &other = *all[below(random, all.size())];
  size_t i = below(random, list.size()), j = below(random, other.size());
  Field &f = list[i];
  switch (random() % 6) {
  case 0:
    list.erase(list.begin() + static_cast<std::ptrdiff_t>(i));
    return;
  case 1:
    if (Field copy = list[below(random, list.size())]; writeMessage({copy}).size() < 4096)
      list.insert(list.begin() + static_cast<std::ptrdiff_t>(i), std::move(copy));
    return;
  case 2: // the content of a field of the same kind
    if (Field copy = other[j]; (copy.tag & 7) == (f.tag & 7) && writeMessage({copy}).size() < 4096) {
      f.number = copy.number;
      f.bytes = copy.bytes;
      f.children = copy.children;
    }
    return;
  default:
    break;
  }
  if ((f.tag & 7) == 0) {
    f.number = random() % 2 ? f.number + random() % 5 - 2
                            : static_cast<uint64_t>(edgeNumbers[below(random, std::size(edgeNumbers))]);
    return;
  }
  if (!f.children.empty())
    return change(f.children, random);
  size_t before = f.bytes.size(), room = (f.tag & 7) == 2 ? 64 : 0;
  f.bytes.resize(before + room);
  size_t after = LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(&f.bytes[0]), before, f.bytes.size());
  f.bytes.resize(room ? after : before);
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static InputFile file("m.onnx");
  OpenOptions open;
  open.maxTensorBytes = 1 << 22;
  open.maxTotalBytes = 1 << 26;
  Problems problems;
  auto model = OnnxModel::open(file.write(data, size), open, problems);
  bool good = model && model->check(problems);
  if (good) {
    ImportOptions options;
    for (const GraphValue &input : model->getInputs())
      for (const std::string &dim : input.dims)
        if (!dim.empty() && !std::isdigit(static_cast<unsigned char>(dim[0])))
          options.dims[dim] = 2;
    MLIRContext context(MLIRContext::Threading::DISABLED);
    context.getDiagEngine().registerHandler([](Diagnostic &) { return success(); });
    OwningOpRef<ModuleOp> module = ModuleOp::create(UnknownLoc::get(&context));
    good = succeeded(model->importEntry(*module, options, problems));
    if (good) {
      PassManager passes(&context);
      buildImportPhase(passes, [](llvm::StringRef) { return true; });
      VerifyFormPassOptions verify;
      verify.form = "global";
      passes.addPass(createVerifyFormPass(verify));
      throughCount += succeeded(passes.run(*module));
    }
  }
  if (good == hasErrors(problems)) {
    std::fprintf(stderr, "a refusal needs a reason, and a reason a refusal\n");
    std::abort();
  }
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  Random random(seed);
  std::vector<Field> message;
  if (random() % 16 == 0 || !readMessage(data, data + size, 8, message) || message.empty())
    return LLVMFuzzerMutate(data, size, maxSize);
  for (unsigned edits = 1 + random() % 3; edits > 0 && !message.empty(); --edits)
    change(message, random);
  std::string out = writeMessage(message);
  if (out.size() > maxSize)
    return LLVMFuzzerMutate(data, size, maxSize);
  std::memcpy(data, out.data(), out.size());
  return out.size();
}
