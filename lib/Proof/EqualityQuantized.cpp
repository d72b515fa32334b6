//===- EqualityQuantized.cpp - products with packed integers --------------===//
// Input times scale times a number that bytes and zero point make, summed over blocks and what is in them. That the
// input may be rounded to 8 bits is rounding. What shares a byte is told apart by its number in it.
//===----------------------------------------------------------------------===//
#include "EqualityRules.h"
#include <algorithm>

using namespace comm::exe;

namespace comm::proof {
namespace {
using Ints = std::vector<int64_t>;

struct Rule {
  Terms &terms;
  const QuantizedProduct &p;
  const Shape &x = p.shapes[0], &w = p.shapes[1], &scales = p.shapes[2], &y = p.result;
  int64_t bits = 0, block = 0, k = 0, n = 0, blocks = 0, inByte = 1, zeroRow = 0;
  bool kMajor = false, hasZeros = false;

  int64_t intOr(const char *key) const { return p.attrs.count(key) ? intOf(p.attrs, key) : 0; }

  void check() {
    constexpr const char *badShapes = "operands whose shapes do not fit";
    bits = intOf(p.attrs, "bits"), block = intOf(p.attrs, "block"), kMajor = intOr("k_major") != 0;
    require((bits == 4 || bits == 8) && block > 0 && block % 16 == 0 && block <= 1024 && !x.empty() && w.size() == 3 &&
                scales.size() == 2 && y.size() == x.size(),
            badShapes);
    k = x.back(), n = y.back(), blocks = w[kMajor ? 0 : 1], inByte = 8 / bits;
    int64_t rows = kMajor ? blocks : n, columns = kMajor ? n : blocks;
    require(k > 0 && n > 0 && blocks == (k + block - 1) / block && (!kMajor || (k % block == 0 && n % inByte == 0)) &&
                w == (kMajor ? Shape{blocks, block, n / inByte} : Shape{n, blocks, block / inByte}) &&
                (scales[0] == 1 || scales[0] == rows) && (scales[1] == 1 || scales[1] == columns) &&
                numElements(y) == numElements(x) / k * n,
            badShapes);
    hasZeros = p.shapes.size() == 4;
    if (!hasZeros)
      return;
    require(p.shapes[3] == (p.packedZeros ? Shape{scales[0], (scales[1] * bits + 7) / 8} : scales), badShapes);
    zeroRow = p.shapes[3][1];
  }

  Operation start() const {
    Operation o;
    o.op = "quantized_matmul";
    o.attrs = std::to_string(bits) + (intOr("signed") != 0 ? " signed" : "") + (kMajor ? " k_major" : "") +
              (hasZeros ? p.packedZeros ? " packed" : " zeros" : "");
    o.size = numElements(y);
    o.add(o.size / n, kEach, n);
    return o;
  }

  SharedView pair() const { // 0, 1
    return std::make_shared<View>(View{2, {{0, {2}, {1}, {{terms.leaf("index", ""), 0, {1}}}}}});
  }

  /// The last block is shorter: a function of whole columns.
  Operation wholeColumns() const {
    Operation o = start();
    o.op = "quantized_columns";
    o.add(n, kEach, 1);
    o.add(k, 'k', -1);
    o.add(w[2] * blocks, 'w', -1);
    o.add(scales[1], 's', -1);
    o.add(std::max<int64_t>(zeroRow, 1), 'z', -1);
    int64_t perColumn = scales[0] == 1 ? 0 : 1;
    o.operands.push_back({p.views[0], 0, {k, 0, 1, 0, 0, 0}});
    o.operands.push_back({p.views[1], 0, {0, w[2] * blocks, 0, 1, 0, 0}});
    o.operands.push_back({p.views[2], 0, {0, perColumn * scales[1], 0, 0, 1, 0}});
    if (hasZeros)
      o.operands.push_back({p.views[3], 0, {0, perColumn * zeroRow, 0, 0, 0, 1}});
    return o;
  }

  /// Dimensions: rows; groups of columns and columns of a group; groups of blocks and blocks of a group; bytes and
  /// numbers of a byte in a block; bytes of zero points that are seen whole.
  Operation sums() const {
    bool pairColumns = kMajor && inByte > 1, sharedByte = p.packedZeros && inByte > 1 && scales[1] > 1;
    bool wholeZeros = sharedByte && !kMajor && blocks % 2 != 0, pairBlocks = sharedByte && !kMajor && !wholeZeros;
    int64_t cols = pairColumns ? 2 : 1, group = pairBlocks ? 2 : 1, numbers = kMajor ? 1 : inByte;
    Operation o = start();
    o.add(n / cols, kEach, cols);
    o.add(cols, kEach, 1);
    o.add(blocks / group, kSum, -1);
    o.add(group, kSum, -1);
    o.add(block / numbers, kSum, -1);
    o.add(numbers, kSum, -1);
    o.add(wholeZeros ? zeroRow : 1, 'z', -1);
    o.operands.push_back({p.views[0], 0, {k, 0, 0, group * block, block, numbers, 1, 0}, true});
    if (kMajor)
      o.operands.push_back({p.views[1], 0, {0, 1, pairColumns ? 0 : 1, block * w[2], 0, w[2], 0, 0}});
    else
      o.operands.push_back({p.views[1], 0, {0, blocks * w[2], 0, group * w[2], w[2], 1, 0, 0}});
    auto perScale = [&](int64_t rowStride, bool inPairs) { // two neighbours of the last dimension lie in one element
      int64_t row = scales[0] == 1 ? 0 : rowStride, column = scales[1] == 1 ? 0 : 1, own = inPairs ? 0 : column;
      return kMajor ? Ints{0, column * (inPairs ? 1 : cols), own, row, 0, 0, 0, 0}
                    : Ints{0, row, 0, column * (inPairs ? 1 : group), own, 0, 0, 0};
    };
    o.operands.push_back({p.views[2], 0, perScale(scales[1], false), true}); // fill is a scale of zero
    if (hasZeros && wholeZeros)
      o.operands.push_back({p.views[3], 0, {0, scales[0] == 1 ? 0 : zeroRow, 0, 0, 0, 0, 0, 1}});
    else if (hasZeros)
      o.operands.push_back({p.views[3], 0, perScale(zeroRow, sharedByte)});
    for (auto [needed, dim] : {std::pair{pairColumns, 2}, {pairBlocks, 4}, {numbers > 1, 6}})
      if (needed) {
        Ints strides(8, 0);
        strides[static_cast<size_t>(dim)] = 1;
        o.operands.push_back({pair(), 0, strides});
      }
    return o;
  }
};
} // namespace

Operation quantizedOperation(Terms &terms, const QuantizedProduct &product) {
  Rule rule{terms, product};
  rule.check();
  return rule.k % rule.block != 0 ? rule.wholeColumns() : rule.sums();
}

} // namespace comm::proof
