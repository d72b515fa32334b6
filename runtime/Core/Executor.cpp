//===- Executor.cpp - one program on one rank -----------------------------===//
#include "runtime/Core/Executor.h"
#include "runtime/Core/Ports.h"
#include "runtime/Core/Step.h"
#include "runtime/Kernels/Norm/RowNorm.h"
#include "runtime/Kernels/Tile/TileKernel.h"
#include <algorithm>
#include <cstdlib>
#include <cstring>

namespace comm::rt {
namespace {
struct Patch {
  int32_t step;
  int32_t operand;
  int32_t value;
};
} // namespace

struct Executor::Impl {
  Impl(const exe::Program &program, const exe::Executable &exe, const RankContext &context)
      : prog(program), exe(exe), ctx(context) {}

  //===--- prepare --------------------------------------------------------===//
  /// Address of a value, or null and `later` when it is known only during a run. `unread`: the bytes of a weight need
  /// not be there yet.
  Status address(int32_t index, uint8_t *&out, bool &later, bool unread = false) {
    const exe::Value &v = prog.values[index];
    later = false;
    if (v.storage == exe::Storage::Arena) {
      out = ctx.arena + v.offset;
      return Status::ok();
    }
    if (v.storage == exe::Storage::Weight) {
      const uint8_t *bytes = nullptr;
      if (Status s = ctx.weights->local(v.index, prog.grid, ctx.rank, bytes, unread); !s)
        return s;
      out = const_cast<uint8_t *>(bytes) + v.offset; // validate() has refused writes to weights
      return Status::ok();
    }
    later = true;
    out = nullptr;
    return Status::ok();
  }

  Status bind(Step &step) {
    const exe::Command &c = prog.commands[step.command];
    step.inputs = c.inputs.size();
    for (const auto *list : {&c.inputs, &c.outputs})
      for (int32_t value : *list) {
        uint8_t *p = nullptr;
        bool later = false;
        if (Status s = address(value, p, later, true); !s)
          return s;
        if (later)
          patches.push_back({static_cast<int32_t>(steps.size()), static_cast<int32_t>(step.operands.size()), value});
        step.operands.push_back(p);
      }
    return Status::ok();
  }

  std::string where(const exe::Command &c) const { return c.op + (c.label.empty() ? ": " : " '" + c.label + "': "); }

  template <class T> static const T *attr(const exe::Command &c, const char *name) {
    auto it = c.attrs.find(name);
    return it == c.attrs.end() ? nullptr : std::get_if<T>(&it->second);
  }

  /// Without native code a kernel does what it is declared to do.
  Status prepareInterpreted(const exe::Command &c, const std::string &symbol, Step &step) {
    auto it = std::find_if(exe.kernels.begin(), exe.kernels.end(),
                           [&](const exe::Kernel &kernel) { return kernel.symbol == symbol; });
    if (it == exe.kernels.end())
      return {Code::Untrusted, where(c) + "its native code is not trusted, and no declaration says what it computes"};
    std::vector<TensorDesc> in, out;
    for (const auto *list : {&c.inputs, &c.outputs})
      for (int32_t value : *list)
        (list == &c.inputs ? in : out).push_back({prog.values[value].dtype, prog.values[value].shape, nullptr, 0});
    if (Status s = prepareTileKernel(*it, in, out, where(c), step.kernel); !s)
      return s;
    step.kind = StepKind::Kernel;
    step.iterations = step.kernel->iterations();
    return bind(step);
  }

  Status prepareNative(const exe::Command &c, Step &step) {
    const auto *symbol = attr<std::string>(c, "symbol");
    const auto *iterations = attr<int64_t>(c, "iterations");
    if (!symbol || !iterations || *iterations < 0)
      return {Code::BadExecutable, where(c) + "it needs a symbol and a number of iterations"};
    int64_t bytes = 0;
    for (const auto *list : {&c.inputs, &c.outputs})
      for (int32_t value : *list)
        bytes += exe::byteSize(prog.values[value].dtype, prog.values[value].shape);
    step.isShort = bytes <= kShortLoopBytes;
    if (!ctx.native)
      return prepareInterpreted(c, *symbol, step);
    step.native = ctx.native->find(*symbol);
    if (!step.native)
      return {Code::BadExecutable, where(c) + "the native code for this CPU has no function '" + *symbol + "'"};
    step.nativeColumns = ctx.native->findColumns(*symbol);
    step.kind = StepKind::Native;
    step.iterations = *iterations;
    return bind(step);
  }

