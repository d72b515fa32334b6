//===- EqualityCommands.cpp - commands that compute -------------------===//
// One rule per command of docs/reference/commands.md.
//===----------------------------------------------------------------------===//
#include "EqualityCommand.h"
#include <algorithm>

using namespace comm::exe;

namespace comm::proof {
namespace {
class ComputeRule : public CommandRule {
public:
  using CommandRule::CommandRule;

  bool run() {
    static const std::map<std::string, void (ComputeRule::*)()> rules = {
        {"matmul", &ComputeRule::matmul},
        {"quantized_matmul", &ComputeRule::quantizedMatmul},
        {"attention", &ComputeRule::attention},
        {"embedding", &ComputeRule::embedding},
        {"expert_matmul", &ComputeRule::expertMatmul},
        {"gather", &ComputeRule::gather},
        {"gather_nd", &ComputeRule::gatherND},
        {"gather_elements", &ComputeRule::gatherElements},
        {"scatter_nd", &ComputeRule::scatterND},
        {"top_k", &ComputeRule::topK},
        {"kernel", &ComputeRule::kernel},
    };
    return runOne(rules);
  }

private:
  void matmul() {
    operands(2);
    bool ta = intOr("transpose_a", 0) != 0, tb = intOr("transpose_b", 0) != 0;
    const Shape &a = in(0).shape, &b = in(1).shape, &y = out().shape;
    require(a.size() >= 2 && b.size() >= 2 && y.size() == std::max(a.size(), b.size()), badShapes);
    auto last = [](const Shape &x, bool transposed, int which) {
      return x[x.size() - ((which == 0) != transposed ? 2 : 1)];
    };
    int64_t m = last(a, ta, 0), k = last(a, ta, 1), n = last(b, tb, 1);
    require(last(b, tb, 0) == k && y[y.size() - 2] == m && y.back() == n, badShapes);
    Ints sa = rowMajor(a), sb = rowMajor(b), sy = rowMajor(y), pa, pb;
    Operation o;
    o.op = "matmul";
    if (c.attrs.count("precision"))
      o.attrs = textOf(c.attrs, "precision");
    auto batch = [&](const Shape &x, const Ints &strides, size_t d) {
      size_t skip = y.size() - x.size();
      if (d < skip)
        return int64_t(0);
      require(x[d - skip] == y[d] || x[d - skip] == 1, badShapes);
      return x[d - skip] == 1 ? 0 : strides[d - skip];
    };
    for (size_t d = 0; d + 2 < y.size(); ++d) {
      o.add(y[d], kEach, sy[d]);
      pa.push_back(batch(a, sa, d));
      pb.push_back(batch(b, sb, d));
    }
    int64_t aRow = sa[sa.size() - 2], bRow = sb[sb.size() - 2];
    o.add(m, kEach, sy[sy.size() - 2]);
    pa.push_back(ta ? 1 : aRow);
    pb.push_back(0);
    o.add(n, kEach, 1);
    pa.push_back(0);
    pb.push_back(tb ? bRow : 1);
    o.add(k, kSum, -1);
    pa.push_back(ta ? aRow : 1);
    pb.push_back(tb ? 1 : bRow);
    o.size = size();
    o.operands.push_back({read(0), 0, pa, true});
    o.operands.push_back({read(1), 0, pb, true});
    write(apply(s.terms, std::move(o)));
  }

  void quantizedMatmul() {
    operands(c.inputs.size() == 4 ? 4 : 3);
    QuantizedProduct product{c.attrs, {}, {}, out().shape, c.inputs.size() == 4 && byteWidth(in(3).dtype) == 1};
    for (size_t i = 0; i < c.inputs.size(); ++i) {
      product.shapes.push_back(in(i).shape);
      product.views.push_back(read(i));
    }
    write(apply(s.terms, quantizedOperation(s.terms, product)));
  }

  SharedView numbers(int64_t first, int64_t count) {
    return std::make_shared<View>(View{count, {{0, {count}, {1}, {{s.terms.leaf("index", ""), first, {1}}}}}});
  }

