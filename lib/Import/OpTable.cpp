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
  addLossOps(*this);
  addPoolOps(*this);
  addConvolutionOps(*this);
  addResizeOps(*this);
  addScatterOps(*this);
  addQuantizeOps(*this);
  addQuantizedMatMulOps(*this);
  addBitOps(*this);
  addSignalOps(*this);
  addExpertOps(*this);
  addEncoderOps(*this);
  addImageOps(*this);
  addRecurrentOps(*this);
}

const OpTable &OpTable::get() {
  static const OpTable table;
  return table;
}

std::vector<std::string> OpTable::getNames() const {
  std::vector<std::string> names;
  for (const auto &entry : lowerings)
    names.push_back(entry.getKey().str());
  llvm::sort(names);
  return names;
}

Lowering OpTable::find(const onnx::Node &node) const {
  if (!node.domain.empty() && node.domain != "com.microsoft" && node.domain != "commc")
    return nullptr;
  auto found = lowerings.find(node.domain.empty() ? node.op : node.domain + "::" + node.op);
  return found == lowerings.end() ? nullptr : found->second;
}

} // namespace mlir::comm