  /// What kernels may share and keep of a weight in packed form.
  void describeConstant(const exe::Value &v, uint64_t key) {
    if (!ctx.cache)
      return;
    WeightStore *weights = ctx.weights;
    ctx.cache->describe(key,
                        {weights->name(v.index, prog.grid, ctx.rank, v.offset), weights->sharers(v.index, prog.grid),
                         [weights, index = v.index, grid = &prog.grid] { weights->load(index, *grid); }});
  }

  /// Products only pack their weights, and not even that when they were packed before.
  bool onlyPacks(const exe::Command &c, size_t input) const {
    return ctx.cache &&
           (c.op == "matmul" || (c.op == "quantized_matmul" && input > 0) || (c.op == "expert_matmul" && input == 2));
  }

  Status prepareCompute(const exe::Command &c, Step &step) {
    std::vector<TensorDesc> in, out;
    for (const auto *list : {&c.inputs, &c.outputs})
      for (int32_t value : *list) {
        const exe::Value &v = prog.values[value];
        TensorDesc d{v.dtype, v.shape, nullptr, 0};
        if (v.storage == exe::Storage::Weight) {
          uint8_t *p = nullptr;
          bool later = false;
          if (Status s = address(value, p, later, onlyPacks(c, in.size())); !s)
            return s;
          d.constant = p;
          d.constantKey = ctx.weights->contentKey(v.index, prog.grid, v.offset);
          describeConstant(v, d.constantKey);
        }
        (list == &c.inputs ? in : out).push_back(std::move(d));
      }
    PrepareContext prepare;
    prepare.grid = &prog.grid;
    prepare.rank = ctx.rank;
    prepare.microKernel = ctx.microKernel;
    prepare.cache = ctx.cache;
    if (Status s = prepareKernel(c, in, out, prepare, step.kernel); !s)
      return s;
    step.iterations = step.kernel->iterations();
    packed += step.kernel->packedBytes();
    return bind(step);
  }

  Status prepareCollective(const exe::Command &c, Step &step) {
    static const std::map<std::string, CollectiveKind> kinds = {
        {"all_reduce", CollectiveKind::AllReduce}, {"reduce_scatter", CollectiveKind::ReduceScatter},
        {"all_gather", CollectiveKind::AllGather}, {"all_to_all", CollectiveKind::AllToAll},
        {"broadcast", CollectiveKind::Broadcast},  {"permute", CollectiveKind::Permute}};
    static const std::map<std::string, ReduceKind> reduces = {
        {"sum", ReduceKind::Sum}, {"max", ReduceKind::Max}, {"min", ReduceKind::Min}, {"prod", ReduceKind::Prod}};
    // validate() has checked kind, axes, sizes and attributes.
    const auto *axes = attr<std::vector<std::string>>(c, "axes");
    std::vector<std::string> names = axes ? *axes : std::vector<std::string>();
    const exe::Value &in = prog.values[c.inputs[0]], &out = prog.values[c.outputs[0]];
    Collective &op = step.collective;
    bool fused = exe::collectiveOf(c) == "scatter_norm_gather";
    op.kind = fused ? CollectiveKind::ReduceScatter : kinds.at(exe::collectiveOf(c));
    op.dtype = in.dtype;
    op.group = prog.grid.members(ctx.rank, names);
    op.label = c.label.c_str();
    op.program = ctx.program;
    op.planId = *attr<int64_t>(c, "plan_id");
    int64_t members = static_cast<int64_t>(op.group.size()), mine = prog.grid.coordinate(ctx.rank, names),
            n = exe::numElements(in.shape);
    op.count = fused                                      ? n / members
               : op.kind == CollectiveKind::ReduceScatter ? exe::numElements(out.shape)
               : op.kind == CollectiveKind::AllToAll      ? n / members
                                                          : n;
    if (const auto *reduce = attr<std::string>(c, "reduce"); reduce && reduces.count(*reduce))
      op.reduce = reduces.at(*reduce);
    if (op.kind == CollectiveKind::Broadcast)
      op.root = static_cast<int32_t>(*attr<int64_t>(c, "root"));
    if (op.kind == CollectiveKind::Permute) {
      int64_t shift = (*attr<int64_t>(c, "shift") % members + members) % members;
      op.peer = static_cast<int32_t>((mine + shift) % members);
      op.from = static_cast<int32_t>((mine - shift + members) % members);
    }
    if (members > 1 && !ctx.comm)
      return {Code::Internal, where(c) + "a group of several ranks without a communication thread"};
    step.ticket = planned++;
    step.kind = c.op == "start" ? StepKind::Start : StepKind::Collective;
    if (c.op == "start")
      tickets[*attr<int64_t>(c, "token")] = {step.ticket, step.command};
    if (Status s = bind(step); !s)
      return s;
    op.in = step.operands[0];
    op.out = step.operands[fused ? step.inputs + 1 : step.inputs];
    if (fused)
      prepareNorm(c, step, mine);
    return Status::ok();
  }

