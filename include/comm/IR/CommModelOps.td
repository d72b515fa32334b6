//===- CommModelOps.td - layer 1: the model -------------------------------===//
#ifndef COMM_MODEL_OPS_TD
#define COMM_MODEL_OPS_TD
include "comm/IR/CommBase.td"

class Comm_ModelOp<string mnemonic, list<Trait> traits = []>
    : Comm_Op<mnemonic, !listconcat([Pure, DeclareOpInterfaceMethods<Comm_ShardingRuleOpInterface>], traits)>;
// FLOPs of its own; bytes are operands plus results unless the op says otherwise.
defvar Comm_OwnFlops = DeclareOpInterfaceMethods<Comm_CostOpInterface, ["getFlops"]>;
defvar Comm_OwnCost = DeclareOpInterfaceMethods<Comm_CostOpInterface, ["getFlops", "getBytes"]>;
defvar Comm_DefaultCost = DeclareOpInterfaceMethods<Comm_CostOpInterface>;
defvar Comm_InferTypes = DeclareOpInterfaceMethods<InferTypeOpInterface>;

def Comm_GridOp : Comm_Op<"grid", [Symbol]> {
  let summary = "the ranks, as a grid of named axes";
  let description = [{
    First axis is major: rank = (c0 * size1 + c1) * size2 + ... (C1) As many sizes as names. (C2) Names are unique and not empty.
    (C3) Sizes are at least 1 and their product fits 2^20. Cost: none.
    ```mlir
    comm.grid @grid ["dp", "tp"] = [2, 4]
    ```
  }];
  let arguments = (ins SymbolNameAttr:$sym_name, StrArrayAttr:$axes, DenseI64ArrayAttr:$sizes);
  let assemblyFormat = "$sym_name $axes `=` $sizes attr-dict";
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Size of one axis; 0 when there is none of that name.
    int64_t getAxisSize(::llvm::StringRef axis);
    int64_t getNumShards(::mlir::ArrayAttr axes);
    int64_t getNumRanks();
  }];
}

def Comm_WeightOp : Comm_Op<"weight", [Pure]> {
  let summary = "a tensor that lies in a file";
  let description = [{
    Bytes [offset, offset + size of `stored`) of `file`, row-major little-endian, seen through `slices` and then cut by `layout`; the IR never
    holds the data. `file` is relative to the model's folder. Stored `i1` takes one byte an element.
    (C1) offset >= 0. (C2) Each slice names a dimension of `stored`, lies inside it, and no dimension twice. (C3) Without `layout` the result
    has the sliced shape; with it, the local shape. (C4) Element types agree. Cost: none until an op reads it.
    ```mlir
    %w = comm.weight "w1" in "model.onnx.data" at 4096 : tensor<8x16xf32> -> tensor<8x16xf32>
    ```
  }];
  let arguments = (ins StrAttr:$name, StrAttr:$file, I64Attr:$offset, TypeAttrOf<AnyRankedTensor>:$stored,
                       OptionalAttr<ArrayAttr>:$slices, OptionalAttr<Comm_LayoutAttr>:$layout);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = [{$name `in` $file `at` $offset (`slices` $slices^)? (`layout` $layout^)? attr-dict
                         `:` $stored `->` type($result)}];
  let hasVerifier = 1;
  let extraClassDeclaration = [{
    /// Shape after slices, before the layout.
    ::llvm::SmallVector<int64_t> getSlicedShape();
  }];
}

