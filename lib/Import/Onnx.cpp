//===- Onnx.cpp - an ONNX model as plain data -----------------------------===//
#include "Onnx.h"

namespace mlir::comm::onnx {

std::string nameOf(int dataType) {
  switch (dataType) {
  case Float:
    return "f32";
  case Uint8:
    return "u8";
  case Int8:
    return "i8";
  case Uint16:
    return "u16";
  case Int16:
    return "i16";
  case Int32:
    return "i32";
  case Int64:
    return "i64";
  case String:
    return "string";
  case Bool:
    return "i1";
  case Float16:
    return "f16";
  case Double:
    return "f64";
  case Uint32:
    return "u32";
  case Uint64:
    return "u64";
  case BFloat16:
    return "bf16";
  case Uint4:
    return "u4";
  case Int4:
    return "i4";
  case Uint2:
    return "u2";
  case Int2:
    return "i2";
  default:
    return "type " + std::to_string(dataType);
  }
}

int64_t bitsOf(int dataType) {
  switch (dataType) {
  case Uint8:
  case Int8:
  case Bool:
  case 17:
  case 18:
  case 19:
  case 20:
  case 24:
    return 8;
  case Uint16:
  case Int16:
  case Float16:
  case BFloat16:
    return 16;
  case Float:
  case Int32:
  case Uint32:
    return 32;
  case Int64:
  case Uint64:
  case Double:
  case 14:
    return 64;
  case 15:
    return 128;
  case 21:
  case 22:
  case 23:
    return 4;
  case 25:
  case 26:
    return 2;
  default:
    return 0;
  }
}

int64_t Tensor::getNumElements() const {
  int64_t count = 1;
  for (int64_t dim : dims)
    count *= dim; // dims were checked when the tensor was read
  return count;
}

const Attribute *Node::find(const std::string &attribute) const {
  for (const Attribute &candidate : attributes)
    if (candidate.name == attribute)
      return &candidate;
  return nullptr;
}

bool isControl(const Node &node) {
  return node.domain.empty() && (node.op == "If" || node.op == "Loop" || node.op == "Scan");
}

std::string Node::qualifiedOp() const {
  return (domain.empty() ? "" : domain + "::") + op + "-" + std::to_string(opset);
}

std::string Node::describe() const {
  std::string label = name;
  for (const std::string &output : outputs)
    if (label.empty())
      label = output;
  return "node '" + label + "' (" + qualifiedOp() + ")";
}

} // namespace mlir::comm::onnx
