//===- ProgramExport.cpp - one function as a program ----------------------===//
#include "ProgramExport.h"
#include "comm/IR/Pads.h"
#include "llvm/ADT/StringExtras.h"

using namespace mlir;
using namespace mlir::comm;
namespace exe = ::comm::exe;

/// ONNX node name of a location, or nothing.
static std::string labelOf(Location loc) {
  std::string name;
  loc->walk([&](Location inner) {
    if (auto named = dyn_cast<NameLoc>(inner)) {
      name = named.getName().str();
      return WalkResult::interrupt();
    }
    return WalkResult::advance();
  });
  return name;
}

namespace {
class ProgramExporter {
public:
  ProgramExporter(func::FuncOp function, GridOp grid, WeightTable &weights) : function(function), weights(weights) {
    if (grid)
      for (auto [name, size] : llvm::zip_equal(grid.getAxes().getAsRange<StringAttr>(), grid.getSizes()))
        program.grid.axes.push_back({name.str(), size});
  }

  FailureOr<exe::Program> run() {
    auto arena = function->getAttrOfType<IntegerAttr>(kArenaBytesAttr),
         shared = function->getAttrOfType<IntegerAttr>(kCommBytesAttr);
    if (!arena || !shared)
      return function.emitError("error[E123]: '")
             << function.getName() << "' is not in form command: its buffers are not placed";
    program.arenaBytes = arena.getInt();
    program.commBytes = shared.getInt();
    bool ok = true;
    for (BlockArgument argument : function.getArguments())
      ok &= succeeded(addPort(argument));
    for (Operation &op : function.getBody().front().without_terminator())
      ok &= succeeded(addOp(&op));
    if (!ok)
      return failure();
    return std::move(program);
  }

private:
  struct Extent {
    exe::Storage storage;
    int64_t index, offset;
    std::string name;
  };

  LogicalResult addPort(BlockArgument argument) {
    unsigned number = argument.getArgNumber();
    bool isOutput = function.getArgAttr(number, kOutputAttr) != nullptr;
    auto &ports = isOutput ? program.outputs : program.inputs;
    exe::Port port;
    auto name = function.getArgAttrOfType<StringAttr>(number, kNameAttr);
    port.name = name ? name.str() : (isOutput ? "result" : "argument") + std::to_string(ports.size());
    extents[argument] = {isOutput ? exe::Storage::Output : exe::Storage::Input, static_cast<int64_t>(ports.size()), 0,
                         port.name};
    auto type = cast<ShapedType>(argument.getType());
    if (auto whole = function.getArgAttrOfType<TypeAttr>(number, kWholeAttr))
      type = cast<ShapedType>(whole.getValue());
    port.shape.assign(type.getShape().begin(), type.getShape().end());
    FailureOr<exe::DType> dtype = toDType(type.getElementType());
    if (failed(dtype))
      return function.emitError("error[E403]: the executable format has no elements of type ")
             << type.getElementType() << ", used by '" << port.name << "'";
    bool isUnsigned = function.getArgAttr(number, kUnsignedAttr) && isa<IntegerType>(type.getElementType());
    port.dtype = isUnsigned ? unsignedForm(*dtype) : *dtype;
    if (auto fixed = function.getArgAttrOfType<DenseElementsAttr>(number, kFixedAttr))
      port.fixed = hexOf(fixed);
    if (auto pads = function.getArgAttrOfType<DenseI64ArrayAttr>(number, kPadAttr))
      for (size_t i = 0; i + 2 < pads.asArrayRef().size(); i += 3)
        port.pads.push_back({pads[i], pads[i + 1], pads[i + 2]});
    auto layout = function.getArgAttrOfType<LayoutAttr>(number, kLayoutAttr);
    if (layout && !layout.getPartialAxes().empty())
      return function.emitError("error[E124]: '")
             << port.name << "' is a partial sum; an input or output of a program cannot be one";
    port.layout = toLayout(layout);
    FailureOr<int32_t> value = valueOf(argument, isUnsigned);
    if (failed(value))
      return failure();
    port.value = *value;
    ports.push_back(std::move(port));
    return success();
  }

