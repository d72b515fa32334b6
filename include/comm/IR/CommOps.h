//===- CommOps.h - the comm dialect -----------------------------*- C++ -*-===//
#ifndef COMM_IR_COMMOPS_H
#define COMM_IR_COMMOPS_H
#include "comm/IR/Sharding.h"
#include "mlir/Bytecode/BytecodeOpInterface.h"
#include "mlir/IR/BuiltinTypes.h"
#include "mlir/IR/Dialect.h"
#include "mlir/IR/OpDefinition.h"
#include "mlir/IR/OpImplementation.h"
#include "mlir/IR/SymbolTable.h"
#include "mlir/Interfaces/ControlFlowInterfaces.h"
#include "mlir/Interfaces/InferTypeOpInterface.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

namespace mlir::comm {
/// The resource that collectives read and start/wait write.
struct NetworkResource : public SideEffects::Resource::Base<NetworkResource> {
  StringRef getName() final { return "network"; }
};
namespace detail {
int64_t elementwiseFlops(Operation *op);      ///< one per element of the results
int64_t operandAndResultBytes(Operation *op); ///< tensors only; weights count where they are read
} // namespace detail
/// Bytes of a statically shaped tensor; i1 takes one byte.
int64_t getTensorBytes(Type type);
/// Bytes of one stored element; i1 takes one.
int64_t getElementBytes(Type elementType);
/// True for what a command may read and write: a statically shaped, contiguous, row-major memref.
bool isBufferType(Type type);

// Attribute names of the dialect.
inline constexpr llvm::StringLiteral kLayoutAttr = "comm.layout";
inline constexpr llvm::StringLiteral kEntryAttr = "comm.entry";
inline constexpr llvm::StringLiteral kNameAttr = "comm.name";
inline constexpr llvm::StringLiteral kStateAttr = "comm.state";
inline constexpr llvm::StringLiteral kWholeAttr =
    "comm.whole"; ///< on split arguments and results: type of the whole tensor
inline constexpr llvm::StringLiteral kReferenceAttr =
    "comm.reference"; ///< on a function: the entry of which it is the unsplit model
inline constexpr llvm::StringLiteral kUnsignedAttr =
    "comm.unsigned"; ///< unit, on an argument or result: its integers are unsigned for the caller
inline constexpr llvm::StringLiteral kFixedAttr =
    "comm.fixed"; ///< on an argument: the only value that the function is made for
// Form `command` only.
inline constexpr llvm::StringLiteral kOutputAttr =
    "comm.output"; ///< unit, on an argument: a graph output, written by the function
inline constexpr llvm::StringLiteral kArenaBytesAttr = "comm.arena_bytes"; ///< on a function
inline constexpr llvm::StringLiteral kCommBytesAttr =
    "comm.comm_bytes"; ///< on a function: part of the arena that peers may read
} // namespace mlir::comm

#include "comm/IR/CommDialect.h.inc"
#include "comm/IR/CommEnums.h.inc"
#include "comm/IR/CommInterfaces.h.inc"
#define GET_ATTRDEF_CLASSES
#include "comm/IR/CommAttrs.h.inc"
#define GET_TYPEDEF_CLASSES
#include "comm/IR/CommTypes.h.inc"
#define GET_OP_CLASSES
#include "comm/IR/CommModelOps.h.inc"
#define GET_OP_CLASSES
#include "comm/IR/CommCollectiveOps.h.inc"
#define GET_OP_CLASSES
#include "comm/IR/CommAsyncOps.h.inc"
#define GET_OP_CLASSES
#include "comm/IR/CommCommandOps.h.inc"

namespace mlir::comm {
/// The module's only grid; null when there is none.
GridOp getGrid(Operation *inModule);
} // namespace mlir::comm
#endif
