//===- WeightTable.cpp - weights, their files, the data section -----------===//
#include "WeightTable.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/SHA256.h"

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;

FailureOr<exe::DType> mlir::comm::toDType(Type type) {
  if (type.isF32())
    return exe::DType::F32;
  if (type.isF16())
    return exe::DType::F16;
  if (type.isBF16())
    return exe::DType::BF16;
  if (type.isF64())
    return exe::DType::F64;
  auto integer = dyn_cast<IntegerType>(type);
  bool isUnsigned = integer && integer.isUnsigned();
  switch (integer ? integer.getWidth() : 0) {
  case 1:
    return exe::DType::Bool;
  case 8:
    return isUnsigned ? exe::DType::U8 : exe::DType::I8;
  case 16:
    return isUnsigned ? exe::DType::U16 : exe::DType::I16;
  case 32:
    return isUnsigned ? exe::DType::U32 : exe::DType::I32;
  case 64:
    return isUnsigned ? exe::DType::U64 : exe::DType::I64;
  default:
    return failure();
  }
}

exe::Layout mlir::comm::toLayout(LayoutAttr layout) {
  exe::Layout out;
  if (!layout || layout.isReplicated())
    return out;
  for (int64_t dim = 0; dim < layout.getRank(); ++dim) {
    exe::Split split;
    for (StringRef axis : layout.getAxes(dim))
      split.axes.push_back(axis.str());
    split.grain = layout.getGrainOf(dim);
    out.dims.push_back(std::move(split));
  }
  return out;
}

/// Everything that tells two weights apart but their names.
static std::string keyOf(const exe::Weight &weight, StringRef file) {
  std::string key = (file + "|").str();
  llvm::raw_string_ostream out(key);
  out << weight.offset << "|" << int(weight.dtype) << "|";
  for (int64_t size : weight.shape)
    out << size << ",";
  for (const exe::Slice &slice : weight.slices)
    out << "|" << slice.dim << ":" << slice.start << "+" << slice.size;
  for (const exe::Split &split : weight.layout.dims)
    out << "|" << llvm::join(split.axes, ",") << "/" << split.grain;
  return key;
}