  static exe::DType unsignedForm(exe::DType dtype) {
    switch (dtype) {
    case exe::DType::I8:
      return exe::DType::U8;
    case exe::DType::I16:
      return exe::DType::U16;
    case exe::DType::I32:
      return exe::DType::U32;
    case exe::DType::I64:
      return exe::DType::U64;
    default:
      return dtype;
    }
  }

  /// The bytes of a constant as a caller would lay them out.
  static std::string hexOf(DenseElementsAttr value) {
    std::string bytes;
    bool isFloat = isa<FloatType>(value.getElementType());
    int64_t width = getElementBytes(value.getElementType());
    auto put = [&](const APInt &bits) {
      for (int64_t i = 0; i < width; ++i)
        bytes.push_back(static_cast<char>(bits.zextOrTrunc(64).lshr(8 * i).getZExtValue() & 0xff));
    };
    if (isFloat)
      for (APFloat x : value.getValues<APFloat>())
        put(x.bitcastToAPInt());
    else
      for (const APInt &x : value.getValues<APInt>())
        put(x);
    return llvm::toHex(bytes, /*LowerCase=*/true);
  }

  /// Commands know no sign; what a caller sees of unsigned integers has its own type.
  FailureOr<int32_t> valueOf(Value buffer, bool isUnsigned = false) {
    const Extent &extent = extents.find(buffer)->second;
    auto type = cast<MemRefType>(buffer.getType());
    FailureOr<exe::DType> dtype = toDType(type.getElementType());
    if (failed(dtype))
      return emitError(buffer.getLoc(), "error[E403]: the executable format has no elements of type ")
             << type.getElementType();
    if (isUnsigned)
      dtype = unsignedForm(*dtype);
    exe::Value value{
        extent.storage, extent.index, extent.offset, *dtype, exe::Shape(type.getShape().begin(), type.getShape().end()),
        extent.name};
    auto key = std::make_tuple(value.storage, value.index, value.offset, value.dtype, value.shape);
    auto [it, isNew] = known.try_emplace(key, program.values.size());
    if (isNew)
      program.values.push_back(std::move(value));
    return it->second;
  }

  LogicalResult addWeight(Value result, FailureOr<int64_t> index, StringRef name) {
    // Without an index too: what reads it is checked all the same, so that every problem is listed at once.
    extents[result] = {exe::Storage::Weight, failed(index) ? 0 : *index, 0, name.str()};
    return success(succeeded(index));
  }

  LogicalResult addOp(Operation *op) {
    if (auto buffer = dyn_cast<BufferOp>(op)) {
      IntegerAttr offset = buffer.getOffsetAttr();
      extents[buffer] = {exe::Storage::Arena, numBuffers++, offset ? offset.getInt() : 0, labelOf(buffer.getLoc())};
      return offset ? success() : LogicalResult(buffer.emitError("error[E123]: this buffer is not placed"));
    }
    if (auto view = dyn_cast<ViewOp>(op)) {
      Extent extent = extents.find(view.getSource())->second;
      extent.offset += view.getOffset();
      extents[view] = extent;
      return success();
    }
    if (auto weight = dyn_cast<LoadedWeightOp>(op))
      return addWeight(weight, weights.add(weight), weight.getName());
    if (auto data = dyn_cast<DataOp>(op))
      return addWeight(data, weights.add(data), labelOf(data.getLoc()));
    if (auto launch = dyn_cast<LaunchOp>(op))
      return addLaunch(launch);
    if (auto command = dyn_cast<CommandOp>(op))
      return addCommand(command.getLoc(), command.getName(), command.getInputs(), command.getOutputs(),
                        attrsOf(command.getParams()));
    return op->emitError("error[E123]: '") << op->getName() << "' is not part of form command";
  }

