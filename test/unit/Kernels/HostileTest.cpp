//===- HostileTest.cpp - altered commands end in a sentence or a run within bounds ===//
// Every op starts from a sound command; attributes, shapes, types and operand counts are altered at random. What
// prepare accepts is run on operands of exactly its shapes (a sanitizer sees every step outside) unless they are too
// large to allocate here.
//===----------------------------------------------------------------------===//
#include "TestSupport.h"
#include <algorithm>

using namespace comm;
using namespace comm::rt;
using namespace comm::rt::test;
using exe::DType;

namespace {
struct Sound {
  const char *op;
  exe::Attrs attrs;
  std::vector<Tensor> ins, outs;
};

std::vector<Sound> soundCommands() {
  auto f32 = [](exe::Shape s) { return Tensor(DType::F32, s); };
  auto i64 = [](exe::Shape s) { return Tensor(DType::I64, s); };
  exe::Attrs shard = {{"dim", int64_t(0)}, {"axes", Names{"tp"}}, {"grain", int64_t(1)}};
  return {
      {"copy",
       {{"dims", Ints{3, 4}},
        {"in_strides", Ints{1, 3}},
        {"out_strides", Ints{4, 1}},
        {"in_offset", int64_t(0)},
        {"out_offset", int64_t(0)}},
       {f32({4, 3})},
       {f32({3, 4})}},
      {"fill", {{"value", int64_t(3)}}, {}, {f32({5})}},
      {"shard_copy", shard, {f32({6, 2})}, {f32({2, 2})}},
      {"pack_shards", shard, {f32({6, 2})}, {f32({3, 2, 2})}},
      {"unpack_shards", shard, {f32({3, 2, 2})}, {f32({6, 2})}},
      {"rank_mask", {{"axes", Names{"dp"}}}, {f32({6, 2})}, {f32({6, 2})}},
      {"matmul",
       {{"transpose_a", int64_t(0)}, {"transpose_b", int64_t(1)}},
       {f32({2, 3, 4}), f32({5, 4})},
       {f32({2, 3, 5})}},
      {"attention",
       {{"scale", 0.5},
        {"causal", int64_t(1)},
        {"causal_offset", int64_t(0)},
        {"has_mask", int64_t(1)},
        {"has_lengths", int64_t(1)}},
       {f32({1, 4, 3, 8}), f32({1, 2, 5, 8}), f32({1, 2, 5, 6}), f32({1, 1, 3, 5}), i64({1})},
       {f32({1, 4, 3, 6})}},
      {"quantized_matmul",
       {{"bits", int64_t(4)},
        {"block", int64_t(16)},
        {"signed", int64_t(0)},
        {"k_major", int64_t(0)},
        {"int8", int64_t(1)}},
       {f32({2, 32}), Tensor(DType::U8, {5, 2, 8}), f32({5, 2}), Tensor(DType::U8, {5, 1})},
       {f32({2, 5})}},
      {"embedding",
       {{"vocab", int64_t(6)}, {"axes", Names{"tp"}}, {"grain", int64_t(1)}},
       {f32({2, 3}), i64({4})},
       {f32({4, 3})}},
      {"expert_matmul",
       {{"experts", int64_t(6)}, {"axes", Names{"tp"}}, {"grain", int64_t(1)}, {"transpose", int64_t(1)}},
       {f32({4, 3}), i64({4, 2}), f32({2, 5, 3})},
       {f32({4, 2, 5})}},
      {"gather", {{"axis", int64_t(1)}}, {f32({2, 3, 4}), i64({5})}, {f32({2, 5, 4})}},
      {"gather_nd", {{"batch_dims", int64_t(1)}}, {f32({2, 3, 4}), i64({2, 5, 1})}, {f32({2, 5, 4})}},
      {"gather_elements", {{"axis", int64_t(1)}}, {f32({2, 3}), i64({2, 4})}, {f32({2, 4})}},
      {"scatter_nd", {{"kind", std::string("sum")}}, {f32({4, 3}), i64({2, 1}), f32({2, 3})}, {f32({4, 3})}},
      {"top_k", {{"largest", int64_t(1)}}, {f32({2, 5})}, {i64({2, 3})}},
  };
}

class Alterer {
public:
  explicit Alterer(uint32_t seed) : engine(seed) {}
  uint32_t below(uint32_t n) { return engine() % n; }
  int64_t number() {
    static const int64_t values[] = {
        0,         1,         -1,           2, 3, 4, 5, 6, 7, -2, 12, 1 << 20, int64_t(1) << 31, int64_t(1) << 40,
        INT64_MAX, INT64_MIN, INT64_MAX / 2};
    return values[below(sizeof(values) / sizeof(values[0]))];
  }
  void alter(exe::Attr &attr) {
    switch (below(8)) {
    case 0:
      attr = 0.25;
      return;
    case 1:
      attr = std::string("tp");
      return;
    case 2:
      attr = Names{"tp", "dp"};
      return;
    case 3:
      attr = Ints{number(), number()};
      return;
    default:
      break;
    }
    if (auto *list = std::get_if<Ints>(&attr); list && !list->empty())
      (*list)[below(uint32_t(list->size()))] = number();
    else if (auto *names = std::get_if<Names>(&attr))
      below(2) ? names->clear() : names->push_back("dp");
    else
      attr = number();
  }
  void alter(Tensor &tensor) {
    exe::Shape &shape = tensor.desc.shape;
    switch (below(5)) {
    case 0:
      tensor.desc.dtype = DType(below(14));
      return; // 13 is no type
    case 1:
      shape.push_back(number());
      return;
    case 2:
      if (!shape.empty())
        shape.pop_back();
      return;
    default:
      if (!shape.empty())
        shape[below(uint32_t(shape.size()))] = below(2) ? int64_t(below(8)) : number();
    }
  }
  void alter(Sound &command) {
    uint32_t what = below(10);
    if (what < 4 && !command.attrs.empty())
      alter(std::next(command.attrs.begin(), below(uint32_t(command.attrs.size())))->second);
    else if (what == 4 && !command.attrs.empty())
      command.attrs.erase(std::next(command.attrs.begin(), below(uint32_t(command.attrs.size()))));
    else if (what < 8 && !command.ins.empty())
      alter(command.ins[below(uint32_t(command.ins.size()))]);
    else if (what == 8)
      alter(command.outs[0]);
    else if (below(4) == 0)
      below(2) ? command.outs.clear() : command.outs.push_back(command.outs[0]);
    else if (!command.ins.empty())
      below(2) ? command.ins.pop_back() : command.ins.push_back(command.ins[0]);
  }

private:
  std::mt19937 engine;
};

/// Memory of the altered shapes with small random contents; false when it would be too much.
bool allocate(std::vector<Tensor> &tensors, uint32_t seed) {
  int64_t total = 0;
  for (Tensor &t : tensors)
    total += elementsOf(t.shape()) * 8;
  if (total > 1 << 20)
    return false;
  for (Tensor &t : tensors)
    t = Tensor::random(t.desc.dtype, t.shape(), seed, isFloat(t.desc.dtype) ? -3 : 0, 3);
  return true;
}
} // namespace

