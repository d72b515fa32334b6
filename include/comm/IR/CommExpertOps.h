//===- CommExpertOps.h - mixtures of experts --------------------*- C++ -*-===//
#ifndef COMM_IR_COMMEXPERTOPS_H
#define COMM_IR_COMMEXPERTOPS_H
#include "comm/IR/CommOps.h"

#define GET_OP_CLASSES
#include "comm/IR/CommExpertOps.h.inc"

namespace mlir::comm {
/// The factor of a rule of expert_matmul that counts the experts.
inline unsigned expertFactor(const ShardingRule &rule) { return rule.operands[2][0][0]; }
} // namespace mlir::comm
#endif