  /// scatter_norm_gather: the reduction goes into the sum, the norm of the own rows into the third result, from where
  /// the gather takes it.
  void prepareNorm(const exe::Command &c, Step &step, int64_t mine) {
    const exe::Shape &shape = prog.values[c.inputs[0]].shape;
    RowNorm norm{step.collective.dtype, 0, shape[2], *attr<double>(c, "epsilon"), *attr<int64_t>(c, "layer_norm") != 0};
    norm.rows = std::clamp<int64_t>(*attr<int64_t>(c, "rows") - mine * shape[1], 0, shape[1]);
    size_t bias = *attr<int64_t>(c, "has_bias") != 0 ? 3 : 0,
           normBias = *attr<int64_t>(c, "has_norm_bias") != 0 ? (bias ? 4 : 3) : 0;
    void *const *at = step.operands.data(); // stays where it is when the step moves
    size_t results = step.inputs;
    step.sequel = std::make_unique<Sequel>();
    step.sequel->step = [=] {
      addAndNorm(norm, at[results + 1], at[1], bias ? at[bias] : nullptr, at[2], normBias ? at[normBias] : nullptr,
                 at[results + 2]);
      return Status::ok();
    };
    Collective &next = step.sequel->next;
    next = step.collective;
    next.kind = CollectiveKind::AllGather;
    next.in = at[results + 2];
    next.out = at[results];
    step.collective.sequel = step.sequel.get();
  }

  Status prepareStep(int32_t index) {
    const exe::Command &c = prog.commands[index];
    Step step;
    step.command = index;
    Status s;
    if (c.op == "wait") {
      auto [ticket, issuer] = tickets.at(*attr<int64_t>(c, "token"));
      step.kind = StepKind::Wait;
      step.ticket = ticket;
      step.issuer = issuer;
    } else if (!exe::collectiveOf(c).empty())
      s = prepareCollective(c, step);
    else if (c.op == "kernel")
      s = prepareNative(c, step);
    else
      s = prepareCompute(c, step);
    if (!s)
      return s;
    // Weights that are read during runs stay; packed ones go at once, so that few exist twice at a time.
    for (size_t i = 0; i < c.inputs.size(); ++i)
      if (const exe::Value &v = prog.values[c.inputs[i]]; v.storage == exe::Storage::Weight) {
        if (!step.kernel || step.kernel->readsInput(i))
          ctx.weights->keep(v.index, prog.grid);
        else
          ctx.weights->release(v.index, prog.grid);
      }
    steps.push_back(std::move(step));
    return Status::ok();
  }

