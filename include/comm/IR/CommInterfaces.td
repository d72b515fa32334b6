//===- CommInterfaces.td - what every model op declares -------------------===//
#ifndef COMM_INTERFACES_TD
#define COMM_INTERFACES_TD
include "mlir/IR/OpBase.td"

def Comm_ShardingRuleOpInterface : OpInterface<"ShardingRuleOpInterface"> {
  let cppNamespace = "::mlir::comm";
  let description = [{
    The factors of an op and how operand and result dimensions are made of them (see comm/IR/Sharding.h). Partitioning knows an
    op only by this rule.
  }];
  let methods = [
    InterfaceMethod<"factors per operand and result dimension", "::mlir::comm::ShardingRule", "getShardingRule">
  ];
}

def Comm_CostOpInterface : OpInterface<"CostOpInterface"> {
  let cppNamespace = "::mlir::comm";
  let description = "FLOPs and bytes moved through memory by one execution, for the types the op has now.";
  let methods = [
    InterfaceMethod<"floating-point operations; a multiply-add counts two", "int64_t", "getFlops", (ins), [{}], [{
      return ::mlir::comm::detail::elementwiseFlops($_op);
    }]>,
    InterfaceMethod<"bytes read and written", "int64_t", "getBytes", (ins), [{}], [{
      return ::mlir::comm::detail::operandAndResultBytes($_op);
    }]>
  ];
}
def Comm_CollectiveOpInterface : OpInterface<"CollectiveOpInterface"> {
  let cppNamespace = "::mlir::comm";
  let description = "An op in which all ranks of a group take part. The group: ranks that differ only in `axes`, ordered by their coordinate over them.";
  let methods = [
    InterfaceMethod<"grid symbol", "::mlir::FlatSymbolRefAttr", "getGridAttr">,
    InterfaceMethod<"axes that span the group, major first", "::mlir::ArrayAttr", "getAxesAttr">,
    InterfaceMethod<"bytes that one rank sends with a ring algorithm", "int64_t", "getBytesSent">
  ];
}
#endif
