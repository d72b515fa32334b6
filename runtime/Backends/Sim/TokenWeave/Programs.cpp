//===- Programs.cpp - layer chains of the study ---------------------------===//
// Kernels of one layer, as a serving framework launches them. Attention part: q, k and v in one product, rotation,
// write of the cache, attention, output product. MLP part: gate and up in one product, activation, down product; or
// experts. The schedule of a split layer, on a compute and a communication stream, joined after each window:
//   window 1   attention of the prefix   beside   fused kernel of the suffix (closes the layer before)
//   window 2   attention of the suffix   beside   fused kernel of the prefix
//   window 3   MLP of the prefix         beside   fused kernel of the suffix
//   window 4   MLP of the suffix         beside   fused kernel of the prefix (opens the next layer)
//===----------------------------------------------------------------------===//
#include "comm/Simulator/CommandCost.h"
#include "comm/Simulator/TokenWeave.h"
#include <algorithm>
#include <array>
#include <cmath>

namespace comm::sim {
namespace {
constexpr double tableBytesPerToken = 16384;

/// What a command does; the cost model is asked when the program is built.
struct Cost {
  double us = 0;
  cost::GemmQuery gemm;    ///< of a product: its waves depend on the SMs that are left
  bool operations = false; ///< bound by operations, in proportion to the SMs that are left
  int64_t units = 0;       ///< of a collective: SMs that it takes
};

/// What the cost model says, asked once for each question: layers repeat. The devices of its tables slow down in long
/// kernels, for want of power; those of the published runs had locked clocks, with which more rows never cost more than
/// the same rows in pieces.
class Memo {
public:
  explicit Memo(const cost::CostModel &model) : model(model) {}
  double gemm(const cost::GemmQuery &q) const {
    auto ask = [&](int64_t rows) {
      cost::GemmQuery part = q;
      part.m = rows;
      return model.gemmUs(part);
    };
    return clock * remember({0, q.m, q.n, q.k, q.unitsTaken}, [&] { return steady(q.m, 2, ask); });
  }
  double attention(const cost::AttentionQuery &q) const {
    auto ask = [&](int64_t tokens) {
      cost::AttentionQuery part = q;
      part.newTokens = tokens;
      return attentionUs(model, part);
    };
    // Pairs of a query and a key grow with the square. Behind a past it is a share of the whole.
    if (q.pastTokens > 0) {
      cost::AttentionQuery whole = q;
      whole.newTokens += q.pastTokens;
      whole.pastTokens = 0;
      return attention(whole) * attentionUs(model, q) / attentionUs(model, whole);
    }
    return clock * remember({1, q.newTokens, q.heads, q.kvHeads, 0}, [&] { return steady(q.newTokens, 4, ask); });
  }
  double moe(const cost::MoeQuery &q) const {
    auto ask = [&](int64_t tokens) {
      cost::MoeQuery part = q;
      part.tokens = tokens;
      return model.moeUs(part);
    };
    return clock * remember({2, q.tokens, q.hidden, q.inter, q.experts}, [&] { return steady(q.tokens, 2, ask); });
  }
  double memory(int64_t bytes) const {
    return remember({3, bytes, 0, 0, 0}, [&] { return model.memoryUs({bytes, 0, "bf16"}); });
  }
  const cost::CostModel &model;
  double clock = 1; ///< factor on everything that is bound by operations

private:
  /// The least of a kernel whole, in two halves, in four quarters, ...; `growth`: halves in a whole.
  template <class Ask> static double steady(int64_t size, double growth, const Ask &ask) {
    double least = ask(size);
    for (double pieces = growth; size >= 1024; pieces *= growth) {
      size /= 2;
      least = std::min(least, pieces * ask(size));
    }
    return least;
  }
  template <class Ask> double remember(const std::array<int64_t, 5> &key, const Ask &ask) const {
    auto [it, fresh] = answers.try_emplace(key, 0.0);
    if (fresh)
      it->second = ask();
    return it->second;
  }
  mutable std::map<std::array<int64_t, 5>, double> answers;
};

class WeaveCosts final : public Costs {
public:
  explicit WeaveCosts(std::shared_ptr<const Memo> shared) : memo(std::move(shared)), model(memo->model) {
    // Compute beside a collective takes that share longer.
    measured = 1 / (1 + std::max(0.0, model.topology().contention));
  }
  double computeUs(int32_t command) const override { return costs[static_cast<size_t>(command)].us; }
  double collectiveUs(int32_t command, const GroupPlace &) const override { return computeUs(command); }
  /// The worse of what a hidden collective costs on average and of the waves on the SMs that it leaves.
  Rates beside(int32_t compute, int32_t collective) const override {
    const Cost &c = costs[static_cast<size_t>(compute)];
    int64_t taken = costs[static_cast<size_t>(collective)].units;
    auto units = static_cast<double>(std::max<int64_t>(1, model.topology().device.units));
    double left = std::max(1.0, units - static_cast<double>(taken)), rate = measured;
    if (c.operations)
      rate = std::min(rate, left / units);
    if (c.gemm.m > 0) {
      cost::GemmQuery fewer = c.gemm;
      fewer.unitsTaken = taken;
      rate = std::min(rate, memo->gemm(c.gemm) / std::max(memo->gemm(fewer), 1e-9));
    }
    return {rate, 1};
  }
  std::vector<Cost> costs;

private:
  const std::shared_ptr<const Memo> memo;
  const cost::CostModel &model;
  double measured = 1;
};

class Builder {
public:
  Builder(const WeaveStudy &study, const WeaveModel &model, const Memo &cost, exe::Program &program, WeaveCosts &costs)
      : study(study), m(model), cost(cost), program(program), costs(costs) {
    program.grid.axes = {{"tp", m.ranks}};
    for (int i = 0; i < 2; ++i)
      program.values.push_back({exe::Storage::Arena, 0, i * 64, exe::DType::BF16, {32}, ""});
    program.arenaBytes = program.commBytes = 128;
  }