TEST(Hostile, AlteredCommands) {
  Alterer alterer(1);
  const std::vector<Sound> sound = soundCommands();
  int accepted = 0, refused = 0;
  for (int round = 0; round < 52000; ++round) {
    Sound command = sound[size_t(round) % sound.size()];
    for (uint32_t i = round < 1000 ? 0 : 1 + alterer.below(3); i > 0; --i)
      if (!command.outs.empty())
        alterer.alter(command);
    Case c(command.op, command.attrs);
    c.grid.axes = {{"dp", 2}, {"tp", 3}};
    c.rank = int64_t(alterer.below(6));
    std::vector<Tensor *> ins, outs;
    for (Tensor &t : command.ins)
      ins.push_back(&t);
    for (Tensor &t : command.outs)
      outs.push_back(&t);
    std::unique_ptr<Kernel> kernel;
    Status status = c.prepare(ins, outs, kernel);
    ASSERT_EQ(kernel != nullptr, bool(status));
    if (!status) {
      ++refused;
      ASSERT_TRUE(status.code == Code::BadExecutable || status.code == Code::Unsupported) << status.text;
      ASSERT_NE(status.text.find("'node'"), std::string::npos) << status.text;
      ASSERT_GE(round, 1000) << status.text;
      continue;
    }
    ++accepted;
    if (!allocate(command.ins, uint32_t(round)) || !allocate(command.outs, uint32_t(round)))
      continue;
    Status ran = c.run(ins, outs);
    ASSERT_TRUE(ran || ran.code == Code::InvalidArgument) << ran.text;
  }
  EXPECT_GT(accepted, 4000);
  EXPECT_GT(refused, 15000);
}
