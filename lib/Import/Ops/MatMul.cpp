//===- MatMul.cpp - matrix products ---------------------------------------===//
#include "OpTable.h"

namespace mlir::comm {
namespace {
using B = ValueBuilder;

/// a · b with the checks of numpy.matmul on ranks of 2 and more.
FailureOr<Value> product(NodeContext &c, Value a, Value b, bool transposeA, bool transposeB) {
  ArrayRef<int64_t> left = B::shapeOf(a), right = B::shapeOf(b);
  if (left.size() < 2 || right.size() < 2)
    return c.fail("expected operands of rank 2 or more", "E313");
  int64_t k = left[left.size() - (transposeA ? 2 : 1)], k2 = right[right.size() - (transposeB ? 1 : 2)];
  if (k != k2)
    return c.fail("inner sizes " + Twine(k) + " and " + Twine(k2) + " differ", "E313");
  SmallVector<int64_t> shape;
  if (!B::broadcastShapes(left.drop_back(2), right.drop_back(2), shape))
    return c.fail("batch dimensions do not broadcast", "E313");
  shape.push_back(left[left.size() - (transposeA ? 1 : 2)]);
  shape.push_back(right[right.size() - (transposeB ? 2 : 1)]);
  if (failed(c.needBudget(shape, B::elementOf(a))))
    return failure();
  if (k == 0) // a sum of nothing
    return c.b.splat(B::withShape(a, shape), 0);
  return c.b.matmul(a, b, transposeA, transposeB);
}

LogicalResult matMul(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needSameElement(0, 1)))
    return failure();
  Value a = c.in(0), b = c.in(1);
  if (c.rank(0) == 0 || c.rank(1) == 0)
    return c.fail("an operand is a scalar", "E313");
  if (c.rank(0) == 1)
    a = c.b.reshape(a, {1, c.shape(0)[0]});
  if (c.rank(1) == 1)
    b = c.b.reshape(b, {c.shape(1)[0], 1});
  FailureOr<Value> result = product(c, a, b, false, false);
  if (failed(result))
    return failure();
  SmallVector<int64_t> shape(B::shapeOf(*result));
  if (c.rank(1) == 1)
    shape.pop_back();
  if (c.rank(0) == 1)
    shape.erase(shape.end() - (c.rank(1) == 1 ? 1 : 2));
  return c.done(c.b.reshape(*result, shape));
}

LogicalResult gemm(NodeContext &c) {
  if (failed(c.needInputs(2, 3)) || failed(c.needRank(0, 2)) || failed(c.needRank(1, 2)) ||
      failed(c.needSameElement(0, 1)))
    return failure();
  FailureOr<Value> result = product(c, c.in(0), c.in(1), c.getInt("transA", 0), c.getInt("transB", 0));
  if (failed(result))
    return failure();
  double alpha = c.getFloat("alpha", 1), beta = c.getFloat("beta", 1);
  Value y = alpha == 1 ? *result : c.b.mulScalar(*result, alpha);
  if (c.has(2) && beta != 0) {
    if (failed(c.needSameElement(0, 2)) || failed(c.needBroadcastTo(c.in(2), B::shapeOf(y))))
      return failure();
    y = c.b.add(y, beta == 1 ? c.in(2) : c.b.mulScalar(c.in(2), beta));
  }
  return c.done(y);
}

/// com.microsoft::FusedMatMul: scaled, either operand transposed, or its first dimension moved behind the batch.
LogicalResult fusedMatMul(NodeContext &c) {
  if (failed(c.needInputs(2, 2)) || failed(c.needSameElement(0, 1)))
    return failure();
  Value operands[2] = {c.in(0), c.in(1)};
  for (size_t i = 0; i < 2; ++i) {
    int64_t rank = c.rank(i);
    if (!c.getInt(i == 0 ? "transBatchA" : "transBatchB", 0) || rank < 3)
      continue;
    SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(1, rank - 1));
    order.append({0, rank - 1});
    operands[i] = c.b.transpose(operands[i], order);
  }
  FailureOr<Value> result = product(c, operands[0], operands[1], c.getInt("transA", 0), c.getInt("transB", 0));
  if (failed(result))
    return failure();
  double alpha = c.getFloat("alpha", 1);
  return c.done(alpha == 1 ? *result : c.b.mulScalar(*result, alpha));
}

/// An operand brought to [batch, own, contracted] (or contracted before own), and the sizes of its letters.
struct EinsumOperand {
  Value value;
  std::string letters;
};

