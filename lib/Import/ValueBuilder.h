//===- ValueBuilder.h - small words for building form `global` --*- C++ -*-===//
// Every method returns a value on static shapes, folded where its operands are constants. Numpy broadcasting is made
// explicit here.
// What does not fit is remembered, not built: the method returns a stand-in, so do all after it, and the node that
// asked is refused with what was remembered. A lowering checks what it can say better than the builder, not all that
// can fail.
//===----------------------------------------------------------------------===//
#ifndef COMM_LIB_IMPORT_VALUEBUILDER_H
#define COMM_LIB_IMPORT_VALUEBUILDER_H
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/IR/Builders.h"
#include <optional>

namespace mlir::comm {

enum class Reduction { Sum, Prod, Max, Min };

class ValueBuilder {
public:
  /// Integers of this type are unsigned for the node that is built: MLIR's own integers have no sign.
  Type unsignedElement;
  /// Folding stops at constants of this many elements; splats have no limit.
  static constexpr int64_t kMaxFoldedElements = 1 << 16;

  /// Numbers that are written out one by one: tables of indices, matrices of weights.
  static constexpr int64_t kMaxListed = 1 << 24;
  static constexpr size_t kMaxRank = 64;

  /// `maxBytes`: a value above it does not fit.
  ValueBuilder(OpBuilder &builder, Location loc, int64_t maxBytes) : builder(builder), loc(loc), maxBytes(maxBytes) {}
  OpBuilder &getBuilder() { return builder; }
  void setLoc(Location newLoc) { loc = newLoc; }
  MLIRContext *getContext() { return builder.getContext(); }

  static RankedTensorType typeOf(Value value) { return cast<RankedTensorType>(value.getType()); }
  static ArrayRef<int64_t> shapeOf(Value value) { return typeOf(value).getShape(); }
  static Type elementOf(Value value) { return typeOf(value).getElementType(); }
  static bool isFloat(Value value) { return isa<FloatType>(elementOf(value)); }
  static RankedTensorType withShape(Value value, ArrayRef<int64_t> shape) {
    return RankedTensorType::get(shape, elementOf(value));
  }
  static RankedTensorType withElement(Value value, Type element) {
    return RankedTensorType::get(shapeOf(value), element);
  }

  // What did not fit.
  struct Misfit {
    const char *code = "E313";
    std::string what; ///< empty: everything fits
  };
  const Misfit &getMisfit() const { return misfit; }
  bool fits() const { return misfit.what.empty(); }
  /// Bytes of a tensor in which no size is negative, empty dimensions counted as one; nullopt when there are more than
  /// `maxBytes`, or more than kMaxRank dimensions. Products of some of the sizes do not overflow either.
  static std::optional<int64_t> bytesWithin(ArrayRef<int64_t> shape, Type element, int64_t maxBytes);

  // Constants.
  Value constant(DenseElementsAttr value);
  Value splat(RankedTensorType type, double value);
  Value splatLike(Value like, double value) { return splat(typeOf(like), value); }
  Value ints(ArrayRef<int64_t> values, ArrayRef<int64_t> shape, Type element);
  Value ints(ArrayRef<int64_t> values) { return ints(values, {int64_t(values.size())}, builder.getI64Type()); }
  Value floats(ArrayRef<double> values, ArrayRef<int64_t> shape, Type element);
  /// start, start + 1, ... `count` numbers in the given shape.
  Value countFrom(int64_t start, int64_t count, ArrayRef<int64_t> shape, Type element);
  /// None when the value is not a constant.
  static DenseElementsAttr getConstant(Value value);
  static std::optional<SmallVector<int64_t>> getConstantInts(Value value);
  /// The number that all elements of a constant have.
  static std::optional<double> getSplat(Value value);

  /// Creates any op with one result and folds it.
  template <typename OpTy, typename... Args> Value create(Args &&...args) {
    if (!fits())
      return standIn(typeAmong(args...));
    if constexpr (llvm::is_detected<TypedBuild, OpTy, Args...>::value && infersType<OpTy, Args...>()) {
      // The generated builder ends the process where the result type cannot be inferred; so it is inferred before.
      OperationState state(loc, OpTy::getOperationName());
      OpTy::build(builder, state, Type(builder.getNoneType()), std::forward<Args>(args)...);
      state.types.clear();
      bool good = holds([&] {
        return OpTy::inferReturnTypes(getContext(), loc, state.operands, state.attributes.getDictionary(getContext()),
                                      state.getRawProperties(), state.regions, state.types);
      });
      return good ? fold(builder.create(state)) : standIn(typeAmong(args...));
    } else {
      return fold(OpTy::create(builder, loc, std::forward<Args>(args)...));
    }
  }
  /// Verifies the op first, unless its result is empty.
  Value fold(Operation *op);

