//===- Subgraphs.cpp - If, Loop and Scan ----------------------------------===//
// Shapes are static and so is control flow: the branch of an If and the number of iterations are known at compile time.
// A body is imported once per iteration into the entry around it; its names are its own, defined anew each time.
//===----------------------------------------------------------------------===//
#include "Entry.h"
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;
constexpr int64_t kMaxBodyNodes = 200000; ///< nested loops can grow a small file without bound

const onnx::Graph *bodyOf(const onnx::Node &node, const char *name) {
  const onnx::Attribute *attribute = node.find(name);
  return attribute && attribute->graph ? attribute->graph.get() : nullptr;
}
int64_t intOf(const onnx::Node &node, const char *name, int64_t otherwise) {
  const onnx::Attribute *attribute = node.find(name);
  return attribute ? attribute->i : otherwise;
}
} // namespace

bool EntryImporter::refuse(const onnx::Node &node, const Twine &what) {
  problem("E402", what, node.describe());
  return false;
}

bool EntryImporter::addControl(const onnx::Node &node) {
  if (node.op == "If")
    return addIf(node);
  return node.op == "Loop" ? addLoop(node) : addScan(node);
}

/// Imports a body on the given inputs and collects its outputs.
bool EntryImporter::addBody(const onnx::Node &node, const onnx::Graph &body, ArrayRef<Value> inputs,
                            SmallVectorImpl<Value> &outputs) {
  numBodyNodes += static_cast<int64_t>(body.nodes.size()) + 1;
  if (numBodyNodes > kMaxBodyNodes)
    return refuse(node, "unrolled bodies of more than " + Twine(kMaxBodyNodes) + " nodes");
  if (llvm::is_contained(inputs, Value()))
    return refuse(node, "an input is left out");
  if (body.inputs.size() != inputs.size())
    return refuse(node,
                  "the body takes " + Twine(body.inputs.size()) + " inputs, the node gives " + Twine(inputs.size()));
  for (auto [input, value] : llvm::zip_equal(body.inputs, inputs)) {
    values[input.name] = value;
    unsignedNames.erase(input.name);
    if (NodeContext::isUnsignedType(input.dataType))
      markUnsigned(input.name);
  }
  for (const onnx::Tensor &initializer : body.initializers) {
    Value value = tensorValue(initializer, initializer.name);
    if (!value)
      return false;
    values[initializer.name] = value;
  }
  for (const onnx::Node &inner : body.nodes)
    for (const std::string &output : inner.outputs)
      if (!output.empty()) { // of the iteration before
        values.erase(output);
        unsignedNames.erase(output);
      }
  if (!addNodes(body.nodes))
    return false;
  outputs.clear();
  for (const onnx::ValueInfo &output : body.outputs) {
    Value value = lookup(output.name);
    if (!value)
      return refuse(node, "output '" + output.name + "' of the body has no value");
    outputs.push_back(value);
  }
  return true;
}

bool EntryImporter::setOutputs(const onnx::Node &node, ArrayRef<Value> outputs, const onnx::Graph &body) {
  if (node.outputs.size() > outputs.size())
    return refuse(node, "the body gives " + Twine(outputs.size()) + " values, the node has " +
                            Twine(node.outputs.size()) + " outputs");
  size_t skipped = body.outputs.size() - outputs.size(); // the condition of a loop
  for (auto [i, name] : llvm::enumerate(node.outputs)) {
    if (name.empty())
      continue;
    if (isUnsigned(body.outputs[i + skipped].name))
      markUnsigned(name);
    if (mlir::failed(define(node, name, outputs[i])))
      return false;
  }
  return true;
}

bool EntryImporter::addIf(const onnx::Node &node) {
  const onnx::Graph *yes = bodyOf(node, "then_branch"), *no = bodyOf(node, "else_branch");
  if (!yes || !no || node.inputs.size() != 1)
    return refuse(node, "expected a condition and two branches");
  std::optional<double> condition = B::getSplat(lookup(node.inputs[0]));
  if (!condition) {
    wantConstant(lookup(node.inputs[0]));
    return refuse(node, "the condition is not known at compile time (input '" + node.inputs[0] + "')");
  }
  const onnx::Graph &branch = *condition != 0 ? *yes : *no;
  SmallVector<Value> outputs;
  return addBody(node, branch, {}, outputs) && setOutputs(node, outputs, branch);
}

/// Adds a dimension of size 1 in front of `axis`.
static Value asRow(B &b, Value value, int64_t axis) {
  SmallVector<int64_t> shape(B::shapeOf(value));
  shape.insert(shape.begin() + axis, 1);
  return b.reshape(value, shape);
}

