//===- RandomGraph.cpp - small models at random ---------------------------===//
#include "RandomGraph.h"
#include <algorithm>
#include <numeric>

using namespace commtest;
using Shape = std::vector<int64_t>;

std::string TestGrid::text() const {
  std::string axes, counts;
  for (size_t i = 0; i < names.size(); ++i) {
    axes += (i ? ", \"" : "\"") + names[i] + "\"";
    counts += (i ? ", " : "") + std::to_string(sizes[i]);
  }
  return "comm.grid @grid [" + axes + "] = [" + counts + "]\n";
}

RandomGraph::RandomGraph(uint32_t seed, TestGrid grid, bool fixedLayouts)
    : engine(seed), grid(std::move(grid)), fixedLayouts(fixedLayouts) {}

int64_t RandomGraph::pick(int64_t low, int64_t high) {
  return low + static_cast<int64_t>(engine() % static_cast<uint64_t>(high - low + 1));
}

std::string RandomGraph::type(const Shape &shape, const char *element) {
  std::string text = "tensor<";
  for (int64_t size : shape)
    text += std::to_string(size) + "x";
  return text + element + ">";
}

static std::string list(const Shape &values) {
  std::string text = "[";
  for (size_t i = 0; i < values.size(); ++i)
    text += (i ? ", " : "") + std::to_string(values[i]);
  return text + "]";
}

std::string RandomGraph::layout(const Shape &shape) {
  std::vector<std::vector<std::string>> dims(shape.size());
  std::vector<std::string> partial;
  std::vector<size_t> order(grid.names.size());
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), engine);
  for (size_t axis : order) {
    int64_t to = pick(-2, static_cast<int64_t>(shape.size()) - 1);
    if (to >= 0)
      dims[to].push_back(grid.names[axis]);
    else if (to == -1)
      partial.push_back(grid.names[axis]);
  }
  auto quoted = [](const std::vector<std::string> &names) {
    std::string text = "[";
    for (size_t i = 0; i < names.size(); ++i)
      text += (i ? ", \"" : "\"") + names[i] + "\"";
    return text + "]";
  };
  std::string text = "#comm.layout<[";
  Shape grains;
  for (size_t dim = 0; dim < shape.size(); ++dim) {
    text += (dim ? ", " : "") + quoted(dims[dim]);
    int64_t grain = pick(1, std::max<int64_t>(1, shape[dim]));
    grains.push_back(!dims[dim].empty() && chance(40) && shape[dim] % grain == 0 ? grain : 1);
  }
  text += "]";
  if (!partial.empty())
    text += " partial " + quoted(partial);
  return text + " grain " + list(grains) + ">";
}

RandomGraph::Tensor RandomGraph::emit(const std::string &op, const Shape &shape, const std::string &types) {
  Tensor out{fresh(), shape};
  std::string attr = fixedLayouts && !shape.empty() && chance(12) ? " {comm.layout = " + layout(shape) + "}" : "";
  body += "  " + out.name + " = " + op + attr + types + "\n";
  return out;
}

RandomGraph::Tensor RandomGraph::weight(const Shape &shape) {
  Tensor out{fresh(), shape};
  body += "  " + out.name + " = comm.weight \"" + out.name.substr(1) + "\" in \"m.data\" at " + std::to_string(offset) +
          " : " + type(shape) + " -> " + type(shape) + "\n";
  offset += std::accumulate(shape.begin(), shape.end(), int64_t{4}, std::multiplies<>());
  return out;
}
RandomGraph::Tensor RandomGraph::empty(const Shape &shape) {
  Tensor out{fresh(), shape};
  body += "  " + out.name + " = tensor.empty() : " + type(shape) + "\n";
  return out;
}

RandomGraph::Tensor RandomGraph::any(size_t minRank, size_t maxRank) {
  std::vector<size_t> fitting;
  for (size_t i = 0; i < pool.size(); ++i)
    if (pool[i].shape.size() >= minRank && pool[i].shape.size() <= maxRank)
      fitting.push_back(i);
  // Late values more often, so that graphs are deep.
  return pool[fitting[std::max(pick(0, fitting.size() - 1), pick(0, fitting.size() - 1))]];
}

RandomGraph::Tensor RandomGraph::transpose(const Tensor &x, const Shape &permutation) {
  Shape shape;
  for (int64_t dim : permutation)
    shape.push_back(x.shape[dim]);
  Tensor init = empty(shape);
  // No attribute here: linalg's form takes it after the permutation.
  Tensor out{fresh(), shape};
  body += "  " + out.name + " = linalg.transpose ins(" + x.name + " : " + type(x) + ") outs(" + init.name + " : " +
          type(init) + ") permutation = " + list(permutation) + "\n";
  return out;
}