  // Shapes.
  Value reshape(Value value, ArrayRef<int64_t> shape);
  Value transpose(Value value, ArrayRef<int64_t> permutation);
  Value broadcastTo(Value value, ArrayRef<int64_t> shape);
  Value slice(Value value, ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> strides);
  Value sliceDim(Value value, int64_t dim, int64_t start, int64_t size, int64_t stride = 1);
  Value concat(ArrayRef<Value> values, int64_t dim);
  /// The rows of a dimension in another order; -1 steps back.
  Value reverse(Value value, int64_t dim);
  Value empty(RankedTensorType type);
  /// `before` and `after` elements of `fill` around a dimension; negative counts cut.
  Value pad(Value value, int64_t dim, int64_t before, int64_t after, double fill);
  /// Common shape under numpy broadcasting; false when there is none.
  static bool broadcastShapes(ArrayRef<int64_t> lhs, ArrayRef<int64_t> rhs, SmallVectorImpl<int64_t> &result);
  /// Brings both to their common shape.
  void broadcastPair(Value &lhs, Value &rhs);

  // Elementwise with broadcasting; integer or float by the element type.
  Value add(Value a, Value b);
  Value sub(Value a, Value b);
  Value mul(Value a, Value b);
  Value div(Value a, Value b); ///< integers truncate
  Value max(Value a, Value b); ///< NaN wins
  Value min(Value a, Value b);
  Value addScalar(Value a, double b) { return add(a, splatLike(a, b)); }
  Value mulScalar(Value a, double b) { return mul(a, splatLike(a, b)); }
  Value compare(arith::CmpFPredicate floatCase, arith::CmpIPredicate intCase, Value a, Value b);
  Value select(Value condition, Value a, Value b);
  Value logicalNot(Value a);
  Value neg(Value a);
  Value sigmoid(Value a);
  template <typename OpTy> Value unary(Value a) { return create<OpTy>(a); }
  /// `toUnsigned`: what a float becomes is unsigned.
  Value castTo(Value value, Type element, bool toUnsigned = false);
  /// Drops or keeps (size 1) the reduced dimensions. Sums of half types are kept in f32.
  Value reduce(Reduction kind, Value value, ArrayRef<int64_t> dims, bool keepDims);
  Value mean(Value value, ArrayRef<int64_t> dims, bool keepDims);
  Value matmul(Value a, Value b, bool transposeA = false, bool transposeB = false);

private:
  template <typename OpTy, typename... Args>
  using TypedBuild = decltype(OpTy::build(std::declval<OpBuilder &>(), std::declval<OperationState &>(),
                                          std::declval<Type>(), std::declval<Args>()...));
  template <typename OpTy, typename First, typename... Rest> static constexpr bool infersType() {
    return OpTy::template hasTrait<InferTypeOpInterface::Trait>() && !std::is_convertible_v<First, Type>;
  }
  /// The first type among the arguments of an op, or that of the first value among them.
  static RankedTensorType typeAmong() { return nullptr; }
  template <typename First, typename... Rest>
  static RankedTensorType typeAmong(const First &first, const Rest &...rest) {
    if constexpr (std::is_convertible_v<First, Type>) {
      return cast<RankedTensorType>(Type(first));
    } else if constexpr (std::is_convertible_v<First, Value>) {
      if (Value value = first)
        return typeOf(value);
    }
    return typeAmong(rest...);
  }
  /// Remembers what does not fit, if it is the first.
  void refuse(const Twine &what, const char *code = "E313");
  /// `what` is refused unless it is so. False as well when something else was before.
  bool need(bool good, const Twine &what, const char *code = "E313");
  bool needType(RankedTensorType type);
  bool needListed(int64_t count);
  /// Whether a check succeeds; what it says if not is refused.
  bool holds(function_ref<LogicalResult()> check);
  /// Zeros, of this type if it is sound and else of the same rank.
  Value standIn(RankedTensorType type);
  Value standIn(ArrayRef<int64_t> shape, Type element);
  bool isUnsigned(Value value) const { return unsignedElement && elementOf(value) == unsignedElement; }
  Value sliceWeight(Value value, ArrayRef<int64_t> offsets, ArrayRef<int64_t> sizes, ArrayRef<int64_t> strides);
  Value throughWide(Value value, RankedTensorType type);
  Value binary(Value a, Value b, function_ref<Value(Value, Value)> make);
  OpBuilder &builder;
  Location loc;
  int64_t maxBytes;
  Misfit misfit;
};

} // namespace mlir::comm
#endif
