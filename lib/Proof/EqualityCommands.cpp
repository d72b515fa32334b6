//===- EqualityCommands.cpp - what commands compute -----------------------===//
// One rule per command of docs/reference/commands.md that is no collective. Shapes and attributes are not trusted.
//===----------------------------------------------------------------------===//
#include "EqualityRules.h"
#include <algorithm>

using namespace comm::exe;

namespace comm::proof {
namespace {
using Ints = std::vector<int64_t>;
constexpr const char *badShapes = "operands whose shapes do not fit";

View zeros(int64_t size) { return {size, {{0, {size}, {1}, {}}}}; }

class CommandRule {
public:
  CommandRule(State &state, const Command &c, int64_t rank) : s(state), c(c), rank(rank), grid(state.grid) {}

  void run() {
    using Rule = void (CommandRule::*)();
    static const std::map<std::string, Rule> rules = {
        {"copy", &CommandRule::copy},
        {"fill", &CommandRule::fill},
        {"shard_copy", &CommandRule::shardCopy},
        {"pack_shards", &CommandRule::packShards},
        {"unpack_shards", &CommandRule::unpackShards},
        {"rank_mask", &CommandRule::rankMask},
        {"matmul", &CommandRule::matmul},
        {"quantized_matmul", &CommandRule::quantizedMatmul},
        {"attention", &CommandRule::attention},
        {"embedding", &CommandRule::embedding},
        {"expert_matmul", &CommandRule::expertMatmul},
        {"gather", &CommandRule::gather},
        {"gather_nd", &CommandRule::gatherND},
        {"gather_elements", &CommandRule::gatherElements},
        {"scatter_nd", &CommandRule::scatterND},
        {"top_k", &CommandRule::topK},
        {"kernel", &CommandRule::kernel},
    };
    auto it = rules.find(c.op);
    require(it != rules.end(), "an operation without a rule");
    (this->*it->second)();
  }

private:
  const Value &in(size_t i) const { return s.value(rank, c.inputs[i]); }
  const Value &out() const { return s.value(rank, c.outputs[0]); }
  int64_t size() const { return numElements(out().shape); }
  SharedView read(size_t i) { return s.read(rank, c.inputs[i]); }
  void write(View v) {
    v.size = size();
    s.write(rank, c.outputs[0], std::make_shared<View>(std::move(v)));
  }
  int64_t intOr(const char *key, int64_t otherwise) const {
    return c.attrs.count(key) ? intOf(c.attrs, key) : otherwise;
  }
  void operands(size_t inputs) {
    require(c.inputs.size() == inputs && c.outputs.size() == 1, "another number of operands");
  }

  //===--- data movement ----------------------------------------------------===//

  /// All addresses of an access lie in a tensor of `elements`.
  static void inside(const Access &a, int64_t elements) {
    __int128 last = a.offset;
    for (size_t d = 0; d < a.n.size(); ++d) {
      require(a.stride[d] >= 0, "a stride that goes backwards");
      last += __int128(a.n[d] - 1) * a.stride[d];
    }
    require(a.offset >= 0 && last < elements, "an access outside its tensor");
  }

  static bool overlaps(const Ints &dims, const Ints &strides) {
    std::vector<std::pair<int64_t, int64_t>> steps; // stride and count, broadcasts aside
    for (size_t d = 0; d < dims.size(); ++d)
      if (dims[d] > 1 && strides[d] > 0)
        steps.push_back({strides[d], dims[d]});
    std::sort(steps.begin(), steps.end());
    int64_t reach = 1;
    for (auto [stride, count] : steps) {
      if (stride < reach)
        return true;
      reach += (count - 1) * stride;
    }
    return false;
  }