  void attention() {
    bool hasMask = intOf(c.attrs, "has_mask") != 0, hasLengths = intOf(c.attrs, "has_lengths") != 0;
    operands(3 + size_t(hasMask) + size_t(hasLengths));
    const Shape &q = in(0).shape, &k = in(1).shape, &v = in(2).shape, &y = out().shape;
    require(q.size() == 4 && k.size() == 4 && v.size() == 4 && y.size() == 4, badShapes);
    int64_t B = q[0], H = q[1], S = q[2], D = q[3], K = k[1], T = k[2], E = v[3];
    require(K > 0 && H % K == 0 && k == Shape({B, K, T, D}) && v == Shape({B, K, T, E}) && y == Shape({B, H, S, E}),
            badShapes);
    int64_t G = H / K;
    Operation o;
    o.op = "attention";
    o.attrs =
        exact(floatOf(c.attrs, "scale")) + " " + exact(c.attrs.count("softcap") ? floatOf(c.attrs, "softcap") : 0.0);
    if (c.attrs.count("precision"))
      o.attrs += " " + textOf(c.attrs, "precision");
    o.add(B, kEach, H * S * E);
    o.add(K, kEach, G * S * E);
    o.add(G, kEach, S * E);
    o.add(S, kEach, E);
    o.add(E, kEach, 1);
    o.add(T, 'T', -1);
    o.add(D, 'D', -1);
    o.size = size();
    o.operands.push_back({read(0), 0, {H * S * D, G * S * D, S * D, D, 0, 0, 1}});
    o.operands.push_back({read(1), 0, {K * T * D, T * D, 0, 0, 0, D, 1}});
    o.operands.push_back({read(2), 0, {K * T * E, T * E, 0, 0, 1, E, 0}});
    if (intOr("causal", 0) != 0) {
      // Query i sees the keys up to i + offset: the offset is the number of the first query. Keys after the last
      // query's do not matter, whatever a mask says of them.
      int64_t offset = intOr("causal_offset", 0);
      require(offset >= 0 && offset < (int64_t(1) << 40), "a causal offset out of range");
      o.attrs += " causal";
      o.operands.push_back({numbers(offset, S), 0, {0, 0, 0, 1, 0, 0, 0}});
      o.mayCut = T >= S + offset;
    }
    if (hasMask) {
      const Shape &mask = in(3).shape;
      require(mask.size() == 4, badShapes);
      Shape full = {B, H, S, T};
      for (size_t d = 0; d < 4; ++d)
        require(mask[d] == full[d] || mask[d] == 1, badShapes);
      Ints st = rowMajor(mask);
      for (size_t d = 0; d < 4; ++d)
        st[d] = mask[d] == 1 ? 0 : st[d];
      o.attrs += " mask";
      o.operands.push_back({read(3), 0, {st[0], G * st[1], st[1], st[2], 0, st[3], 0}});
    }
    if (hasLengths) {
      require(in(3 + size_t(hasMask)).shape == Shape{B}, badShapes);
      o.attrs += " lengths";
      o.operands.push_back({read(3 + size_t(hasMask)), 0, {1, 0, 0, 0, 0, 0, 0}});
    }
    write(apply(s.terms, std::move(o)));
  }

  /// Which of `total` rows this rank holds, `local` of them.
  ShardRange heldHere(int64_t total, int64_t local) const {
    Split split{namesOf(c.attrs, "axes"), intOr("grain", 1)};
    require(split.grain >= 1 && total % split.grain == 0, badShapes);
    ShardRange range{0, total, total};
    if (!split.axes.empty())
      range = shardRange(total, split, grid, rank);
    require(range.local == local, badShapes);
    return range;
  }

  void embedding() {
    operands(2);
    const Shape &table = in(0).shape;
    int64_t vocab = intOf(c.attrs, "vocab"), ids = numElements(in(1).shape);
    require(table.size() == 2 && vocab > 0 && size() == ids * table[1], badShapes);
    ShardRange range = heldHere(vocab, table[0]);
    Operation o;
    o.op = "embedding";
    o.attrs = std::to_string(vocab);
    o.add(ids, kEach, table[1]);
    o.add(table[1], kEach, 1);
    o.add(range.count, kSum, -1); // the row whose number is the id
    o.size = size();
    o.operands.push_back({read(0), 0, {0, 1, table[1]}, true});
    o.operands.push_back({read(1), 0, {1, 0, 0}});
    o.operands.push_back({numbers(range.start, std::max<int64_t>(range.count, 1)), 0, {0, 0, 1}});
    write(apply(s.terms, std::move(o)));
  }

