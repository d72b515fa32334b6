//===- CommBase.td - dialect, types, attributes ---------------------------===//
#ifndef COMM_BASE_TD
#define COMM_BASE_TD
include "mlir/IR/OpBase.td"
include "mlir/IR/AttrTypeBase.td"
include "mlir/IR/EnumAttr.td"
include "mlir/IR/SymbolInterfaces.td"
include "mlir/Interfaces/InferTypeOpInterface.td"
include "mlir/Interfaces/SideEffectInterfaces.td"
include "mlir/Interfaces/ControlFlowInterfaces.td"
include "comm/IR/CommInterfaces.td"

def Comm_Dialect : Dialect {
  let name = "comm";
  let cppNamespace = "::mlir::comm";
  let summary = "models split over ranks, their communication, and its schedule";
  let description = [{
    Four layers: model ops at the grain that communication passes reason about, collectives as values, start/wait pairs, commands over
    planned buffers. Elementwise and shape work is upstream `arith`, `math`, `linalg` and `tensor` on static tensors.

    Discardable attributes:
    `comm.layout` on an op with one result, a function argument or a function result: a `#comm.layout`; on an op with several results an array
    of them. In form `global` it is the layout of the whole tensor; set by the user it is a demand that the search keeps.
    `comm.entry` (unit) on a function that can be run; `comm.name` (string) on arguments and results: the name of the graph input or output;
    `comm.state` (string) on an argument and the result that carries it to the next call: the same text on both.
  }];
  let useDefaultAttributePrinterParser = 1;
  let useDefaultTypePrinterParser = 1;
  let hasOperationAttrVerify = 1;
  let hasRegionArgAttrVerify = 1;
  let hasRegionResultAttrVerify = 1;
}

class Comm_Attr<string name, string attrMnemonic> : AttrDef<Comm_Dialect, name> {
  let mnemonic = attrMnemonic;
}

def Comm_LayoutAttr : Comm_Attr<"Layout", "layout"> {
  let summary = "how a whole tensor lies on the ranks of the grid";
  let description = [{
    `splits`: per dimension the axes that split it, major first. `partial`: axes over which the value is a partial sum. `grain`: per
    dimension the block size that splitting must respect (1 when absent): with b = size/grain blocks on k shards, b < k and k % b == 0
    gives every shard block i*b/k (replicated blocks), else ceil(b/k) blocks each and zero fill at the end.
    Example: `#comm.layout<[["tp"], []] grain [16, 1]>`, `#comm.layout<[[], []] partial ["tp"]>`.
  }];
  let parameters = (ins "::mlir::ArrayAttr":$splits, OptionalParameter<"::mlir::ArrayAttr">:$partial,
                        OptionalParameter<"::mlir::DenseI64ArrayAttr">:$grain);
  let assemblyFormat = "`<` $splits (`partial` $partial^)? (`grain` $grain^)? `>`";
  let genVerifyDecl = 1;
  let extraClassDeclaration = [{
    static LayoutAttr replicated(::mlir::MLIRContext *context, int64_t rank);
    int64_t getRank() const { return getSplits().size(); }
    /// Axis names that split `dim`, major first.
    ::llvm::SmallVector<::llvm::StringRef> getAxes(int64_t dim) const;
    ::llvm::SmallVector<::llvm::StringRef> getPartialAxes() const;
    int64_t getGrainOf(int64_t dim) const;
    bool isReplicated() const; ///< no split and no partial axis
  }];
}

def Comm_SliceAttr : Comm_Attr<"Slice", "slice"> {
  let summary = "a window on one dimension of a stored weight";
  let parameters = (ins "int64_t":$dim, "int64_t":$start, "int64_t":$size);
  let assemblyFormat = "`<` $dim `,` $start `,` $size `>`";
}

def Comm_TokenType : TypeDef<Comm_Dialect, "Token"> {
  let mnemonic = "token";
  let summary = "a collective under way; waiting gives its results";
  let parameters = (ins "::mlir::RankedTensorType":$result, OptionalArrayRefParameter<"::mlir::RankedTensorType">:$others);
  let builders = [TypeBuilder<(ins "::mlir::RankedTensorType":$result), [{ return $_get($_ctxt, result, ::llvm::ArrayRef<::mlir::RankedTensorType>()); }]>];
  let assemblyFormat = "`<` $result (`,` $others^)? `>`";
  let extraClassDeclaration = [{
    /// All that waiting gives, in order.
    ::llvm::SmallVector<::mlir::Type> getResults() const;
  }];
}

def Comm_ReduceKind : I32EnumAttr<"ReduceKind", "how elements of different ranks are combined", [
    I32EnumAttrCase<"Sum", 0, "sum">, I32EnumAttrCase<"Max", 1, "max">,
    I32EnumAttrCase<"Min", 2, "min">, I32EnumAttrCase<"Prod", 3, "prod">]> {
  let cppNamespace = "::mlir::comm";
  let genSpecializedAttr = 0;
}
def Comm_ReduceKindAttr : EnumAttr<Comm_Dialect, Comm_ReduceKind, "reduce_kind">;

def Comm_GeluKind : I32EnumAttr<"GeluKind", "exact or tanh form", [
    I32EnumAttrCase<"Erf", 0, "erf">, I32EnumAttrCase<"Tanh", 1, "tanh">]> {
  let cppNamespace = "::mlir::comm";
  let genSpecializedAttr = 0;
}
def Comm_GeluKindAttr : EnumAttr<Comm_Dialect, Comm_GeluKind, "gelu_kind">;

def Comm_ScatterKind : I32EnumAttr<"ScatterKind", "how an update joins the element that is there", [
    I32EnumAttrCase<"Set", 0, "set">, I32EnumAttrCase<"Sum", 1, "sum">, I32EnumAttrCase<"Prod", 2, "prod">,
    I32EnumAttrCase<"Max", 3, "max">, I32EnumAttrCase<"Min", 4, "min">]> {
  let cppNamespace = "::mlir::comm";
  let genSpecializedAttr = 0;
}
def Comm_ScatterKindAttr : EnumAttr<Comm_Dialect, Comm_ScatterKind, "scatter_kind">;

def Comm_FloatTensor : Type<And<[RankedTensorOf<[AnyFloat]>.predicate, HasStaticShapePred]>,
                                      "statically shaped tensor of floats", "::mlir::RankedTensorType">;
def Comm_IndexTensor : Type<And<[RankedTensorOf<[I32, I64]>.predicate, HasStaticShapePred]>,
                                      "statically shaped tensor of i32 or i64", "::mlir::RankedTensorType">;
def Comm_AnyTensor : Type<And<[RankedTensorOf<[AnyType]>.predicate, HasStaticShapePred]>,
                                    "statically shaped tensor", "::mlir::RankedTensorType">;

def Comm_Network : Resource<"::mlir::comm::NetworkResource">;

class Comm_Op<string mnemonic, list<Trait> traits = []> : Op<Comm_Dialect, mnemonic, traits>;
#endif