  LogicalResult addLaunch(LaunchOp launch) {
    auto kernel = SymbolTable::lookupNearestSymbolFrom<KernelOp>(launch, launch.getKernelAttr());
    if (!kernel || !kernel.getIterations())
      return launch.emitError("error[E123]: kernel ") << launch.getKernelAttr() << " has no number of iterations";
    exe::Attrs attrs;
    attrs["symbol"] = kernel.getSymName().str();
    attrs["iterations"] = static_cast<int64_t>(*kernel.getIterations());
    return addCommand(launch.getLoc(), "kernel", launch.getInputs(), launch.getOutputs(), std::move(attrs));
  }

  LogicalResult addCommand(Location loc, StringRef name, ValueRange ins, ValueRange outs, exe::Attrs attrs) {
    exe::Command command;
    command.op = name.str();
    command.attrs = std::move(attrs);
    command.label = labelOf(loc);
    for (auto [values, indices] : {std::make_pair(ins, &command.inputs), std::make_pair(outs, &command.outputs)})
      for (Value value : values) {
        FailureOr<int32_t> index = valueOf(value);
        if (failed(index))
          return failure();
        indices->push_back(*index);
      }
    program.commands.push_back(std::move(command));
    return success();
  }

  static std::vector<std::string> stringsOf(ArrayAttr list) {
    std::vector<std::string> out;
    for (auto text : list.getAsRange<StringAttr>())
      out.push_back(text.str());
    return out;
  }

  /// The verifier of comm.command admits these kinds only.
  static exe::Attrs attrsOf(DictionaryAttr params) {
    exe::Attrs attrs;
    for (NamedAttribute param : params) {
      exe::Attr &out = attrs[param.getName().str()];
      if (auto integer = dyn_cast<IntegerAttr>(param.getValue()))
        out = integer.getInt();
      else if (auto real = dyn_cast<FloatAttr>(param.getValue()))
        out = real.getValueAsDouble();
      else if (auto text = dyn_cast<StringAttr>(param.getValue()))
        out = text.str();
      else if (auto ints = dyn_cast<DenseI64ArrayAttr>(param.getValue()))
        out = std::vector<int64_t>(ints.asArrayRef().begin(), ints.asArrayRef().end());
      else
        out = stringsOf(cast<ArrayAttr>(param.getValue()));
    }
    return attrs;
  }

  func::FuncOp function;
  WeightTable &weights;
  exe::Program program;
  DenseMap<Value, Extent> extents;
  int64_t numBuffers = 0;
  std::map<std::tuple<exe::Storage, int64_t, int64_t, exe::DType, exe::Shape>, int32_t> known;
};
} // namespace

FailureOr<exe::Program> mlir::comm::exportProgram(func::FuncOp function, GridOp grid, WeightTable &weights) {
  return ProgramExporter(function, grid, weights).run();
}

int64_t mlir::comm::bytesSent(const exe::Program &program) {
  int64_t total = 0;
  for (const exe::Command &command : program.commands) {
    auto plan = command.attrs.find("plan_id"), axes = command.attrs.find("axes"),
         collective = command.attrs.find("collective");
    if (plan == command.attrs.end() || axes == command.attrs.end())
      continue;
    const std::string &name =
        collective == command.attrs.end() ? command.op : std::get<std::string>(collective->second);
    int64_t n = program.grid.shards(std::get<std::vector<std::string>>(axes->second));
    const exe::Value &input = program.values[command.inputs[0]];
    int64_t bytes = exe::numElements(input.shape) * exe::byteWidth(input.dtype);
    if (name == "all_reduce" || name == "scatter_norm_gather")
      total += 2 * (n - 1) * bytes / n;
    else if (name == "all_gather")
      total += (n - 1) * bytes;
    else if (name == "reduce_scatter" || name == "all_to_all")
      total += (n - 1) * bytes / n;
    else
      total += bytes; // broadcast, permute: once
  }
  return total;
}