/// Two operands at most, no repeated letters, no ellipsis: transposes around one batched product.
LogicalResult einsum(NodeContext &c) {
  std::string equation = c.getString("equation", "");
  equation.erase(std::remove(equation.begin(), equation.end(), ' '), equation.end());
  size_t arrow = equation.find("->");
  if (arrow == std::string::npos) { // letters that stand once, in order
    std::string once;
    for (char letter = 'A'; letter <= 'z'; ++letter)
      if (std::isalpha(static_cast<unsigned char>(letter)) && llvm::count(equation, letter) == 1)
        once += letter;
    arrow = equation.size();
    equation += "->" + once;
  }
  if (failed(c.needInputs(c.numInputs() > 1 ? 2 : 1, 2)) || arrow == std::string::npos ||
      equation.find('.') != std::string::npos)
    return c.fail("equation '" + equation + "' (only one or two operands, with '->', without '...')");
  std::string out = equation.substr(arrow + 2), left = equation.substr(0, arrow);
  std::vector<EinsumOperand> operands;
  std::map<char, int64_t> sizes;
  for (size_t i = 0, start = 0; i < c.numInputs(); ++i) {
    size_t comma = std::min(left.find(',', start), left.size());
    EinsumOperand operand{c.in(i), left.substr(start, comma - start)};
    start = std::min(comma + 1, left.size());
    if (static_cast<int64_t>(operand.letters.size()) != c.rank(i))
      return c.fail("equation '" + equation + "' does not fit the ranks", "E313");
    for (auto [dim, letter] : llvm::enumerate(operand.letters)) {
      if (llvm::count(operand.letters, letter) > 1)
        return c.fail("equation '" + equation + "': a repeated letter");
      if (sizes.emplace(letter, c.shape(i)[dim]).first->second != c.shape(i)[dim])
        return c.fail("equation '" + equation + "': sizes of '" + Twine(letter) + "' differ", "E313");
    }
    operands.push_back(std::move(operand));
  }
  for (char letter : out)
    if (!sizes.count(letter) || llvm::count(out, letter) > 1)
      return c.fail("equation '" + equation + "': output letter '" + Twine(letter) + "'", "E313");
  auto arrange = [&](EinsumOperand &operand, const std::string &order) { // drops letters that are summed here alone
    SmallVector<int64_t> summed, permutation;
    std::string kept;
    for (auto [dim, letter] : llvm::enumerate(operand.letters))
      order.find(letter) == std::string::npos ? summed.push_back(dim) : kept.push_back(letter);
    if (!summed.empty())
      operand.value = c.b.reduce(Reduction::Sum, operand.value, summed, false);
    for (char letter : order)
      permutation.push_back(static_cast<int64_t>(kept.find(letter)));
    operand.value = c.b.transpose(operand.value, permutation);
    operand.letters = order;
  };
  if (operands.size() == 1) {
    arrange(operands[0], out);
    return c.done(operands[0].value);
  }
  if (failed(c.needSameElement(0, 1)))
    return failure();
  std::string batch, own[2], contracted;
  for (const auto &[letter, size] : sizes) {
    bool inA = operands[0].letters.find(letter) != std::string::npos,
         inB = operands[1].letters.find(letter) != std::string::npos;
    bool inOut = out.find(letter) != std::string::npos;
    if (inA && inB)
      (inOut ? batch : contracted) += letter;
    else if (inOut)
      own[inA ? 0 : 1] += letter;
  }
  auto sizeOf = [&](const std::string &letters) {
    int64_t product = 1;
    for (char letter : letters)
      product *= sizes[letter];
    return product;
  };
  arrange(operands[0], batch + own[0] + contracted);
  arrange(operands[1], batch + contracted + own[1]);
  int64_t b = sizeOf(batch), k = sizeOf(contracted);
  FailureOr<Value> result = product(c, c.b.reshape(operands[0].value, {b, sizeOf(own[0]), k}),
                                    c.b.reshape(operands[1].value, {b, k, sizeOf(own[1])}), false, false);
  if (failed(result))
    return failure();
  SmallVector<int64_t> shape, permutation;
  std::string order = batch + own[0] + own[1];
  for (char letter : order)
    shape.push_back(sizes[letter]);
  for (char letter : out)
    permutation.push_back(static_cast<int64_t>(order.find(letter)));
  return c.done(c.b.transpose(c.b.reshape(*result, shape), permutation));
}
} // namespace

void addMatMulOps(OpTable &table) {
  table.add("MatMul", matMul);
  table.add("Gemm", gemm);
  table.add("Einsum", einsum);
  table.addMs("FusedMatMul", fusedMatMul);
  table.addMs("TransposeMatMul", fusedMatMul);
}

} // namespace mlir::comm