WeightTable::File &WeightTable::open(StringRef path) {
  auto [it, isNew] = files.try_emplace(path.str());
  File &file = it->second;
  if (!isNew)
    return file;
  SmallString<256> full(options.modelDir);
  llvm::sys::path::append(full, path);
  auto buffer = llvm::MemoryBuffer::getFile(full, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (buffer)
    file.bytes = std::move(*buffer);
  else
    file.error = buffer.getError().message();
  return file;
}

/// Path of a file as seen from the folder of the executable; empty when it is not inside.
static std::string pathFrom(StringRef folder, StringRef modelDir, StringRef path) {
  SmallString<256> base, full(modelDir), real;
  llvm::sys::path::append(full, path);
  if (llvm::sys::fs::real_path(folder.empty() ? "." : folder, base))
    return "";
  // A symbolic link beside the executable is as good as a file there: only folders are resolved.
  SmallString<256> parent(llvm::sys::path::parent_path(full));
  if (llvm::sys::fs::real_path(parent.empty() ? "." : parent.str(), real))
    return "";
  llvm::sys::path::append(real, llvm::sys::path::filename(full));
  StringRef inside = real;
  if (!inside.consume_front(base) || !(base.ends_with("/") || inside.consume_front("/")))
    return "";
  return inside.str();
}

static std::string sha256(StringRef bytes) {
  llvm::SHA256 hash;
  hash.update(bytes);
  return llvm::toHex(hash.final(), /*LowerCase=*/true);
}

FailureOr<int64_t> WeightTable::reference(LoadedWeightOp op, File &file) {
  if (file.index >= 0)
    return file.index;
  std::string path = pathFrom(options.outputDir, options.modelDir, op.getFile());
  if (path.empty())
    return op.emitError("error[E221]: weight file '") << op.getFile()
                                                      << "' does not lie beside the executable; write the executable "
                                                         "into the model's folder, or embed the weights";
  file.index = exe.files.size();
  exe.files.push_back(
      {path, static_cast<int64_t>(file.bytes->getBufferSize()),
       int64_t(file.bytes->getBufferSize()) <= options.maxHashBytes ? sha256(file.bytes->getBuffer()) : ""});
  return file.index;
}

int64_t WeightTable::embed(const char *bytes, int64_t size) {
  exe.data.resize(llvm::alignTo(exe.data.size(), 64));
  int64_t offset = exe.data.size();
  exe.data.insert(exe.data.end(), reinterpret_cast<const uint8_t *>(bytes),
                  reinterpret_cast<const uint8_t *>(bytes) + size);
  return offset;
}

int64_t WeightTable::insert(exe::Weight weight, const std::string &key) {
  auto [it, isNew] = known.try_emplace(key, exe.weights.size());
  if (isNew)
    exe.weights.push_back(std::move(weight));
  return it->second;
}

FailureOr<int64_t> WeightTable::add(LoadedWeightOp op) {
  auto stored = cast<RankedTensorType>(op.getStored());
  FailureOr<exe::DType> dtype = toDType(stored.getElementType());
  if (failed(dtype) || !stored.hasStaticShape())
    return op.emitError("error[E403]: the executable format has no weights of type ") << stored;
  exe::Weight weight;
  weight.name = op.getName().str();
  weight.offset = op.getOffset();
  weight.dtype = *dtype;
  weight.shape.assign(stored.getShape().begin(), stored.getShape().end());
  if (ArrayAttr slices = op.getSlicesAttr())
    for (auto slice : slices.getAsRange<SliceAttr>())
      weight.slices.push_back({slice.getDim(), slice.getStart(), slice.getSize()});
  weight.layout = toLayout(op.getLayoutAttr());
  std::string key = keyOf(weight, op.getFile());
  if (auto it = known.find(key); it != known.end())
    return it->second;

  File &file = open(op.getFile());
  if (!file.bytes)
    return op.emitError("error[E322]: weight file '")
           << op.getFile() << "' in '" << options.modelDir << "': " << file.error;
  int64_t bytes = getTensorBytes(stored), size = file.bytes->getBufferSize();
  if (weight.offset > size || bytes > size - weight.offset)
    return op.emitError("error[E322]: weight '")
           << weight.name << "' needs bytes " << weight.offset << " to " << weight.offset + bytes << " of '"
           << op.getFile() << "', which has " << size;
  if (options.weights == WeightStorage::Reference) {
    FailureOr<int64_t> index = reference(op, file);
    if (failed(index))
      return failure();
    weight.file = *index;
  } else {
    auto [it, isNew] = embedded.try_emplace({op.getFile().str(), weight.offset, bytes}, 0);
    if (isNew)
      it->second = embed(file.bytes->getBufferStart() + weight.offset, bytes);
    weight.file = -1;
    weight.offset = it->second;
  }
  return insert(std::move(weight), key);
}

/// The elements as the runtime stores them: row-major, little-endian, i1 in a byte.
static std::string rawBytes(DenseElementsAttr value) {
  std::string out;
  Type type = value.getElementType();
  int64_t width = getElementBytes(type);
  auto put = [&](const APInt &bits) {
    for (int64_t byte = 0; byte < width; ++byte)
      out.push_back(static_cast<char>(bits.lshr(8 * byte).getLoBits(8).getZExtValue()));
  };
  if (type.isIntOrFloat() && isa<FloatType>(type))
    for (const APFloat &element : value.getValues<APFloat>())
      put(element.bitcastToAPInt().zext(
          64 < element.bitcastToAPInt().getBitWidth() ? element.bitcastToAPInt().getBitWidth() : 64));
  else
    for (const APInt &element : value.getValues<APInt>())
      put(element.zext(std::max(64u, element.getBitWidth())));
  return out;
}

FailureOr<int64_t> WeightTable::add(DataOp op) {
  auto value = dyn_cast<DenseElementsAttr>(op.getValue());
  FailureOr<exe::DType> dtype = toDType(op.getType().getElementType());
  if (!value || failed(dtype))
    return op.emitError("error[E403]: the executable format has no constants of type ") << op.getType();
  std::string bytes = rawBytes(value);
  exe::Weight weight;
  weight.name = "constant";
  weight.dtype = *dtype;
  ArrayRef<int64_t> shape = op.getType().getShape();
  weight.shape.assign(shape.begin(), shape.end());
  std::string key = keyOf(weight, "constant " + sha256(bytes));
  if (auto it = known.find(key); it != known.end())
    return it->second;
  weight.offset = embed(bytes.data(), bytes.size());
  return insert(std::move(weight), key);
}
