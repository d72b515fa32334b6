//===- CommCommandOps.td - layer 4: kernels, buffers, commands ------------===//
// From value to command: groups of value ops (fused) become kernels; values become buffers in one arena; ops become commands on them.
//===----------------------------------------------------------------------===//
#ifndef COMM_COMMAND_OPS_TD
#define COMM_COMMAND_OPS_TD
include "comm/IR/CommBase.td"

def Comm_Memref : Type<CPred<"::mlir::comm::isBufferType($_self)">, "statically shaped, contiguous, row-major memref", "::mlir::MemRefType">;

//===----------------------------------------------------------------------===//
// Kernels
//===----------------------------------------------------------------------===//

def Comm_FusedOp : Comm_Op<"fused", [IsolatedFromAbove, SingleBlock, RecursiveMemoryEffects]> {
  let summary = "value ops that one kernel computes";
  let description = [{
    A group of elementwise, norm, softmax, rotary and row-reduction ops that are compiled into one loop nest. Operands are block arguments of the body.
    (C1) As many block arguments as inputs, of their types. (C2) The yield gives the result types. (C3) There is one iteration space, the shape of the
    largest result in the body, and a number of trailing columns. Every op gives a value of that shape or of its rows (the space without the columns):
    elementwise `arith`/`math`; comm.gelu, comm.silu; `linalg.reduce` of exactly the columns with one combining op from a splat; comm.rms_norm,
    comm.layer_norm, comm.softmax, comm.rotary (columns: the last dimension); `linalg.broadcast` of an argument, or of row values over the columns;
    `tensor.empty`; splat constants. Cost: reads inputs once, writes results once.
    ```mlir
    %y = comm.fused ins(%x : tensor<4xf32>) -> tensor<4xf32> {
    ^bb0(%a: tensor<4xf32>):
      %r = math.tanh %a : tensor<4xf32>
      comm.yield %r : tensor<4xf32>
    }
    ```
  }];
  let arguments = (ins Variadic<Comm_AnyTensor>:$inputs);
  let results = (outs Variadic<Comm_AnyTensor>:$outputs);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "`ins` `(` ($inputs^ `:` type($inputs))? `)` (`->` type($outputs)^)? attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
}

