//===- OpTable.cpp - which operators are known ----------------------------===//
#include "OpTable.h"

namespace mlir::comm {

OpTable::OpTable() {
  addElementwiseOps(*this);
  addConstantOps(*this);
  addShapeOps(*this);
  addSliceOps(*this);
  addReduceOps(*this);
  addMatMulOps(*this);
  addNormOps(*this);
  addAttentionOps(*this);
  addGatherOps(*this);
  addContribOps(*this);
}

const OpTable &OpTable::get() {
  static const OpTable table;
  return table;
}

Lowering OpTable::find(const onnx::Node &node) const {
  if (!node.domain.empty() && node.domain != "com.microsoft")
    return nullptr;
  auto found = lowerings.find(node.domain.empty() ? node.op : node.domain + "::" + node.op);
  return found == lowerings.end() ? nullptr : found->second;
}

} // namespace mlir::comm