RandomGraph::Tensor RandomGraph::linear(const Tensor &x, int64_t columns) {
  int64_t inner = x.shape.back();
  bool transposed = chance(30);
  Tensor w = weight(transposed ? Shape{columns, inner} : Shape{inner, columns});
  Shape shape = x.shape;
  shape.back() = columns;
  Tensor y = emit("comm.matmul " + x.name + ", " + w.name + (transposed ? " transposed" : ""), shape,
                  " : " + type(x) + ", " + type(w) + " -> " + type(shape));
  if (!chance(40))
    return y;
  Tensor bias = weight({columns}), init = empty(shape), wide{fresh(), shape};
  Shape added(shape.size() - 1);
  std::iota(added.begin(), added.end(), 0);
  body += "  " + wide.name + " = linalg.broadcast ins(" + bias.name + " : " + type(bias) + ") outs(" + init.name +
          " : " + type(init) + ") dimensions = " + list(added) + "\n";
  return emit("arith.addf " + y.name + ", " + wide.name, shape, " : " + type(shape));
}

/// [B, S, count * depth] -> [B, count, S, depth]
RandomGraph::Tensor RandomGraph::heads(const Tensor &x, int64_t count, int64_t depth) {
  Shape wide = {x.shape[0], x.shape[1], count, depth};
  Tensor e{fresh(), wide};
  body += "  " + e.name + " = tensor.expand_shape " + x.name + " [[0], [1], [2, 3]] output_shape " + list(wide) +
          " : " + type(x) + " into " + type(wide) + "\n";
  return transpose(e, {0, 2, 1, 3});
}

void RandomGraph::attention() {
  Tensor x = any(3, 3);
  int64_t kv = pick(1, 3), group = pick(1, 3), depth = pick(1, 3), count = kv * group;
  Tensor q = heads(linear(x, count * depth), count, depth);
  Tensor k = heads(linear(x, kv * depth), kv, depth), v = heads(linear(x, kv * depth), kv, depth);
  if (depth > 1 && chance(50)) {
    Tensor cos = weight({1, x.shape[1], depth / 2}), sin = weight({1, x.shape[1], depth / 2});
    q = emit("comm.rotary " + q.name + ", " + cos.name + ", " + sin.name, q.shape, " : " + type(q) + ", " + type(cos));
    k = emit("comm.rotary " + k.name + ", " + cos.name + ", " + sin.name, k.shape, " : " + type(k) + ", " + type(cos));
  }
  std::string mask;
  if (chance(30)) {
    Tensor m = weight({chance(50) ? 1 : x.shape[0], chance(50) ? 1 : count, chance(50) ? 1 : x.shape[1], x.shape[1]});
    mask = " mask " + m.name + " : " + type(m);
  }
  Tensor a = emit("comm.attention " + q.name + ", " + k.name + ", " + v.name + mask + " scale 1.0" +
                      (chance(50) ? " causal 0" : ""),
                  q.shape, " : " + type(q) + ", " + type(k) + ", " + type(v) + " -> " + type(q));
  Tensor back = transpose(a, {0, 2, 1, 3});
  Shape flat = {x.shape[0], x.shape[1], count * depth};
  Tensor c = emit("tensor.collapse_shape " + back.name + " [[0], [1], [2, 3]]", flat,
                  " : " + type(back) + " into " + type(flat));
  Tensor o = add(linear(c, x.shape[2]));
  if (chance(60))
    add(emit("arith.addf " + x.name + ", " + o.name, x.shape, " : " + type(x)));
}

void RandomGraph::elementwise() {
  Tensor x = any(1, 4);
  std::vector<Tensor> same;
  for (const Tensor &other : pool)
    if (other.shape == x.shape)
      same.push_back(other);
  const Tensor &y = same[pick(0, same.size() - 1)];
  switch (pick(0, 7)) {
  case 6:
    add(emit("math.exp " + x.name, x.shape, " : " + type(x)));
    return;
  case 7: {
    Tensor splat{fresh(), x.shape};
    body += "  " + splat.name + " = arith.constant dense<" + std::to_string(pick(1, 5)) + ".0> : " + type(x) + "\n";
    add(emit("arith.addf " + x.name + ", " + splat.name, x.shape, " : " + type(x)));
    return;
  }
  case 0:
    add(emit("comm.gelu erf " + x.name, x.shape, " : " + type(x)));
    return;
  case 1:
    add(emit("comm.silu " + x.name, x.shape, " : " + type(x)));
    return;
  case 2:
    add(emit("arith.mulf " + x.name + ", " + y.name, x.shape, " : " + type(x)));
    return;
  case 3:
    add(emit("arith.subf " + x.name + ", " + y.name, x.shape, " : " + type(x)));
    return;
  case 4: {
    Tensor w = weight({x.shape.back()});
    add(emit("comm.rms_norm " + x.name + ", " + w.name + " epsilon 1.0e-5", x.shape, " : " + type(x) + ", " + type(w)));
    return;
  }
  default:
    add(emit("arith.addf " + x.name + ", " + y.name, x.shape, " : " + type(x)));
  }
}