  void expertMatmul() {
    operands(3);
    const Shape &x = in(0).shape, &ids = in(1).shape, &w = in(2).shape;
    bool transposed = intOr("transpose", 0) != 0;
    int64_t experts = intOf(c.attrs, "experts"), rows = numElements(ids);
    require(!ids.empty() && w.size() == 3 && (x.size() == ids.size() || x.size() == ids.size() + 1), badShapes);
    require(std::equal(x.begin(), x.end() - 1, ids.begin()) && experts > 0, badShapes);
    int64_t k = w[transposed ? 2 : 1], n = w[transposed ? 1 : 2], each = x.size() == ids.size() ? ids.back() : 1;
    require(x.back() == k && size() == rows * n && each > 0, badShapes);
    ShardRange range = heldHere(experts, w[0]);
    Operation o;
    o.op = "expert_matmul";
    o.attrs = std::to_string(experts);
    o.add(rows / each, kEach, each * n);
    o.add(each, kEach, n);
    o.add(n, kEach, 1);
    o.add(range.count, kSum, -1); // the expert whose number is the id
    o.add(k, kSum, -1);
    o.size = size();
    o.operands.push_back({read(0), 0, {k, 0, 0, 0, 1}, true});
    o.operands.push_back({read(2), 0, {0, 0, transposed ? k : 1, k * n, transposed ? 1 : n}, true});
    o.operands.push_back({read(1), 0, {each, 1, 0, 0, 0}});
    o.operands.push_back({numbers(range.start, std::max<int64_t>(range.count, 1)), 0, {0, 0, 0, 1, 0}});
    write(apply(s.terms, std::move(o)));
  }

  void gather() {
    operands(2);
    const Shape &data = in(0).shape;
    int64_t axis = intOf(c.attrs, "axis"), ids = numElements(in(1).shape);
    require(axis >= 0 && axis < static_cast<int64_t>(data.size()), badShapes);
    auto mid = data.begin() + axis;
    int64_t before = numElements(Shape(data.begin(), mid)), after = numElements(Shape(mid + 1, data.end()));
    require(size() == before * ids * after, badShapes);
    Operation o;
    o.op = "gather";
    o.add(before, kEach, ids * after);
    o.add(ids, kEach, after);
    o.add(after, kEach, 1);
    o.add(*mid, 'v', -1);
    o.size = size();
    o.operands.push_back({read(0), 0, {*mid * after, 0, 1, after}, true});
    o.operands.push_back({read(1), 0, {0, 1, 0, 0}});
    write(apply(s.terms, std::move(o)));
  }

  void gatherND() {
    operands(2);
    const Shape &data = in(0).shape, &index = in(1).shape;
    int64_t batch = c.attrs.count("batch_dims") ? intOf(c.attrs, "batch_dims") : 0;
    require(!index.empty() && batch >= 0 && batch < static_cast<int64_t>(index.size()), badShapes);
    int64_t q = index.back();
    require(q >= 1 && q <= 9 && batch + q <= static_cast<int64_t>(data.size()), badShapes);
    auto cut = data.begin() + batch;
    int64_t b = numElements(Shape(data.begin(), cut)), rest = numElements(Shape(cut + q, data.end()));
    require(b >= 0 && numElements(Shape(index.begin(), index.begin() + batch)) == b, badShapes);
    int64_t i = b ? numElements(index) / q / b : 0;
    require(size() == b * i * rest, badShapes);
    Ints strides = rowMajor(data);
    Operation o;
    o.op = "gather_nd";
    o.add(b, kEach, i * rest);
    o.add(i, kEach, rest);
    o.add(rest, kEach, 1);
    Ints from = {batch ? strides[static_cast<size_t>(batch - 1)] : 0, 0, 1}, ids = {i * q, q, 0};
    for (int64_t d = 0; d < q; ++d) {
      o.add(*(cut + d), static_cast<char>('0' + d), -1);
      o.attrs += std::to_string(*(cut + d)) + " ";
      from.push_back(strides[static_cast<size_t>(batch + d)]);
      ids.push_back(0);
    }
    o.add(q, 'q', -1);
    from.push_back(0);
    ids.push_back(1);
    o.size = size();
    o.operands.push_back({read(0), 0, from, true});
    o.operands.push_back({read(1), 0, ids});
    write(apply(s.terms, std::move(o)));
  }

