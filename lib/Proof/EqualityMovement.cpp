//===- EqualityMovement.cpp - commands that move data -----------------===//
// One rule per command of docs/reference/commands.md.
//===----------------------------------------------------------------------===//
#include "EqualityCommand.h"
#include <algorithm>

using namespace comm::exe;

namespace comm::proof {
namespace {
View zeros(int64_t size) { return {size, {{0, {size}, {1}, {}}}}; }

class MovementRule : public CommandRule {
public:
  using CommandRule::CommandRule;

  bool run() {
    static const std::map<std::string, void (MovementRule::*)()> rules = {
        {"copy", &MovementRule::copy},
        {"fill", &MovementRule::fill},
        {"shard_copy", &MovementRule::shardCopy},
        {"pack_shards", &MovementRule::packShards},
        {"unpack_shards", &MovementRule::unpackShards},
        {"rank_mask", &MovementRule::rankMask},
    };
    return runOne(rules);
  }

private:
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
};
} // namespace

bool applyMovement(State &state, const Command &command, int64_t rank) {
  return MovementRule(state, command, rank).run();
}

} // namespace comm::proof