  //===--- commands ---------------------------------------------------------===//
  void add(const char *op, const char *label, Cost c, exe::Attrs attrs = {}) {
    bool operands = std::string(op) != "wait";
    program.commands.push_back({op, {}, {}, std::move(attrs), label});
    if (operands) {
      program.commands.back().inputs = {0};
      program.commands.back().outputs = {1};
    }
    costs.costs.push_back(std::move(c));
  }
  void kernel(const char *label, double us) { add("kernel", label, {us, {}, false, 0}); }
  void memory(const char *label, int64_t bytes) { kernel(label, cost.memory(bytes) + study.launchUs); }
  void product(const char *label, int64_t rows, int64_t n, int64_t k) {
    Cost c;
    c.gemm = {"bf16", rows, n, k};
    c.gemm.framework = "sglang";
    c.us = cost.gemm(c.gemm) + study.launchUs;
    add("matmul", label, std::move(c));
  }
  /// A collective of the table; returns its token.
  int64_t start(const char *label, double us, int64_t units) {
    int64_t token = next++;
    Cost c;
    c.us = us;
    c.units = units;
    add("start", label, std::move(c), attrs(token, true));
    return token;
  }
  void wait(int64_t token) { add("wait", "", {}, {{"token", token}}); }
  void sync(const char *label, double us) {
    Cost c;
    c.us = us;
    add("all_reduce", label, std::move(c), attrs(next++, false));
  }

  //===--- parts of a layer -------------------------------------------------===//
  double rows(double tokens) const { return tokens * static_cast<double>(2 * m.hidden) / tableBytesPerToken; }
  double normUs(const char *name, int64_t tokens) const {
    return study.kernels.of(name, rows(static_cast<double>(tokens)));
  }
  double table(const char *name, int64_t tokens) const {
    return study.collectiveFactor * study.kernels.of(name, rows(static_cast<double>(tokens)));
  }
  double fused(int64_t tokens, int64_t units) const {
    return study.collectiveFactor * study.kernels.fused(rows(static_cast<double>(tokens)), units);
  }