def Comm_KernelOp : Comm_Op<"kernel", [IsolatedFromAbove, SingleBlock, Symbol]> {
  let summary = "the body of one native function";
  let description = [{
    What comm.fused holds, outlined: equal bodies are one kernel, named by a hash of their text. The native function takes the buffers of the block
    arguments, then those of the yielded values, and covers iterations [begin, end) of its outermost loop; `iterations` is their number, set
    when the code is made. An i1 element is one byte, 0 or 1. (C1) The body ends in comm.yield. (C2) iterations >= 1. Cost: that of the ops inside.
    ```mlir
    comm.kernel @k_tanh iterations 4 {
    ^bb0(%a: tensor<4xf32>):
      %r = math.tanh %a : tensor<4xf32>
      comm.yield %r : tensor<4xf32>
    }
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, OptionalAttr<I64Attr>:$iterations);
  let regions = (region SizedRegion<1>:$body);
  let assemblyFormat = "$sym_name (`iterations` $iterations^)? attr-dict-with-keyword $body";
  let hasRegionVerifier = 1;
  let extraClassDeclaration = [{
    ::mlir::TypeRange getInputTypes() { return getBody().front().getArgumentTypes(); }
    ::mlir::TypeRange getOutputTypes() { return getBody().front().getTerminator()->getOperandTypes(); }
  }];
}

def Comm_CallKernelOp : Comm_Op<"call_kernel", [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "apply a kernel to values";
  let description = [{
    Value form of comm.launch. (C1) The symbol names a comm.kernel. (C2) Operand and result types are those of the kernel. Cost: the kernel's.
    ```mlir
    comm.kernel @k_tanh {
    ^bb0(%a: tensor<4xf32>):
      %r = math.tanh %a : tensor<4xf32>
      comm.yield %r : tensor<4xf32>
    }
    func.func @main(%x: tensor<4xf32>) -> tensor<4xf32> {
      %y = comm.call_kernel @k_tanh(%x) : (tensor<4xf32>) -> tensor<4xf32>
      return %y : tensor<4xf32>
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Comm_AnyTensor>:$inputs);
  let results = (outs Variadic<Comm_AnyTensor>:$outputs);
  let assemblyFormat = "$kernel `(` $inputs `)` attr-dict `:` functional-type($inputs, $outputs)";
}

//===----------------------------------------------------------------------===//
// Blocks of shards: what stands around a collective that is not on the outermost dimension
//===----------------------------------------------------------------------===//

class Comm_ShardBlocksOp<string mnemonic> : Comm_Op<mnemonic, [Pure, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  dag shardArguments = (ins Comm_AnyTensor:$input, I64Attr:$dim, DefaultValuedAttr<I64Attr, "1">:$grain, FlatSymbolRefAttr:$grid, StrArrayAttr:$axes);
  let arguments = shardArguments;
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$input `dim` $dim `over` $grid `` $axes attr-dict `:` type($input) `->` type($result)";
}

def Comm_PackShardsOp : Comm_ShardBlocksOp<"pack_shards"> {
  let summary = "a whole tensor as one block per shard";
  let description = [{
    result[i] = shard i of `input` along `dim` in blocks of `grain`, zero-filled. The same on all ranks; no communication. (C1) Each axis exists and is
    named once. (C2) 0 <= dim < rank and grain divides it. (C3) The result is [shards, shape of one shard...]. Cost: one copy of the result.
    ```mlir
    %y = comm.pack_shards %x dim 1 over @grid["tp"] : tensor<3x4xf32> -> tensor<2x3x2xf32>
    ```
  }];
}

def Comm_UnpackShardsOp : Comm_ShardBlocksOp<"unpack_shards"> {
  let summary = "one block per shard as a whole tensor";
  let description = [{
    Inverse of comm.pack_shards: fill is trimmed, of replicated blocks the first is taken. Block i is shard i or, with `rotated`, shard
    (coordinate over `axes` + i) mod n: the order in which a ring brings them. (C1) Each axis exists and is named once.
    (C2) 0 <= dim < rank of the result and grain divides it. (C3) The operand is [shards, shape of one shard...]. Cost: one copy of the result.
    ```mlir
    %y = comm.unpack_shards %x dim 1 over @grid["tp"] : tensor<2x3x2xf32> -> tensor<3x4xf32>
    ```
  }];
  let arguments = !con(shardArguments, (ins UnitAttr:$rotated));
}

//===----------------------------------------------------------------------===//
// Buffers
//===----------------------------------------------------------------------===//

def Comm_BufferOp : Comm_Op<"buffer"> {
  let summary = "a part of the arena";
  let description = [{
    `offset` is in bytes from the start of the arena, the same on all ranks; absent until comm-plan-buffers has run. Two buffers share bytes only when no
    command needs both. (C1) offset >= 0. Cost: the memory.
    ```mlir
    %b = comm.buffer at 64 : memref<4x8xf32>
    ```
  }];
  let arguments = (ins OptionalAttr<I64Attr>:$offset);
  let results = (outs Comm_Memref:$result);
  let assemblyFormat = "(`at` $offset^)? attr-dict `:` type($result)";
  let hasVerifier = 1;
}

def Comm_ViewOp : Comm_Op<"view", [Pure]> {
  let summary = "a contiguous part of a buffer under another shape";
  let description = [{
    Starts `offset` bytes into `source`. (C1) 0 <= offset and the view ends inside the source. (C2) Equal element types. Cost: none.
    ```mlir
    %v = comm.view %b at 32 : memref<4x8xf32> -> memref<24xf32>
    ```
  }];
  let arguments = (ins Comm_Memref:$source, I64Attr:$offset);
  let results = (outs Comm_Memref:$result);
  let assemblyFormat = "$source `at` $offset attr-dict `:` type($source) `->` type($result)";
  let hasVerifier = 1;
}

def Comm_DataOp : Comm_Op<"data", [Pure]> {
  let summary = "a constant that the executable carries";
  let description = [{
    Read-only. (C1) The result has the shape and element type of the value. Cost: its bytes in the file.
    ```mlir
    %c = comm.data dense<[1, 2, 3]> : tensor<3xi64> -> memref<3xi64>
    ```
  }];
  let arguments = (ins ElementsAttr:$value);
  let results = (outs Comm_Memref:$result);
  let assemblyFormat = "$value attr-dict `->` type($result)";
  let hasVerifier = 1;
}

def Comm_LoadedWeightOp : Comm_Op<"loaded_weight", [Pure]> {
  let summary = "a weight as the runtime loads it";
  let description = [{
    comm.weight in form `command`: read-only bytes outside the arena, this rank's part under `layout`. (C1) offset >= 0. (C2) Element types agree.
    Cost: the memory of the local part.
    ```mlir
    %w = comm.loaded_weight "w1" in "model.onnx.data" at 4096 : tensor<8x16xf32> -> memref<8x16xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$file, I64Attr:$offset, TypeAttrOf<AnyRankedTensor>:$stored,
                       OptionalAttr<ArrayAttr>:$slices, OptionalAttr<Comm_LayoutAttr>:$layout);
  let results = (outs Comm_Memref:$result);
  let assemblyFormat = [{$name `in` $file `at` $offset (`slices` $slices^)? (`layout` $layout^)? attr-dict `:` $stored `->` type($result)}];
  let hasVerifier = 1;
}

//===----------------------------------------------------------------------===//
// Commands
//===----------------------------------------------------------------------===//

def Comm_CommandOp : Comm_Op<"command", [AttrSizedOperandSegments]> {
  let summary = "one step of the program";
  let description = [{
    Names, operands and parameters are those of docs/reference/commands.md. Commands run in order; `start` names a collective and a `token`, and the
    `wait` of that token ends it. Native code is comm.launch instead. (C1) The name is that of a command. (C2) Its number of operands. (C3) Its
    parameters, each of its kind: int is i64, float is f64, ints an array of i64, strings an array of strings. (Form `command`: every token is started
    once and waited once after it; plan_id rises.) Cost: the command's.
    ```mlir
    comm.command "rank_mask" ins(%x : memref<4xf32>) outs(%y : memref<4xf32>) {axes = ["tp"]}
    ```
  }];
  let arguments = (ins StrAttr:$name, Variadic<Comm_Memref>:$inputs, Variadic<Comm_Memref>:$outputs, DictionaryAttr:$params);
  let assemblyFormat = [{$name (`ins` `(` $inputs^ `:` type($inputs) `)`)? (`outs` `(` $outputs^ `:` type($outputs) `)`)? $params
                         attr-dict-with-keyword}];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// A collective, started or synchronous.
    bool isCollective();
    bool isStart() { return getName() == "start"; }
    bool isWait() { return getName() == "wait"; }
    /// Of a collective its name, else of the command.
    ::llvm::StringRef getCollectiveName();
    /// The integer parameter, or the default.
    int64_t getInt(::llvm::StringRef key, int64_t otherwise = 0);
  }];
}

def Comm_LaunchOp : Comm_Op<"launch", [AttrSizedOperandSegments, DeclareOpInterfaceMethods<SymbolUserOpInterface>]> {
  let summary = "run a native function on buffers";
  let description = [{
    (C1) The symbol names a comm.kernel. (C2) Operands have the shapes and element types of its arguments and results. Cost: the kernel's.
    ```mlir
    comm.kernel @k_tanh {
    ^bb0(%a: tensor<4xf32>):
      %r = math.tanh %a : tensor<4xf32>
      comm.yield %r : tensor<4xf32>
    }
    func.func @main(%x: memref<4xf32>, %y: memref<4xf32>) {
      comm.launch @k_tanh ins(%x : memref<4xf32>) outs(%y : memref<4xf32>)
      return
    }
    ```
  }];
  let arguments = (ins FlatSymbolRefAttr:$kernel, Variadic<Comm_Memref>:$inputs, Variadic<Comm_Memref>:$outputs);
  let assemblyFormat = [{$kernel (`ins` `(` $inputs^ `:` type($inputs) `)`)? (`outs` `(` $outputs^ `:` type($outputs) `)`)? attr-dict}];
}
#endif
