//===- OpTable.h - which operators are known --------------------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_OPTABLE_H
#define COMM_LIB_IMPORT_OPTABLE_H
#include "NodeContext.h"
#include "llvm/ADT/StringMap.h"

namespace mlir::comm {

/// Operators by domain and name. A family's file adds its own; adding an elementwise operator is one line there.
class OpTable {
public:
  static const OpTable &get();
  /// Null when the operator is not known.
  Lowering find(const onnx::Node &node) const;
  /// "Add", "com.microsoft::FusedMatMul", ...; sorted.
  std::vector<std::string> getNames() const;
  void add(llvm::StringRef op, Lowering lowering) { lowerings[op] = lowering; }
  /// What the importer itself makes of several nodes.
  void addOwn(llvm::StringRef op, Lowering lowering) { lowerings[("commc::" + op).str()] = lowering; }
  void addMs(llvm::StringRef op, Lowering lowering) { lowerings[("com.microsoft::" + op).str()] = lowering; }

private:
  OpTable();
  llvm::StringMap<Lowering> lowerings;
};

void addElementwiseOps(OpTable &table);
void addConstantOps(OpTable &table);
void addShapeOps(OpTable &table);
void addSliceOps(OpTable &table);
void addReduceOps(OpTable &table);
void addMatMulOps(OpTable &table);
void addNormOps(OpTable &table);
void addAttentionOps(OpTable &table);
void addGatherOps(OpTable &table);
void addContribOps(OpTable &table);
void addLossOps(OpTable &table);
void addPoolOps(OpTable &table);
void addConvolutionOps(OpTable &table);
void addResizeOps(OpTable &table);
void addScatterOps(OpTable &table);
void addQuantizeOps(OpTable &table);
void addQuantizedMatMulOps(OpTable &table);
void addBitOps(OpTable &table);
void addSignalOps(OpTable &table);
void addExpertOps(OpTable &table);
void addEncoderOps(OpTable &table);
void addImageOps(OpTable &table);
void addRecurrentOps(OpTable &table);

} // namespace mlir::comm
#endif