  void attention(int64_t tokens, int64_t past) {
    int64_t kv = std::max<int64_t>(1, m.kvHeads / m.ranks), heads = m.heads / m.ranks;
    int64_t width = (heads + 2 * kv) * m.headDim;
    product("qkv", tokens, width, m.hidden);
    memory("rotary", 2 * 2 * tokens * (heads + kv) * m.headDim);
    memory("cache", 2 * 2 * tokens * 2 * kv * m.headDim);
    Cost c;
    cost::AttentionQuery q;
    q.dtype = "bf16";
    q.newTokens = tokens;
    q.pastTokens = past;
    q.heads = heads;
    q.kvHeads = kv;
    q.headDim = m.headDim;
    q.kernel = "fa3";
    c.us = cost.attention(q) + study.launchUs;
    c.operations = true;
    add("attention", "attention", std::move(c));
    product("o_proj", tokens, m.hidden, heads * m.headDim);
  }
  void mlp(int64_t tokens) {
    if (m.experts > 0)
      return experts(tokens);
    int64_t inter = m.inter / m.ranks;
    product("gate_up", tokens, 2 * inter, m.hidden);
    memory("silu", 2 * 3 * tokens * inter);
    product("down", tokens, m.hidden, inter);
  }
  /// The product with the router's weights; then top-k, its sum and division, two fills and a sort, two products with
  /// the activation between, a sum: ten launches. Each part of a split reads the weights of the experts again.
  void experts(int64_t tokens) {
    product("router", tokens, m.experts, m.hidden);
    cost::MoeQuery q;
    q.tokens = tokens;
    q.hidden = m.hidden;
    q.inter = m.inter;
    q.topk = m.topk;
    q.experts = m.experts;
    q.tp = m.ranks;
    q.framework = "trtllm"; // the other measured kernel does not show what the machine can do
    q.kernel = "moe_torch_flow_cutlass";
    Cost c;
    c.us = cost.moe(q) + 10 * study.launchUs;
    c.operations = true;
    add("kernel", "experts", std::move(c));
  }
  void norm(int64_t tokens) { kernel("norm", normUs("norm", tokens)); }