  void keepOutputWeights() {
    for (const exe::Port &port : prog.outputs)
      if (const exe::Value &v = prog.values[port.value]; v.storage == exe::Storage::Weight)
        ctx.weights->keep(v.index, prog.grid);
  }

  //===--- run ------------------------------------------------------------===//
  uint8_t *valueAddress(int32_t index) {
    uint8_t *p = nullptr;
    bool later = false;
    Status s = address(index, p, later); // cannot fail: the weights of outputs were loaded by prepare
    return !s ? nullptr : later ? ports.address(prog.values[index]) : p;
  }

  /// Operands in inputs and outputs, and which copies of states need not be made.
  void bindPorts() {
    for (const Patch &p : patches)
      steps[static_cast<size_t>(p.step)].operands[static_cast<size_t>(p.operand)] = ports.address(prog.values[p.value]);
    for (const StateUse &use : ctx.states)
      if (use.growth.copy >= 0)
        steps[static_cast<size_t>(use.growth.copy)].idle = ports.isOnePlace(use);
  }

  Status runCollective(Step &step, RunCounters &counters, TraceBuffer *trace, int64_t now) {
    if (!ctx.comm) { // a group of one: the operand is the result
      auto move = [](const Collective &one) {
        if (one.in != one.out)
          std::memcpy(one.out, one.in, static_cast<size_t>(one.count * exe::byteWidth(one.dtype)));
      };
      move(step.collective);
      if (step.sequel) {
        if (Status s = step.sequel->step(); !s)
          return s;
        move(step.sequel->next);
      }
      if (step.kind == StepKind::Collective)
        record(step.ticket, step.command, now, counters, trace, now);
      return Status::ok();
    }
    if (step.kind == StepKind::Start && overlap) {
      step.issuedNs = now;
      return ctx.comm->start(step.collective, step.ticket);
    }
    if (Status s = ctx.comm->run(step.collective, step.ticket); !s)
      return s;
    record(step.ticket, step.command, now, counters, trace, now);
    return Status::ok();
  }

  Status finishCollective(int64_t ticket, int32_t issuer, int64_t issued, RunCounters &counters, TraceBuffer *trace,
                          int64_t now) {
    if (ctx.comm && !overlap)
      return Status::ok(); // its start has executed it
    if (ctx.comm)
      if (Status s = ctx.comm->wait(ticket); !s)
        return s;
    record(ticket, issuer, issued, counters, trace, now);
    return Status::ok();
  }

  /// Counts a finished collective for which compute waited since `now`.
  void record(int64_t ticket, int32_t issuer, int64_t issued, RunCounters &counters, TraceBuffer *trace, int64_t now) {
    int64_t end = traceNowNs();
    ++counters.collectives;
    counters.waitNs += end - now;
    CollectiveSpan span{now, now, end, 0};
    if (ctx.comm)
      span = ctx.comm->span(ticket);
    spans[static_cast<size_t>(ticket)] = span;
    waits.push_back({now, end});
    counters.each[static_cast<size_t>(ticket)].command = issuer;
    if (!trace)
      return;
    trace->add({TraceKind::Collective, issuer, span.beginNs, span.endNs, issued, span.metNs});
    trace->add({TraceKind::Wait, issuer, now, end, issued, span.metNs});
  }

  Status runStep(Step &step, RunCounters &counters, TraceBuffer *trace) {
    if (step.idle)
      return Status::ok();
    // The clock is read for communication always (waiting is a result of every run), for compute only when tracing.
    bool communicates = step.kind != StepKind::Kernel && step.kind != StepKind::Native;
    int64_t begin = communicates || trace ? traceNowNs() : 0;
    Status s;
    switch (step.kind) {
    case StepKind::Kernel:
    case StepKind::Native:
      s = step.run(*ctx.team);
      break;
    case StepKind::Start:
    case StepKind::Collective:
      return runCollective(step, counters, trace, begin);
    case StepKind::Wait:
      return finishCollective(step.ticket, step.issuer, steps[static_cast<size_t>(step.issuer)].issuedNs, counters,
                              trace, begin);
    }
    if (trace)
      trace->add({TraceKind::Compute, step.command, begin, traceNowNs(), 0});
    return s;
  }

