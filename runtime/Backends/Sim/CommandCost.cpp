//===- CommandCost.cpp - what a command costs -----------------------------===//
#include "comm/Simulator/CommandCost.h"
#include <algorithm>
#include <map>

namespace comm::sim {
namespace {
template <class T> const T *attr(const exe::Command &c, const char *name) {
  auto it = c.attrs.find(name);
  return it == c.attrs.end() ? nullptr : std::get_if<T>(&it->second);
}

int64_t bytesOf(const exe::Value &v) { return std::max<int64_t>(exe::byteSize(v.dtype, v.shape), 0); }

int64_t bytesOf(const exe::Program &program, const std::vector<int32_t> &operands, size_t first = 0) {
  int64_t sum = 0;
  for (size_t i = first; i < operands.size(); ++i)
    sum += bytesOf(program.values[operands[i]]);
  return sum;
}

int64_t product(const exe::Shape &shape, size_t count) {
  int64_t n = 1;
  for (size_t i = 0; i < count; ++i)
    n *= shape[i];
  return n;
}

const exe::Value *operand(const exe::Program &program, const std::vector<int32_t> &list, size_t i) {
  return i < list.size() ? &program.values[list[i]] : nullptr;
}

bool gemm(const exe::Program &program, const exe::Command &c, cost::GemmQuery &q) {
  const exe::Value *a = operand(program, c.inputs, 0), *b = operand(program, c.inputs, 1),
                   *y = operand(program, c.outputs, 0);
  if (!a || !b || !y || a->shape.size() < 2 || b->shape.size() < 2 || y->shape.size() < 2)
    return false;
  const auto *transposed = attr<int64_t>(c, "transpose_a");
  const auto *precision = attr<std::string>(c, "precision");
  q.dtype = precision ? *precision : exe::dtypeName(a->dtype);
  q.k = a->shape[a->shape.size() - (transposed && *transposed ? 2 : 1)];
  q.n = y->shape.back();
  q.m = y->shape[y->shape.size() - 2];
  q.batch = product(y->shape, y->shape.size() - 2);
  // One matrix for the whole batch: its products are rows of one.
  if (product(b->shape, b->shape.size() - 2) == 1) {
    q.m *= q.batch;
    q.batch = 1;
  }
  return true;
}

/// A product of many rows; false for a few of them, which take the time to read the integers.
bool quantized(const exe::Program &program, const exe::Command &c, cost::GemmQuery &q) {
  const exe::Value *x = operand(program, c.inputs, 0), *y = operand(program, c.outputs, 0);
  if (!x || !y || x->shape.empty() || y->shape.size() != x->shape.size())
    return false;
  q.dtype = exe::dtypeName(x->dtype);
  q.k = x->shape.back();
  q.n = y->shape.back();
  q.m = product(x->shape, x->shape.size() - 1);
  q.batch = 1;
  return q.m >= 8 && q.k > 0 && q.n > 0;
}

/// Rows by expert, as if they were shared out evenly.
bool experts(const exe::Program &program, const exe::Command &c, cost::GemmQuery &q) {
  const exe::Value *x = operand(program, c.inputs, 0), *ids = operand(program, c.inputs, 1),
                   *w = operand(program, c.inputs, 2), *y = operand(program, c.outputs, 0);
  if (!x || !ids || !w || !y || x->shape.empty() || y->shape.empty() || w->shape.size() != 3)
    return false;
  int64_t rows = std::max<int64_t>(exe::numElements(ids->shape), 0);
  q.dtype = exe::dtypeName(x->dtype);
  q.k = x->shape.back();
  q.n = y->shape.back();
  q.batch = std::min(rows, w->shape[0]);
  q.m = q.batch > 0 ? (rows + q.batch - 1) / q.batch : 0;
  return true;
}

bool attention(const exe::Program &program, const exe::Command &c, cost::AttentionQuery &q) {
  const exe::Value *query = operand(program, c.inputs, 0), *key = operand(program, c.inputs, 1);
  if (!query || !key || query->shape.size() != 4 || key->shape.size() != 4)
    return false;
  const auto *causal = attr<int64_t>(c, "causal");
  const auto *offset = attr<int64_t>(c, "causal_offset");
  const auto *precision = attr<std::string>(c, "precision");
  q.dtype = precision ? *precision : exe::dtypeName(query->dtype);
  q.batch = query->shape[0];
  q.heads = query->shape[1];
  q.newTokens = query->shape[2];
  q.headDim = query->shape[3];
  q.kvHeads = key->shape[1];
  q.causal = causal && *causal;
  // What a query may see beyond its own position; the rest of the keys is masked, not computed on.
  int64_t past = key->shape[2] - q.newTokens;
  q.pastTokens = q.causal ? std::min(std::max<int64_t>(offset ? *offset : 0, 0), past) : past;
  return q.pastTokens >= 0;
}

} // namespace

std::vector<std::string> axesOf(const exe::Command &c) {
  const auto *axes = attr<std::vector<std::string>>(c, "axes");
  return axes ? *axes : std::vector<std::string>();
}

int64_t kernelFlops(const exe::Kernel &kernel) {
  static const std::map<std::string, int64_t> perElement = {{"constant", 0},   {"broadcast", 0}, {"rms_norm", 4},
                                                            {"layer_norm", 7}, {"softmax", 5},   {"rotary", 6},
                                                            {"gelu", 10},      {"silu", 5}};
  auto elementsOf = [&](int32_t value) {
    auto v = static_cast<size_t>(value), inputs = kernel.inputs.size();
    if (value < 0 || v >= inputs + kernel.steps.size())
      return int64_t(-1);
    return exe::numElements(v < inputs ? kernel.inputs[v].shape : kernel.steps[v - inputs].shape);
  };
  int64_t total = 0;
  for (const exe::KernelStep &step : kernel.steps) {
    auto it = perElement.find(step.op);
    int64_t each = it == perElement.end() ? 1 : it->second, flops;
    // A reduction works on what it reads.
    bool reduces = step.op == "reduce" && !step.operands.empty();
    int64_t elements = reduces ? elementsOf(step.operands[0]) : exe::numElements(step.shape);
    if (elements < 0 || __builtin_mul_overflow(each, elements, &flops) || __builtin_add_overflow(total, flops, &total))
      return 0; // no real kernel is so large
  }
  return total;
}

ComputeQuery computeQuery(const exe::Program &program, const exe::Command &c, const exe::Kernel *kernel) {
  ComputeQuery q;
  int64_t in = bytesOf(program, c.inputs), out = bytesOf(program, c.outputs);
  q.bytes = in + out;
  if ((c.op == "matmul" && gemm(program, c, q.gemm)) || (c.op == "quantized_matmul" && quantized(program, c, q.gemm))) {
    q.kind = ComputeQuery::Gemm;
    return q;
  }
  if (c.op == "expert_matmul" && experts(program, c, q.gemm)) {
    q.kind = ComputeQuery::Gemm;
    return q;
  }
  if (c.op == "attention" && attention(program, c, q.attention)) {
    q.kind = ComputeQuery::Attention;
    return q;
  }
  q.kind = ComputeQuery::Memory;
  const exe::Value *first = operand(program, c.inputs, 0);
  q.memory.dtype = first ? exe::dtypeName(first->dtype) : "f32";
  if (c.op == "copy") {
    // What moves is the region, not the tensors that it lies in.
    int64_t n = 1;
    if (const auto *dims = attr<std::vector<int64_t>>(c, "dims"))
      for (int64_t d : *dims)
        if (d < 0 || __builtin_mul_overflow(n, d, &n)) {
          n = 0;
          break;
        }
    const exe::Value *to = operand(program, c.outputs, 0);
    q.memory.bytes =
        to ? 2 * std::min(n, std::max<int64_t>(exe::numElements(to->shape), 0)) * exe::byteWidth(to->dtype) : 0;
  } else if (c.op == "embedding" || c.op == "gather" || c.op == "gather_nd" || c.op == "gather_elements") {
    // Only the rows that are taken are read.
    q.memory.bytes = 2 * out + bytesOf(program, c.inputs, 1);
  } else if (c.op == "shard_copy" || c.op == "rank_mask") {
    q.memory.bytes = 2 * out;
  } else {
    q.memory.bytes = in + out;
  }
  if (c.op == "kernel")
    q.memory.kind = "loop";
  if (kernel) {
    q.memory.flops = kernelFlops(*kernel);
    for (const exe::KernelStep &step : kernel->steps)
      if (step.op == "rms_norm" || step.op == "layer_norm" || step.op == "softmax" || step.op == "reduce")
        q.memory.kind = "norm";
  }
  q.bytes = q.memory.bytes;
  if (q.memory.bytes <= 0)
    q.kind = ComputeQuery::None; // nothing is there to work on
  return q;
}

double attentionUs(const cost::CostModel &model, const cost::AttentionQuery &q) {
  if (model.topology().device.cpu || !q.causal || q.newTokens <= 1 || q.pastTokens <= 0 || q.window > 0)
    return model.attentionUs(q);
  cost::AttentionQuery whole = q;
  whole.newTokens += q.pastTokens;
  whole.pastTokens = 0;
  auto fresh = static_cast<double>(q.newTokens), past = static_cast<double>(q.pastTokens), all = fresh + past;
  return model.attentionUs(whole) * (fresh * past + fresh * (fresh + 1) / 2) / (all * (all + 1) / 2);
}

double computeUs(const cost::CostModel &model, const ComputeQuery &q) {
  switch (q.kind) {
  case ComputeQuery::None:
    return 0;
  case ComputeQuery::Gemm:
    return model.gemmUs(q.gemm);
  case ComputeQuery::Attention:
    return attentionUs(model, q.attention);
  case ComputeQuery::Memory:
    return model.memoryUs(q.memory);
  }
  return 0;
}

CollectiveCost collectiveCost(const exe::Program &program, const exe::Command &c, int64_t members) {
  CollectiveCost cost;
  const std::string &op = exe::collectiveOf(c);
  const exe::Value *in = operand(program, c.inputs, 0), *out = operand(program, c.outputs, 0);
  if (!in || !out)
    return cost;
  // A fused one adds the residual to this member's rows and norms them: four passes over as many bytes.
  const exe::Value *residual = operand(program, c.inputs, 1);
  int64_t fused = residual ? 4 * bytesOf(*residual) : 0;
  cost.local.dtype = exe::dtypeName(in->dtype);
  cost.local.bytes = fused;
  cost.local.kind = fused > 0 ? "norm" : "";
  if (members <= 1) {
    bool inPlace = c.inputs[0] == c.outputs[0];
    cost.local.bytes += inPlace ? 0 : 2 * bytesOf(*out);
    return cost;
  }
  cost::CollectiveQuery q;
  // A fused one moves what an all_reduce moves: it scatters sums and gathers their norms.
  q.op = fused > 0 || op == "scatter_norm_gather" ? "all_reduce" : op;
  q.dtype = cost.local.dtype;
  q.ranks = members;
  q.bytes = op == "all_gather" ? bytesOf(*out) : bytesOf(*in);
  cost.steps.push_back(std::move(q));
  return cost;
}

double collectiveUs(const cost::CostModel &model, const CollectiveCost &cost) {
  double us = cost.local.bytes > 0 ? model.memoryUs(cost.local) : 0;
  for (const cost::CollectiveQuery &q : cost.steps)
    us += model.collectiveUs(q);
  return us;
}

} // namespace comm::sim