  void gatherElements() {
    operands(2);
    const Shape &data = in(0).shape, &index = in(1).shape;
    int64_t axis = intOf(c.attrs, "axis");
    require(data.size() == index.size() && axis >= 0 && axis < static_cast<int64_t>(data.size()), badShapes);
    require(numElements(index) == size(), badShapes);
    Ints from = rowMajor(data), ids = rowMajor(index);
    Operation o;
    o.op = "gather_elements";
    for (size_t d = 0; d < index.size(); ++d) {
      require(static_cast<int64_t>(d) == axis || index[d] <= data[d], badShapes);
      o.add(index[d], kEach, ids[d]);
    }
    o.add(data[static_cast<size_t>(axis)], 'v', -1);
    from.push_back(from[static_cast<size_t>(axis)]);
    from[static_cast<size_t>(axis)] = 0;
    ids.push_back(0);
    o.size = size();
    o.operands.push_back({read(0), 0, from, true});
    o.operands.push_back({read(1), 0, ids});
    write(apply(s.terms, std::move(o)));
  }

  /// One slice of the data sees all tuples and its own column of the updates.
  void scatterND() {
    operands(3);
    const Shape &data = in(0).shape, &index = in(1).shape;
    require(!index.empty() && index.back() >= 1 && index.back() <= static_cast<int64_t>(data.size()), badShapes);
    int64_t q = index.back(), tuples = numElements(Shape(index.begin(), index.end() - 1));
    auto cut = data.begin() + q;
    int64_t rows = numElements(Shape(data.begin(), cut)), rest = numElements(Shape(cut, data.end()));
    require(size() == rows * rest && numElements(in(2).shape) == tuples * rest && rows > 0 && tuples > 0, badShapes);
    Operation o;
    o.op = "scatter_nd";
    o.attrs = textOf(c.attrs, "kind");
    for (auto d = data.begin(); d != cut; ++d)
      o.attrs += " " + std::to_string(*d);
    o.add(rest, kEach, 1);
    o.add(rows, 'd', rest);
    o.add(tuples, 't', -1);
    o.add(q, 'q', -1);
    o.size = size();
    o.operands.push_back({read(0), 0, {1, rest, 0, 0}});
    o.operands.push_back({read(1), 0, {0, 0, q, 1}});
    o.operands.push_back({read(2), 0, {1, 0, rest, 0}});
    write(apply(s.terms, std::move(o)));
  }

  void topK() {
    operands(1);
    const Shape &x = in(0).shape, &y = out().shape;
    require(!x.empty() && x.size() == y.size() && y.back() > 0 && x.back() >= y.back(), badShapes);
    int64_t n = x.back(), k = y.back(), rows = numElements(x) / n;
    require(rows * k == size(), badShapes);
    Operation o;
    o.op = "top_k";
    o.attrs = intOf(c.attrs, "largest") != 0 ? "largest" : "smallest";
    o.add(rows, kEach, k);
    o.add(k, 'k', 1);
    o.add(n, 'n', -1);
    o.size = size();
    o.operands.push_back({read(0), 0, {n, 0, 1}});
    write(apply(s.terms, std::move(o)));
  }

  void kernel() {
    const std::string &symbol = textOf(c.attrs, "symbol");
    auto it =
        std::find_if(s.exe.kernels.begin(), s.exe.kernels.end(), [&](const Kernel &k) { return k.symbol == symbol; });
    require(it != s.exe.kernels.end(), "a native function without a declaration");
    std::vector<SharedView> inputs;
    for (size_t i = 0; i < c.inputs.size(); ++i)
      inputs.push_back(read(i));
    std::vector<SharedView> results = applyKernel(s.terms, *it, inputs);
    require(results.size() == c.outputs.size(), badShapes);
    for (size_t i = 0; i < results.size(); ++i)
      s.write(rank, c.outputs[i], results[i]);
  }
};
} // namespace

bool applyCompute(State &state, const Command &command, int64_t rank) {
  return ComputeRule(state, command, rank).run();
}

void applyCommand(State &state, const Command &command, int64_t rank) {
  require(applyMovement(state, command, rank) || applyCompute(state, command, rank), "an operation without a rule");
}

} // namespace comm::proof