void RandomGraph::reduce() {
  Tensor x = any(2, 4);
  int64_t dim = pick(0, x.shape.size() - 1);
  Shape shape = x.shape;
  shape.erase(shape.begin() + dim);
  Tensor zero{fresh(), shape}, out{fresh(), shape};
  body += "  " + zero.name + " = arith.constant dense<0.0> : " + type(shape) + "\n";
  body += "  " + out.name + " = linalg.reduce { " + (chance(70) ? "arith.addf" : "arith.maximumf") + " } ins(" +
          x.name + " : " + type(x) + ") outs(" + zero.name + " : " + type(shape) + ") dimensions = [" +
          std::to_string(dim) + "]\n";
  add(out);
}

void RandomGraph::sliceOrConcat() {
  Tensor x = any(1, 4);
  size_t dim = pick(0, x.shape.size() - 1);
  Shape shape = x.shape;
  if (chance(50)) {
    shape[dim] = x.shape[dim] * 2;
    add(emit("tensor.concat dim(" + std::to_string(dim) + ") " + x.name + ", " + x.name, shape,
             " : (" + type(x) + ", " + type(x) + ") -> " + type(shape)));
    return;
  }
  Shape start(shape.size(), 0), stride(shape.size(), 1);
  shape[dim] = pick(1, x.shape[dim]);
  start[dim] = pick(0, x.shape[dim] - shape[dim]);
  add(emit("tensor.extract_slice " + x.name + list(start) + " " + list(shape) + " " + list(stride), shape,
           " : " + type(x) + " to " + type(shape)));
}

void RandomGraph::lookUp() {
  int64_t rows = pick(2, 9), columns = pick(1, 8);
  Shape ids = {pick(1, 3), pick(1, 4)};
  std::string argument = "%ids" + std::to_string(arguments.size());
  arguments.push_back(argument + ": " + type(ids, "i64"));
  Tensor table = weight({rows, columns});
  Shape shape = {ids[0], ids[1], columns};
  add(emit("comm.embedding " + table.name + ", " + argument, shape,
           " : " + type(table) + ", " + type(ids, "i64") + " -> " + type(shape)));
}

void RandomGraph::step() {
  switch (pick(0, 9)) {
  case 0:
  case 1:
  case 2:
    add(linear(any(2, 4), pick(1, 10)));
    return;
  case 3:
    attention();
    return;
  case 4:
    reduce();
    return;
  case 5:
    sliceOrConcat();
    return;
  case 6:
    lookUp();
    return;
  case 7: {
    Tensor x = any(3, 3);
    Shape flat = {x.shape[0] * x.shape[1], x.shape[2]};
    add(emit("tensor.collapse_shape " + x.name + " [[0, 1], [2]]", flat, " : " + type(x) + " into " + type(flat)));
    return;
  }
  default:
    elementwise();
  }
}

std::string RandomGraph::module() {
  Shape shape = {pick(1, 3), pick(1, 5), pick(1, 8)};
  std::string attr = fixedLayouts && chance(30) ? " {comm.layout = " + layout(shape) + "}" : "";
  arguments.push_back("%x: " + type(shape) + attr);
  pool.push_back({"%x", shape});
  for (int64_t steps = pick(2, 8); steps > 0; --steps)
    step();
  std::vector<Tensor> results = {pool.back()};
  if (chance(50))
    results.push_back(any(0, 4));
  std::string args, types, resultTypes, names;
  for (size_t i = 0; i < arguments.size(); ++i)
    args += (i ? ", " : "") + arguments[i];
  for (size_t i = 0; i < results.size(); ++i) {
    std::string fixed = fixedLayouts && !results[i].shape.empty() && chance(20)
                            ? " {comm.layout = " + layout(results[i].shape) + "}"
                            : "";
    resultTypes += (i ? ", " : "") + type(results[i]) + fixed;
    types += (i ? ", " : "") + type(results[i]);
    names += (i ? ", " : "") + results[i].name;
  }
  return grid.text() + "func.func @main(" + args + ") -> (" + resultTypes + ") {\n" + body + "  return " + names +
         " : " + types + "\n}\n";
}