  /// Windows that overlap: every element of the dimensions that do not is a function of its own run of the operand.
  /// False when the copy is no such thing.
  bool windows(const Ints &dims, const Ints &from, const Ints &to, int64_t inOffset) {
    if (!overlaps(dims, from))
      return false;
    auto reachFrom = [&](size_t d) { // elements from the first to the last that these dimensions read
      int64_t reach = 1;
      for (; d < dims.size(); ++d)
        reach += (dims[d] - 1) * from[d];
      return reach;
    };
    size_t lead = 0;
    while (lead < dims.size() && from[lead] >= reachFrom(lead + 1))
      ++lead;
    int64_t each = 1, all = 1, reach = reachFrom(lead);
    for (size_t d = dims.size(); d-- > 0; all *= dims[d]) {
      if (to[d] != all && dims[d] != 1)
        return false;
      each *= d >= lead ? dims[d] : 1;
    }
    if (all != size())
      return false;
    // The whole run up to the next one, where it is there: parts of an operand end with it.
    int64_t elements = numElements(in(0).shape), run = lead > 0 ? from[lead - 1] : elements - inOffset, last = inOffset;
    for (size_t d = 0; d < lead; ++d)
      last += (dims[d] - 1) * from[d];
    if (run <= elements - last)
      reach = std::max(reach, run);
    Operation o;
    o.op = "windows";
    Ints operand;
    for (size_t d = 0; d < lead; ++d) {
      o.add(dims[d], kEach, to[d]);
      operand.push_back(from[d]);
    }
    for (size_t d = lead; d < dims.size(); ++d)
      o.attrs += std::to_string(dims[d]) + ":" + std::to_string(from[d]) + " ";
    o.add(each, 'w', 1);
    o.add(reach, 'x', -1);
    operand.push_back(0);
    operand.push_back(1);
    o.size = size();
    o.operands.push_back({read(0), inOffset, operand});
    write(apply(s.terms, std::move(o)));
    return true;
  }

  void copy() {
    operands(1);
    Ints dims = intsOf(c.attrs, "dims"), from = intsOf(c.attrs, "in_strides"), to = intsOf(c.attrs, "out_strides");
    int64_t inOffset = c.attrs.count("in_offset") ? intOf(c.attrs, "in_offset") : 0;
    int64_t outOffset = c.attrs.count("out_offset") ? intOf(c.attrs, "out_offset") : 0;
    require(from.size() == dims.size() && to.size() == dims.size(), badShapes);
    int64_t total = numElements(dims);
    require(total >= 0, badShapes);
    if (total == 0)
      return;
    Ints at = rowMajor(dims);
    Access source{inOffset, 0, dims, at, from}, target{outOffset, 0, dims, at, to};
    inside(source, numElements(in(0).shape));
    inside(target, size());
    if (outOffset == 0 && windows(dims, from, to, inOffset))
      return;
    View moved = compose(*read(0), source, total);
    View y = *s.read(rank, c.outputs[0]);
    y.size = size();
    store(y, target, moved);
    write(std::move(y));
  }

  void fill() {
    operands(0);
    const Attr &value = c.attrs.count("value") ? c.attrs.at("value") : Attr(std::string());
    View y = zeros(size());
    if (const auto *f = std::get_if<double>(&value)) {
      if (*f != 0)
        y.pieces[0].atoms.push_back({s.terms.leaf("constant", exact(*f)), 0, {0}});
    } else {
      int64_t i = intOf(c.attrs, "value");
      if (i != 0)
        y.pieces[0].atoms.push_back({s.terms.leaf("constant", std::to_string(i)), 0, {0}});
    }
    write(std::move(y));
  }

  struct Shards {
    size_t dim;
    Split split;
    Shape whole;
    std::vector<int32_t> members;
  };
  Shards shards(const Shape &whole) const {
    Shards out;
    int64_t dim = intOf(c.attrs, "dim");
    require(dim >= 0 && dim < static_cast<int64_t>(whole.size()), badShapes);
    out.dim = static_cast<size_t>(dim);
    out.split = {namesOf(c.attrs, "axes"), c.attrs.count("grain") ? intOf(c.attrs, "grain") : 1};
    require(out.split.grain >= 1 && whole[out.dim] % out.split.grain == 0, badShapes);
    out.whole = whole;
    for (const std::string &axis : out.split.axes)
      require(grid.coordinate(0, {axis}) >= 0, "an axis that does not exist");
    out.members = grid.members(rank, out.split.axes);
    return out;
  }
  /// The box of the whole that `member` holds; `local` is the shape it has there.
  Access boxOf(const Shards &sh, int64_t member, Shape &local) const {
    Layout layout;
    layout.dims.resize(sh.whole.size());
    layout.dims[sh.dim] = sh.split;
    Access box;
    local = localBox(sh.whole, layout, grid, member, box);
    return box;
  }
  /// The member whose shard number is this rank's plus `shift`, round the ring.
  int32_t memberAt(const Shards &sh, int64_t shift) const {
    auto n = static_cast<int64_t>(sh.members.size());
    return sh.members[static_cast<size_t>((grid.coordinate(rank, sh.split.axes) + shift % n + n) % n)];
  }
  static bool isEmpty(const Access &a) { return std::find(a.n.begin(), a.n.end(), 0) != a.n.end(); }