bool EntryImporter::addLoop(const onnx::Node &node) {
  const onnx::Graph *body = bodyOf(node, "body");
  if (!body || node.inputs.size() < 2 || body->inputs.size() != node.inputs.size() ||
      body->outputs.size() + 1 < node.inputs.size())
    return refuse(node, "the body does not fit the inputs");
  B b(*builder, locOf(node.name), model.options.maxTensorBytes);
  int64_t limit = INT64_MAX;
  for (size_t i = 0; i < 2; ++i) {
    if (node.inputs[i].empty())
      continue;
    Value given = lookup(node.inputs[i]);
    std::optional<double> number = B::getSplat(given);
    if (!number) {
      wantConstant(given);
      return refuse(node, "the number of iterations is not known at compile time (input '" + node.inputs[i] + "')");
    }
    if (i == 0)
      limit = *number < 0x1p53 ? static_cast<int64_t>(*number) : INT64_MAX;
    else if (*number == 0)
      limit = 0;
  }
  SmallVector<Value> carried;
  for (const std::string &input : ArrayRef(node.inputs).drop_front(2)) {
    carried.push_back(lookup(input));
    if (!carried.back())
      return refuse(node, "an input is left out");
  }
  size_t numScans = body->outputs.size() - 1 - carried.size();
  std::vector<SmallVector<Value>> rows(numScans);
  Type boolean = builder->getI1Type();
  for (int64_t i = 0; i < limit; ++i) {
    SmallVector<Value> inputs = {b.ints({i}, {}, builder->getI64Type()), b.ints({1}, {}, boolean)}, outputs;
    inputs.append(carried.begin(), carried.end());
    if (!addBody(node, *body, inputs, outputs))
      return false;
    std::copy(outputs.begin() + 1, outputs.begin() + 1 + carried.size(), carried.begin());
    for (size_t scan = 0; scan < numScans; ++scan)
      rows[scan].push_back(asRow(b, outputs[1 + carried.size() + scan], 0));
    std::optional<double> more = B::getSplat(outputs[0]);
    if (!more) {
      wantConstant(outputs[0]);
      return refuse(node, "whether the loop goes on is not known at compile time");
    }
    if (*more == 0)
      break;
  }
  for (SmallVector<Value> &scan : rows) {
    if (scan.empty())
      return refuse(node, "a loop without iterations has scan outputs of unknown shape");
    for (Value row : scan)
      if (row.getType() != scan[0].getType())
        return refuse(node, "a scan output changes its shape from iteration to iteration");
    carried.push_back(b.concat(scan, 0));
  }
  return b.fits() ? setOutputs(node, carried, *body) : refuse(node, b.getMisfit().what);
}

bool EntryImporter::addScan(const onnx::Node &node) {
  const onnx::Graph *body = bodyOf(node, "body");
  int64_t numScans = intOf(node, "num_scan_inputs", 0), count = static_cast<int64_t>(node.inputs.size()),
          numStates = count - numScans;
  if (!body || node.opset < 9 || numScans < 1 || numStates < 0 || body->inputs.size() != node.inputs.size() ||
      static_cast<int64_t>(body->outputs.size()) < numStates)
    return refuse(node, "the body does not fit the inputs, or the opset is older than 9");
  auto list = [&](const char *name, int64_t size) {
    const onnx::Attribute *attribute = node.find(name);
    SmallVector<int64_t> values;
    if (attribute)
      values.assign(attribute->ints.begin(), attribute->ints.end());
    values.resize(size, 0);
    return values;
  };
  int64_t numRows = static_cast<int64_t>(body->outputs.size()) - numStates;
  SmallVector<int64_t> axes = list("scan_input_axes", numScans), backwards = list("scan_input_directions", numScans),
                       outAxes = list("scan_output_axes", numRows),
                       outBackwards = list("scan_output_directions", numRows);
  B b(*builder, locOf(node.name), model.options.maxTensorBytes);
  SmallVector<Value> states, scanned, outputs;
  for (int64_t i = 0; i < count; ++i) {
    Value value = lookup(node.inputs[i]);
    if (!value)
      return refuse(node, "an input is left out");
    (i < numStates ? states : scanned).push_back(value);
  }
  int64_t length = -1;
  for (auto [value, axis] : llvm::zip_equal(scanned, axes)) {
    int64_t rank = B::typeOf(value).getRank();
    axis += axis < 0 ? rank : 0;
    if (axis < 0 || axis >= rank || (length >= 0 && B::shapeOf(value)[axis] != length))
      return refuse(node, "the scanned inputs differ in length, or an axis is outside");
    length = B::shapeOf(value)[axis];
  }
  std::vector<SmallVector<Value>> rows(numRows);
  for (int64_t step = 0; step < length; ++step) {
    SmallVector<Value> inputs(states);
    for (auto [i, value] : llvm::enumerate(scanned)) {
      SmallVector<int64_t> shape(B::shapeOf(value));
      shape.erase(shape.begin() + axes[i]);
      inputs.push_back(b.reshape(b.sliceDim(value, axes[i], backwards[i] ? length - 1 - step : step, 1), shape));
    }
    if (!addBody(node, *body, inputs, outputs))
      return false;
    std::copy(outputs.begin(), outputs.begin() + numStates, states.begin());
    for (int64_t i = 0; i < numRows; ++i) {
      int64_t rank = B::typeOf(outputs[numStates + i]).getRank() + 1, axis = outAxes[i] + (outAxes[i] < 0 ? rank : 0);
      if (axis < 0 || axis >= rank)
        return refuse(node, "a scan output's axis is outside");
      rows[i].push_back(asRow(b, outputs[numStates + i], axis));
      outAxes[i] = axis;
    }
  }
  for (int64_t i = 0; i < numRows; ++i) {
    if (rows[i].empty())
      return refuse(node, "a scan without steps has outputs of unknown shape");
    if (outBackwards[i])
      std::reverse(rows[i].begin(), rows[i].end());
    states.push_back(b.concat(rows[i], outAxes[i]));
  }
  return b.fits() ? setOutputs(node, states, *body) : refuse(node, b.getMisfit().what);
}

} // namespace mlir::comm