def Comm_MatmulOp : Comm_ModelOp<"matmul", [Comm_OwnFlops, Comm_InferTypes]> {
  let summary = "batched matrix product";
  let description = [{
    lhs [batch.., m, k] times rhs [batch.., k, n]; `transpose_lhs` / `transpose_rhs` say that the last two dimensions are stored the other way.
    Batch dimensions broadcast as in numpy. (C1) Ranks are at least 2. (C2) k agrees. (C3) Batch sizes are equal or 1. (C4) Equal element types.
    Cost: 2*batch*m*n*k FLOPs; bytes of operands and result.
    ```mlir
    %y = comm.matmul %x, %w : tensor<4x8xf32>, tensor<8x16xf32> -> tensor<4x16xf32>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$lhs, Comm_AnyTensor:$rhs, UnitAttr:$transpose_lhs, UnitAttr:$transpose_rhs);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = [{$lhs (`transposed` $transpose_lhs^)? `,` $rhs (`transposed` $transpose_rhs^)? attr-dict
                         `:` type($lhs) `,` type($rhs) `->` type($result)}];
}

def Comm_QuantizedMatmulOp : Comm_ModelOp<"quantized_matmul", [Comm_OwnFlops, Comm_InferTypes]> {
  let summary = "product with a matrix of 4- or 8-bit integers that share scales in blocks";
  let description = [{
    input [.., k] times the matrix whose element (j of n, i of k) is (q - zero) * scale, q an integer of `bits` bits, scale and zero those of block
    i / `block`. `weights` holds [n, blocks, block * bits / 8] bytes, with `k_major` [blocks, block, n * bits / 8]; of two 4-bit numbers in a byte the
    lower bits come first. Where `block` does not divide k the last one is filled up. `scales` is [n, blocks] (`k_major`: [blocks, n]); a dimension of
    size 1 is one for all. `zero_points` has one number per scale: floats in its shape, or integers of `bits` bits, packed along the last dimension.
    Without it zero is 2^(bits - 1), with `signed` 0. Sums are kept in f32; `int8` allows to round each block of the input to
    8 bits first, with a scale of its own.
    (C1) 4 or 8 bits; the block is a multiple of 16, at most 1024. (C2) The weights hold the blocks of k, which is positive; with `k_major` the blocks divide k.
    (C3) Scales and (C4) zero points fit the blocks.
    Cost: 2*m*n*k FLOPs; bytes of operands and result.
    ```mlir
    %y = comm.quantized_matmul %x, %w scales %s : tensor<8x1xf32> bits 4 block 32 : tensor<1x32xf32>, tensor<8x1x16xi8> -> tensor<1x8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input, Comm_AnyTensor:$weights, Comm_FloatTensor:$scales, Optional<Comm_AnyTensor>:$zero_points,
                       I64Attr:$bits, I64Attr:$block, UnitAttr:$is_signed, UnitAttr:$k_major, UnitAttr:$int8);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = [{$input `,` $weights `scales` $scales `:` type($scales) (`zero_points` $zero_points^ `:` type($zero_points))?
                         `bits` $bits `block` $block (`signed` $is_signed^)? (`k_major` $k_major^)? (`int8` $int8^)? attr-dict
                         `:` type($input) `,` type($weights) `->` type($result)}];
}

def Comm_AttentionOp : Comm_ModelOp<"attention", [AttrSizedOperandSegments, Comm_OwnFlops, Comm_InferTypes]> {
  let summary = "scaled dot-product attention, grouped-query form included";
  let description = [{
    query [B, Hq, S, D], key [B, Hkv, T, D], value [B, Hkv, T, Dv] -> [B, Hq, S, Dv]. Query head h reads kv head h * Hkv / Hq.
    scores = scale * query.key, then softcap c*tanh(x/c) when positive, then the mask; softmax over T; times value. `mask` is bool (true = attend)
    or float (added), rank 4, every dimension that of [B, Hq, S, T] or 1. `causal`: query i sees key j iff j <= i + causal_offset. `lengths` [B]: keys
    at or past it are masked. A query with nothing to attend to gives zeros.
    (C1) All of rank 4, B, D and T agree. (C2) Hkv divides Hq. (C3) The mask broadcasts to [B, Hq, S, T]. (C4) lengths is [B].
    Cost: 2*B*Hq*S*T*(D+Dv) FLOPs plus 5 per score.
    ```mlir
    %y = comm.attention %q, %k, %v scale 2.5e-1 causal 0
      : tensor<1x4x3x16xf32>, tensor<1x2x3x16xf32>, tensor<1x2x3x16xf32> -> tensor<1x4x3x16xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$query, Comm_FloatTensor:$key, Comm_FloatTensor:$value, Optional<Comm_AnyTensor>:$mask,
                       Optional<Comm_IndexTensor>:$lengths, F64Attr:$scale, OptionalAttr<I64Attr>:$causal_offset,
                       DefaultValuedAttr<F64Attr, "0.0">:$softcap);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = [{$query `,` $key `,` $value (`mask` $mask^ `:` type($mask))? (`lengths` $lengths^ `:` type($lengths))?
                         `scale` $scale (`causal` $causal_offset^)? attr-dict
                         `:` type($query) `,` type($key) `,` type($value) `->` type($result)}];
  let extraClassDeclaration = "bool isCausal() { return getCausalOffset().has_value(); }";
}

def Comm_RMSNormOp : Comm_ModelOp<"rms_norm", [Comm_OwnFlops, AllTypesMatch<["input", "result"]>]> {
  let summary = "root-mean-square norm over the last dimension";
  let description = [{
    y = x / sqrt(mean(x^2) + epsilon) * weight, computed in f32 (f64 for f64). (C1) weight has the size of the last dimension, the same element type.
    Cost: 4 FLOPs per element; one read, one write.
    ```mlir
    %y = comm.rms_norm %x, %w epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input, Comm_FloatTensor:$weight, F64Attr:$epsilon);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = "$input `,` $weight `epsilon` $epsilon attr-dict `:` type($input) `,` type($weight)";
  let hasVerifier = 1;
}

def Comm_LayerNormOp : Comm_ModelOp<"layer_norm", [Comm_OwnFlops, AllTypesMatch<["input", "result"]>]> {
  let summary = "layer norm over the last dimension";
  let description = [{
    y = (x - mean(x)) / sqrt(var(x) + epsilon) * weight + bias, biased variance, computed in f32 (f64 for f64).
    (C1) weight and bias have the size of the last dimension and the element type. Cost: 7 FLOPs per element; one read, one write.
    ```mlir
    %y = comm.layer_norm %x, %w bias %b : tensor<8xf32> epsilon 1.0e-5 : tensor<4x8xf32>, tensor<8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input, Comm_FloatTensor:$weight, Optional<Comm_FloatTensor>:$bias, F64Attr:$epsilon);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = "$input `,` $weight (`bias` $bias^ `:` type($bias))? `epsilon` $epsilon attr-dict `:` type($input) `,` type($weight)";
  let hasVerifier = 1;
}

def Comm_SoftmaxOp : Comm_ModelOp<"softmax", [Comm_OwnFlops, AllTypesMatch<["input", "result"]>]> {
  let summary = "softmax over the last dimension";
  let description = [{
    exp(x - max) / sum. A row of -inf gives NaN, as in the source models. Cost: 5 FLOPs per element.
    ```mlir
    %y = comm.softmax %x : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}

def Comm_RotaryOp : Comm_ModelOp<"rotary", [Comm_OwnFlops, AllTypesMatch<["input", "result"]>, AllTypesMatch<["cos", "sin"]>]> {
  let summary = "rotary position embedding";
  let description = [{
    input [B, H, S, D]; cos, sin [B or 1, S, R/2] with R <= D. The first R elements of a head turn, the others pass. Halves form:
    y[j] = x[j] cos[j] - x[j + R/2] sin[j], y[j + R/2] = x[j + R/2] cos[j] + x[j] sin[j]; `interleaved`: pairs (2j, 2j+1) instead.
    (C1) Ranks 4, 3, 3. (C2) cos and sin have equal types; batch is B or 1, sequence is S. (C3) R <= D. Cost: 6 FLOPs per element.
    ```mlir
    %y = comm.rotary %x, %c, %s : tensor<1x4x3x16xf32>, tensor<1x3x8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input, Comm_FloatTensor:$cos, Comm_FloatTensor:$sin, UnitAttr:$interleaved);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = "$input `,` $cos `,` $sin (`interleaved` $interleaved^)? attr-dict `:` type($input) `,` type($cos)";
  let hasVerifier = 1;
}

def Comm_EmbeddingOp : Comm_ModelOp<"embedding", [Comm_OwnCost, Comm_InferTypes]> {
  let summary = "rows of a table by id";
  let description = [{
    table [V, C], ids [d..] -> [d.., C]. Negative ids count from the end. Split over the vocabulary (`vocab_axes`, local form only): this rank holds
    its shard of a table of `vocab` rows; rows held elsewhere give zeros, so that the sum over ranks is the row.
    (C1) table has rank 2, ids are integers. (C2) `vocab` and `vocab_axes` come together, vocab > 0. Cost: no FLOPs; reads and writes the rows it gives.
    ```mlir
    %y = comm.embedding %t, %i : tensor<256x64xf32>, tensor<2x5xi64> -> tensor<2x5x64xf32>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$table, Comm_IndexTensor:$ids, OptionalAttr<I64Attr>:$vocab, OptionalAttr<StrArrayAttr>:$vocab_axes,
                       DefaultValuedAttr<I64Attr, "1">:$grain);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = [{$table `,` $ids (`vocab` $vocab^ `over` $vocab_axes)? attr-dict `:` type($table) `,` type($ids) `->` type($result)}];
  let hasVerifier = 1;
}

def Comm_GatherOp : Comm_ModelOp<"gather", [Comm_OwnCost, Comm_InferTypes]> {
  let summary = "slices along one dimension by index (ONNX Gather, numpy.take)";
  let description = [{
    result = data with dimension `axis` replaced by the dimensions of indices. Negative indices count from the end. (C1) 0 <= axis < rank.
    Cost: no FLOPs; reads and writes what it gives.
    ```mlir
    %y = comm.gather %x, %i axis 1 : tensor<2x8x4xf32>, tensor<3xi64> -> tensor<2x3x4xf32>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$data, Comm_IndexTensor:$indices, I64Attr:$axis);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$data `,` $indices `axis` $axis attr-dict `:` type($data) `,` type($indices) `->` type($result)";
}

def Comm_GatherNDOp : Comm_ModelOp<"gather_nd", [Comm_OwnCost, Comm_InferTypes]> {
  let summary = "slices by index tuples (ONNX GatherND)";
  let description = [{
    data [b.., d..], indices [b.., i.., q] -> [b.., i.., d[q:]..], b of length `batch_dims`. (C1) q <= rank(data) - batch_dims. (C2) Batch sizes agree.
    Cost: no FLOPs; reads and writes what it gives.
    ```mlir
    %y = comm.gather_nd %x, %i batch_dims 0 : tensor<2x8xf32>, tensor<3x2xi64> -> tensor<3xf32>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$data, Comm_IndexTensor:$indices, I64Attr:$batch_dims);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$data `,` $indices `batch_dims` $batch_dims attr-dict `:` type($data) `,` type($indices) `->` type($result)";
}

def Comm_GatherElementsOp : Comm_ModelOp<"gather_elements", [Comm_OwnCost, Comm_InferTypes]> {
  let summary = "elements along one dimension by index (ONNX GatherElements)";
  let description = [{
    result[i..] = data[i.. with position `axis` replaced by indices[i..]]; result has the shape of indices. (C1) Equal ranks, 0 <= axis < rank.
    (C2) Off the axis indices are not larger than data.
    Cost: no FLOPs; reads and writes what it gives.
    ```mlir
    %y = comm.gather_elements %x, %i axis 1 : tensor<2x8xf32>, tensor<2x3xi64> -> tensor<2x3xf32>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$data, Comm_IndexTensor:$indices, I64Attr:$axis);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$data `,` $indices `axis` $axis attr-dict `:` type($data) `,` type($indices) `->` type($result)";
}

def Comm_ScatterNDOp : Comm_ModelOp<"scatter_nd", [Comm_OwnCost, AllTypesMatch<["data", "result"]>]> {
  let summary = "updates by index tuples (ONNX ScatterND)";
  let description = [{
    data [d..], indices [i.., q], updates [i.., d[q:]..]: result is data with updates[i..] joined to the slice at indices[i..], tuple after tuple.
    Negative indices count from the end; one that is out of range is an error. (C1) 1 <= q <= rank(data). (C2) updates has the shape
    [i.., d[q:]..] and the elements of data. Cost: no FLOPs; reads and writes data, reads indices and updates.
    ```mlir
    %y = comm.scatter_nd sum %x, %i, %u : tensor<4x8xf32>, tensor<3x1xi64>, tensor<3x8xf32>
    ```
  }];
  let arguments = (ins Comm_ScatterKindAttr:$kind, Comm_AnyTensor:$data, Comm_IndexTensor:$indices, Comm_AnyTensor:$updates);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$kind $data `,` $indices `,` $updates attr-dict `:` type($data) `,` type($indices) `,` type($updates)";
  let hasVerifier = 1;
}

def Comm_TopKOp : Comm_ModelOp<"top_k", [Comm_OwnFlops, Comm_InferTypes]> {
  let summary = "positions of the largest or smallest elements of every row";
  let description = [{
    input [.., n] -> positions [.., k] in the last dimension, best first; of equal elements the one with the lower position is better, NaN is
    larger than every number. (C1) The rank is at least 1 and 0 <= k <= n. Cost: 2 FLOPs per element and result.
    ```mlir
    %y = comm.top_k %x 2 largest : tensor<4x8xf32> -> tensor<4x2xi64>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$input, I64Attr:$k, UnitAttr:$largest);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = "$input $k (`largest` $largest^)? attr-dict `:` type($input) `->` type($result)";
}

def Comm_WindowsOp : Comm_ModelOp<"windows", [Comm_OwnFlops, Comm_InferTypes]> {
  let summary = "all windows of the last dimensions, as convolutions and pools see them";
  let description = [{
    input [l.., d..] -> [l.., k.., o..] with k = `sizes` and o = (d - (k - 1) dilation - 1) / stride + 1:
    result[l.., k.., o..] = input[l.., o * stride + k * dilation]. (C1) As many sizes, strides and dilations, all positive, and no more than the
    input has dimensions. (C2) A window fits into its dimension. Cost: no FLOPs; one copy of the result.
    ```mlir
    %y = comm.windows %x sizes [2] strides [1] dilations [2] : tensor<3x8xf32> -> tensor<3x2x6xf32>
    ```
  }];
  let arguments = (ins Comm_AnyTensor:$input, DenseI64ArrayAttr:$sizes, DenseI64ArrayAttr:$strides, DenseI64ArrayAttr:$dilations);
  let results = (outs Comm_AnyTensor:$result);
  let assemblyFormat = [{$input `sizes` $sizes `strides` $strides `dilations` $dilations attr-dict `:` type($input) `->` type($result)}];
}

def Comm_GeluOp : Comm_ModelOp<"gelu", [Comm_OwnFlops, AllTypesMatch<["input", "result"]>]> {
  let summary = "Gaussian error linear unit";
  let description = [{
    `erf`: x/2 (1 + erf(x/sqrt 2)); `tanh`: x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))). Cost: 10 FLOPs per element.
    ```mlir
    %y = comm.gelu erf %x : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins Comm_GeluKindAttr:$kind, Comm_FloatTensor:$input);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = "$kind $input attr-dict `:` type($input)";
}

def Comm_SiluOp : Comm_ModelOp<"silu", [Comm_OwnFlops, AllTypesMatch<["input", "result"]>]> {
  let summary = "x * sigmoid(x)";
  let description = [{
    Cost: 5 FLOPs per element.
    ```mlir
    %y = comm.silu %x : tensor<4x8xf32>
    ```
  }];
  let arguments = (ins Comm_FloatTensor:$input);
  let results = (outs Comm_FloatTensor:$result);
  let assemblyFormat = "$input attr-dict `:` type($input)";
}
#endif