  void shardCopy() {
    operands(1);
    Shards sh = shards(in(0).shape);
    Shape local;
    Access box = boxOf(sh, memberAt(sh, intOr("shift", 0)), local);
    require(local == out().shape, badShapes);
    View y = zeros(size());
    if (!isEmpty(box))
      store(y, {0, 0, box.n, box.at, box.at}, compose(*read(0), box, size()));
    write(std::move(y));
  }

  void packShards() {
    operands(1);
    Shards sh = shards(in(0).shape);
    SharedView x = read(0);
    View y = zeros(size());
    int64_t base = 0;
    for (int32_t member : sh.members) {
      Shape local;
      Access box = boxOf(sh, member, local);
      int64_t block = numElements(local);
      require(base + block <= size(), badShapes);
      if (!isEmpty(box))
        store(y, {base, 0, box.n, box.at, box.at}, compose(*x, box, block));
      base += block;
    }
    require(base == size(), badShapes);
    write(std::move(y));
  }

  void unpackShards() {
    operands(1);
    Shards sh = shards(out().shape);
    SharedView x = read(0);
    View y{size(), {}};
    int64_t elements = numElements(in(0).shape);
    Shape each;
    boxOf(sh, sh.members.front(), each);
    require(static_cast<int64_t>(sh.members.size()) * numElements(each) == elements, badShapes);
    int64_t first = intOr("rotated", 0) != 0 ? grid.coordinate(rank, sh.split.axes) : 0;
    auto n = static_cast<int64_t>(sh.members.size());
    // Of replicated blocks the first is taken: last written.
    for (size_t i = sh.members.size(); i-- > 0;) {
      Shape local;
      Access box = boxOf(sh, sh.members[i], local);
      int64_t block = numElements(local);
      require(n * block == elements, badShapes);
      if (isEmpty(box))
        continue;
      int64_t place = (static_cast<int64_t>(i) - first + n) % n;
      View part = compose(*x, {place * block, 0, {block}, {1}, {1}}, block);
      store(y, box, part);
    }
    write(std::move(y));
  }

  void rankMask() {
    operands(1);
    require(numElements(in(0).shape) == size(), badShapes);
    std::vector<std::string> axes = namesOf(c.attrs, "axes");
    write(grid.coordinate(rank, axes) == 0 ? View(*read(0)) : zeros(size()));
  }

  //===--- compute ----------------------------------------------------------===//

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

  void embedding() {
    operands(2);
    const Shape &table = in(0).shape;
    int64_t vocab = intOf(c.attrs, "vocab"), ids = numElements(in(1).shape);
    require(table.size() == 2 && vocab > 0 && size() == ids * table[1], badShapes);
    Split split{namesOf(c.attrs, "axes"), c.attrs.count("grain") ? intOf(c.attrs, "grain") : 1};
    require(split.grain >= 1 && vocab % split.grain == 0, badShapes);
    ShardRange range{0, vocab, vocab};
    if (!split.axes.empty())
      range = shardRange(vocab, split, grid, rank);
    require(range.local == table[0], badShapes);
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
    Split split{namesOf(c.attrs, "axes"), c.attrs.count("grain") ? intOf(c.attrs, "grain") : 1};
    require(split.grain >= 1 && experts % split.grain == 0, badShapes);
    ShardRange range{0, experts, experts};
    if (!split.axes.empty())
      range = shardRange(experts, split, grid, rank);
    require(range.local == w[0], badShapes);
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

  State &s;
  const Command &c;
  int64_t rank;
  const Grid &grid;
};
} // namespace

void applyCommand(State &state, const Command &command, int64_t rank) { CommandRule(state, command, rank).run(); }

} // namespace comm::proof