  /// After a failure in step `failed`: collectives in flight end before their buffers are used again. When the inputs
  /// were at fault all ranks stop at the same command and the next run can go on.
  void drain(size_t failed) {
    std::map<int64_t, bool> flying;
    for (size_t i = 0; i < failed; ++i)
      if (steps[i].kind == StepKind::Start || steps[i].kind == StepKind::Wait)
        flying[steps[i].ticket] = steps[i].kind == StepKind::Start;
    for (const auto &[ticket, active] : flying)
      if (active && ctx.comm) {
        Status ignored = ctx.comm->wait(ticket);
        (void)ignored; // the first failure is the one to tell
      }
  }

  Status run(const std::vector<const void *> &inputs, const std::vector<void *> &outputs, const PartPorts &parts,
             RunCounters &counters, TraceBuffer *trace) {
    int64_t begin = traceNowNs();
    waits.clear();
    spans.assign(static_cast<size_t>(planned), {});
    counters.each.assign(static_cast<size_t>(planned), {});
    ports.place(inputs, outputs, parts);
    bindPorts();
    counters.partBytes += ports.load(ctx.arena);
    for (size_t i = 0, next = 0; i < steps.size(); i = next) {
      Status s;
      if (!chains.run(i, steps, *ctx.team, trace, next, s)) {
        next = i + 1;
        s = runStep(steps[i], counters, trace);
      }
      if (!s) {
        drain(i);
        return s;
      }
    }
    counters.partBytes += ports.store([this](int32_t value) { return valueAddress(value); });
    if (counters.collectives != planned)
      return {Code::Internal, "executed " + std::to_string(counters.collectives) + " collectives of " +
                                  std::to_string(planned) + " planned"};
    splitTimes(spans, waits, counters.each);
    counters.runNs = traceNowNs() - begin;
    return Status::ok();
  }

  const exe::Program &prog;
  const exe::Executable &exe;
  const RankContext ctx;
  Ports ports;
  std::vector<Step> steps; ///< one per command, same index
  StepChains chains;
  std::vector<Patch> patches;
  std::map<int64_t, std::pair<int64_t, int32_t>> tickets; ///< token -> ticket, issuing command
  int64_t planned = 0, packed = 0;
  bool overlap = true;
  std::vector<CollectiveSpan> spans; ///< of this run, by ticket
  std::vector<Interval> waits;       ///< of this run, in order
};

Executor::Executor() = default;
Executor::~Executor() = default;

Status Executor::prepare(const exe::Program &program, const exe::Executable &exe, const RankContext &context,
                         std::unique_ptr<Executor> &out) {
  out.reset(new Executor);
  out->impl = std::make_unique<Impl>(program, exe, context);
  Impl &impl = *out->impl;
  if (Status s = impl.ports.prepare(program, context.rank, context.ownOutputs); !s)
    return s;
  for (size_t i = 0; i < program.commands.size(); ++i)
    if (Status s = impl.prepareStep(static_cast<int32_t>(i)); !s)
      return s;
  for (const exe::Port &port : program.outputs) {
    uint8_t *p = nullptr;
    bool later = false;
    if (Status s = impl.address(port.value, p, later); !s)
      return s;
  }
  impl.keepOutputWeights();
  impl.chains.find(program, exe, impl.steps, context.team->size());
  return Status::ok();
}

Status Executor::run(const std::vector<const void *> &inputs, const std::vector<void *> &outputs,
                     const PartPorts &parts, RunCounters &counters, TraceBuffer *trace) {
  return impl->run(inputs, outputs, parts, counters, trace);
}
void Executor::setOverlap(bool on) { impl->overlap = on; }
int64_t Executor::plannedCollectives() const { return impl->planned; }
int64_t Executor::packedBytes() const { return impl->packed; }
int64_t Executor::traceCapacity() const { return static_cast<int64_t>(impl->steps.size()) * 2 + impl->chains.events(); }

} // namespace comm::rt