  //===--- plans ------------------------------------------------------------===//
  /// Communication and norm after a part, with nothing beside it.
  void site(WeavePlan plan, int64_t tokens) {
    if (plan == WeavePlan::Plain)
      sync("all_reduce", table("all_reduce", tokens));
    if (plan == WeavePlan::Plain || plan == WeavePlan::Deleted)
      return norm(tokens);
    if (plan == WeavePlan::Fused)
      return sync("fused", fused(tokens, 0));
    sync("reduce_scatter", table("reduce_scatter", tokens));
    kernel("norm", normUs("norm_shard", tokens));
    sync("all_gather", table("all_gather", tokens));
  }
  void whole(WeavePlan plan, int64_t tokens) {
    norm(tokens);
    for (int64_t layer = 0; layer < m.layers; ++layer) {
      attention(tokens, 0);
      site(plan, tokens);
      mlp(tokens);
      site(plan, tokens);
    }
  }
  void split(const WeavePoint &p) {
    int64_t prefix = p.tokens / 2 + p.offset, suffix = p.tokens - prefix;
    norm(p.tokens); // before the first layer nothing is to be reduced
    for (int64_t layer = 0; layer < m.layers; ++layer) {
      auto window = [&](int64_t waiting, int64_t units, auto &&part) {
        int64_t token = start("fused", fused(waiting, units), units);
        part();
        wait(token);
        kernel("join", study.joinUs);
      };
      if (layer == 0) {
        attention(prefix, 0);
        kernel("join", study.joinUs);
      } else
        window(suffix, p.attentionUnits, [&] { attention(prefix, 0); });
      window(prefix, p.attentionUnits, [&] { attention(suffix, prefix); });
      window(suffix, p.mlpUnits, [&] { mlp(prefix); });
      window(prefix, p.mlpUnits, [&] { mlp(suffix); });
    }
    sync("fused", fused(suffix, 0));
  }

private:
  exe::Attrs attrs(int64_t number, bool starts) const {
    exe::Attrs a{{"axes", std::vector<std::string>{"tp"}}, {"plan_id", number}, {"reduce", std::string("sum")}};
    if (starts) {
      a["collective"] = std::string("all_reduce");
      a["token"] = number;
    }
    return a;
  }
  const WeaveStudy &study;
  const WeaveModel &m;
  const Memo &cost;
  exe::Program &program;
  WeaveCosts &costs;
  int64_t next = 0;
};
} // namespace

struct WeaveMachine::Impl {
  explicit Impl(const cost::CostModel &model) : model(model), memo(std::make_shared<Memo>(this->model)) {}
  const cost::CostModel model;
  const std::shared_ptr<Memo> memo;
};
WeaveMachine::WeaveMachine(const cost::CostModel &model) : impl(std::make_shared<Impl>(model)) {}

void WeaveMachine::setClock(double factor) { impl->memo->clock = factor; }

double WeaveMachine::fitClock(const WeaveStudy &study) {
  // Without all_reduce nothing overlaps: the time is linear in the factor, so two values give every other one.
  std::vector<std::array<double, 3>> lines; // at factor 0, slope, published
  for (const WeaveModel &m : study.models)
    for (const WeavePoint &point : m.points) {
      double us[2];
      for (int clock : {0, 1}) {
        setClock(clock);
        WeaveProgram p;
        build(study, m, point, WeavePlan::Deleted, p);
        us[clock] = 0;
        for (size_t i = 0; i < p.program.commands.size(); ++i)
          us[clock] += p.costs->computeUs(static_cast<int32_t>(i));
      }
      lines.push_back({us[0], us[1] - us[0], point.deletedMs * 1000});
    }
  // The mean of the logarithms of predicted / published rises with the factor.
  double low = 0.25, high = 4;
  for (int step = 0; step < 60; ++step) {
    double middle = (low + high) / 2, sum = 0;
    for (const auto &[fixed, slope, published] : lines)
      sum += std::log((fixed + middle * slope) / published);
    (sum > 0 ? high : low) = middle;
  }
  setClock((low + high) / 2);
  return (low + high) / 2;
}

void WeaveMachine::build(const WeaveStudy &study, const WeaveModel &model, const WeavePoint &point, WeavePlan plan,
                         WeaveProgram &out) const {
  out.program = exe::Program();
  auto costs = std::make_unique<WeaveCosts>(impl->memo);
  Builder b(study, model, *impl->memo, out.program, *costs);
  if (plan == WeavePlan::Split)
    b.split(point);
  else
    b.whole(plan, point.tokens);
  out.costs = std::move(costs);
}

bool WeaveMachine::predict(const WeaveStudy &study, const WeaveModel &model, const WeavePoint &point,
                           WeavePrediction &out, std::string &error) const {
  SimOptions options;
  options.ranksPerNode = std::max<int64_t>(impl->model.topology().ranksPerNode, 1);
  for (WeavePlan plan :
       {WeavePlan::Plain, WeavePlan::Deleted, WeavePlan::Fused, WeavePlan::Split, WeavePlan::Unfused}) {
    WeaveProgram p;
    build(study, model, point, plan, p);
    SimResult result;
    if (!simulate(p.program, *p.costs, options, result, error))
      return false;
    out.ms[static_cast<size_t>(plan)] = result.stepUs / 1000;
  }
  return true;
}

} // namespace comm::sim
