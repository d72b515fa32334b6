//===- Passes.td - global -> global ---------------------------------------===//
#ifndef PASSES_IMPORT_PASSES_TD
#define PASSES_IMPORT_PASSES_TD
include "mlir/Pass/PassBase.td"

class Comm_ImportPass<string flag, string anchor = "::mlir::func::FuncOp"> : Pass<flag, anchor> {
  let dependentDialects = ["::mlir::comm::CommDialect", "::mlir::arith::ArithDialect", "::mlir::linalg::LinalgDialect", "::mlir::math::MathDialect",
                           "::mlir::tensor::TensorDialect"];
}

def FoldShapesPass : Comm_ImportPass<"comm-fold-shapes"> {
  let summary = "cancel reshapes and transposes that only serve an exporter";
  let description = [{
    Exporters flatten tokens in front of a product and transpose keys through a 3-D reshape. Reshapes move below products and elementwise ops and above
    transposes until they meet their inverse; a transpose of the last two dimensions becomes a flag of the product. Later passes then see one form
    per pattern, and partitioning sees whole token dimensions. Holds back when a reshape touches the contracted dimension.
    Example: test/passes/Import/fold-shapes.mlir
  }];
  let statistics = [Statistic<"numMoved", "num-moved", "reshapes moved">, Statistic<"numFlags", "num-flags", "transposes turned into flags of a product">];
}

def RaiseNormsPass : Comm_ImportPass<"comm-raise-norms"> {
  let summary = "name decomposed RMS and layer norms";
  let description = [{
    x * rsqrt(mean(x*x) + e) [* w] becomes comm.rms_norm; (x - mean(x)) / sqrt(mean((x - mean(x))^2) + e) [* w] [+ b] becomes comm.layer_norm, with division or
    reciprocal, and half precision computed in f32. Holds back when the mean is not over the last dimension, the divisor is not its size, or the squared
    value is another one.
    Example: test/passes/Import/raise-norms.mlir
  }];
  let statistics = [Statistic<"numRMSNorms", "num-rms-norms", "RMS norms named">, Statistic<"numLayerNorms", "num-layer-norms", "layer norms named">];
}

def RaiseActivationsPass : Comm_ImportPass<"comm-raise-activations"> {
  let summary = "name decomposed GELU and SiLU";
  let description = [{
    x/2 (1 + erf(x/sqrt 2)) and x/2 (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) become comm.gelu, in any order of the factors; x sigmoid(x) becomes
    comm.silu. Holds back when a constant differs by more than 1e-4 of its value, or two of the x differ.
    Example: test/passes/Import/raise-activations.mlir
  }];
  let statistics = [Statistic<"numGelu", "num-gelu", "GELUs named">, Statistic<"numSilu", "num-silu", "SiLUs named">];
}

def RaiseRotaryPass : Comm_ImportPass<"comm-raise-rotary"> {
  let summary = "name decomposed rotary embeddings";
  let description = [{
    x * cos + concat(-hi, lo) * sin on [B, H, S, D] becomes comm.rotary with tables of half the size. Holds back when the two halves of a table are not known
    to be equal (a concatenation of one value with itself, also below cos, sin and scaling), a table varies over heads, or the halves are not those of x.
    Example: test/passes/Import/raise-rotary.mlir
  }];
  let statistics = [Statistic<"numRotary", "num-rotary", "rotary embeddings named">];
}

def RaiseAttentionPass : Comm_ImportPass<"comm-raise-attention", "::mlir::ModuleOp"> {
  let summary = "name decomposed attention";
  let description = [{
    softmax(scale q k^T [softcap] [+ masks]) v on [B, H, S, D] becomes comm.attention. The scale may stand at q, k or the scores; masks may be added or selected,
    and a row without keys may be cleaned with isnan. Keys and values repeated for groups of query heads are taken from before the repetition; constant causal
    masks become the `causal` attribute, added ones of 0 and at most -9,900 too when no other mask is added and every query sees a key (the weights of hidden keys are 0 unless
    the scores of one query differ by 9,796 or more). A mask of 0 and at most -1e30 becomes a boolean one: rows with nothing to attend to give zeros.
    Holds back when the scores or the probabilities have other users, or the softmax is not over the keys; a product of a softmax that stays gets a remark.
    Example: test/passes/Import/raise-attention.mlir
  }];
  let statistics = [Statistic<"numAttention", "num-attention", "attentions named">, Statistic<"numGrouped", "num-grouped", "of them with repeated kv heads">,
                    Statistic<"numNearMisses", "num-near-misses", "softmax products that stayed">];
}

def MaskPaddingPass : Comm_ImportPass<"comm-mask-padding", "::mlir::ModuleOp"> {
  let summary = "let an entry run inputs that are smaller than its own";
  let description = [{
    A smaller input is filled up with zeros on the right. An entry with `comm.sizes` comes with siblings, the same model at smaller sizes of a symbol: they
    tell which dimensions hold fill. Where fill would reach a sum, a softmax, an attention or an index that counts, and is not known to be harmless there, a
    select, the lengths of attention or a count takes it away; the size in a call becomes an input. Holds back, with a reason in `comm.exact`, when
    the model does something else at another size, or takes elements that smaller sizes do not have (the last of a sequence). The siblings vanish.
    Example: test/passes/Import/mask-padding.mlir
  }];
  let options = [Option<"anyFill", "any-fill", "bool", "false", "floating-point inputs may be filled up with anything, NaN too, instead of zeros">];
  let statistics = [Statistic<"numPadded", "num-padded", "entries that run smaller inputs">, Statistic<"numMasks", "num-masks", "places where fill is taken away">,
                    Statistic<"numRefused", "num-refused", "symbols whose size stays exact">];
}

def UnpackQKVPass : Comm_ImportPass<"comm-unpack-qkv"> {
  let summary = "split a packed projection into one product per part";
  let description = [{
    When all users of x W [+ b] are slices of its last dimension, each slice becomes a product with a window of the weight, which is only read
    differently. Query, key and value heads, or gate and up, can then be split over ranks each on their own. Holds back when W is not a weight, or the product has
    another user.
    Example: test/passes/Import/unpack-qkv.mlir
  }];
  let statistics = [Statistic<"numUnpacked", "num-unpacked", "packed products split">];
}

def NarrowProductsPass : Comm_ImportPass<"comm-narrow-products"> {
  let summary = "multiply f32 activations and weights in 16 bits";
  let description = [{
    An f32 product with a weight gets `precision bf16` (both operands are rounded, several times the rate of f32 on CPUs with units for it, half the
    bytes of the packed weight; attention too) or `precision f16` (the weight is rounded: half the bytes, f32 arithmetic). Sums and results stay f32, and so does
    everything between products. Rounding happens while operands are packed: no value changes its type, no weight is copied.
    Holds back when a choice is made from the result (top_k, or a conversion to integers, without another product between: the router of experts,
    the head of a greedy decoder), because another choice is not a small error; when the sum is short (tables of positions are products of depth 1);
    when neither operand is a weight, or, for f16, the right one is not.
    Example: test/passes/Import/narrow-products.mlir
  }];
  let options = [Option<"precision", "precision", "std::string", "\"bf16\"", "bf16, f16, or f32: nothing is narrowed">,
                 Option<"attention", "attention", "bool", "true", "with bf16: the products inside attention too">,
                 Option<"minDepth", "min-depth", "int64_t", "32", "fewest products that a sum has">];
  let statistics = [Statistic<"numNarrowed", "num-narrowed", "products narrowed">, Statistic<"numHeldBack", "num-held-back", "f32 products that stay">];
}
#endif
