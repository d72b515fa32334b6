//===- Step.cpp - chains of prepared commands -----------------------------===//
#include "runtime/Core/Step.h"
#include <algorithm>

namespace comm::rt {
namespace {
OperandRange rangeOf(const exe::Program &program, int32_t value) {
  const exe::Value &v = program.values[static_cast<size_t>(value)];
  if (v.storage == exe::Storage::Weight)
    return {};
  // The arena is one space; inputs and outputs are buffers of the caller, each apart from all others.
  int64_t space = v.storage == exe::Storage::Arena ? 0 : v.storage == exe::Storage::Input ? 1 : 2;
  OperandRange range{space, v.offset, exe::byteSize(v.dtype, v.shape)};
  if (space)
    range.space += 2 * v.index;
  return range;
}

/// Native symbols to what is known about them; built when first asked for.
class PartsOfKernels {
public:
  explicit PartsOfKernels(const exe::Executable &exe) : exe(exe) {}
  std::shared_ptr<const KernelParts> of(const std::string &symbol) {
    auto [it, fresh] = known.try_emplace(symbol);
    if (fresh) {
      auto declared = std::find_if(exe.kernels.begin(), exe.kernels.end(),
                                   [&](const exe::Kernel &kernel) { return kernel.symbol == symbol; });
      if (declared != exe.kernels.end())
        it->second = std::make_shared<KernelParts>(*declared);
    }
    return it->second;
  }

private:
  const exe::Executable &exe;
  std::map<std::string, std::shared_ptr<const KernelParts>> known;
};

Status runPart(Step &step, int64_t begin, int64_t end, int64_t units) {
  if (step.idle)
    return Status::ok();
  int64_t rows = step.kind == StepKind::Kernel ? step.kernel->rows() : step.iterations;
  begin = rows / units * begin;
  end = rows / units * end;
  return step.kind == StepKind::Kernel
             ? step.kernel->runRows(step.operands.data(), step.operands.data() + step.inputs, begin, end)
             : step.run(begin, end);
}

/// Operands of steps as the search for chains wants them.
template <class T> T describe(const exe::Program &program, const exe::Command &c) {
  T part;
  for (int32_t value : c.inputs)
    part.inputs.push_back(rangeOf(program, value));
  for (int32_t value : c.outputs)
    part.outputs.push_back(rangeOf(program, value));
  return part;
}

ChainStep rowsOf(const Step &step, ChainStep part, const std::shared_ptr<const KernelParts> &kernel) {
  if (step.kind == StepKind::Kernel) {
    part.rows = step.kernel->rows();
    part.productRows = step.kernel->productRows();
    part.readsOwnPart = [kernel = step.kernel.get()](size_t input, int64_t) { return kernel->readsOwnRow(input); };
  } else if (kernel && kernel->cutsResults(step.iterations)) {
    part.rows = step.iterations;
    part.readsOwnPart = [kernel](size_t input, int64_t units) { return kernel->readsOwnPart(input, units); };
  }
  return part;
}

ColumnStep columnsOf(const Step &step, ColumnStep part, const std::shared_ptr<const KernelParts> &kernel) {
  if (step.kind == StepKind::Kernel) {
    part.rows = step.kernel->columns();
    part.step = step.kernel->columnStep();
    part.productRows = 1; // what has columns is a product
    part.readsOwnPart = [](size_t, int64_t) { return false; };
  } else if (kernel && step.columns) {
    part.rows = step.columns;
    part.readsOwnPart = [kernel, columns = step.columns](size_t input, int64_t units) {
      return units == columns && kernel->readsOwnColumns(input);
    };
  }
  return part;
}
} // namespace

void StepChains::find(const exe::Program &program, const exe::Executable &exe, std::vector<Step> &steps,
                      int64_t threads) {
  PartsOfKernels kernels(exe);
  std::vector<ChainStep> rows;
  std::vector<ColumnStep> columns;
  for (size_t i = 0; i < steps.size(); ++i) {
    const exe::Command &c = program.commands[i];
    std::shared_ptr<const KernelParts> kernel;
    if (steps[i].kind == StepKind::Native)
      kernel = kernels.of(std::get<std::string>(c.attrs.at("symbol")));
    if (kernel && steps[i].nativeColumns) {
      steps[i].columns = kernel->columns();
      steps[i].rows = kernel->rowsOfColumns();
    }
    rows.push_back(rowsOf(steps[i], describe<ChainStep>(program, c), kernel));
    columns.push_back(columnsOf(steps[i], describe<ColumnStep>(program, c), kernel));
  }
  for (const RowChain &chain : findRowChains(rows, threads)) {
    byRows[chain.first] = chain;
    for (size_t i = 0; i < chain.count; ++i)
      columns[chain.first + i].rows = 0;
  }
  for (const ColumnChain &chain : findColumnChains(columns, threads))
    byColumns[chain.first] = chain;
}

bool StepChains::run(size_t first, std::vector<Step> &steps, Team &team, TraceBuffer *trace, size_t &next,
                     Status &status) const {
  if (auto it = byRows.find(first); it != byRows.end()) {
    next = first + it->second.count;
    status = runRows(it->second, steps, team, trace);
    return true;
  }
  auto it = byColumns.find(first);
  if (it == byColumns.end())
    return false;
  next = first + it->second.count;
  status = runColumns(it->second, steps, team, trace);
  return true;
}

int64_t StepChains::events() const {
  int64_t events = 0;
  for (const auto &[first, chain] : byRows)
    events += chain.blocks * static_cast<int64_t>(chain.count);
  for (const auto &[first, chain] : byColumns)
    events += chain.blocks * static_cast<int64_t>(chain.count);
  return events;
}

Status StepChains::runRows(const RowChain &chain, std::vector<Step> &steps, Team &team, TraceBuffer *trace) {
  auto name = static_cast<int32_t>(chain.first);
  return team.run(chain.blocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      for (size_t i = chain.first; i < chain.first + chain.count; ++i) {
        bool traced = trace && begin == 0;
        int64_t now = traced ? traceNowNs() : 0;
        if (Status s = runPart(steps[i], chain.begin(block), chain.begin(block + 1), chain.units); !s)
          return s;
        if (traced)
          trace->add({TraceKind::Compute, steps[i].command, now, traceNowNs(), 0, 0, name});
      }
    return Status::ok();
  });
}

/// A loop behind a product of as many columns goes over them as they become final.
Status StepChains::runColumns(const ColumnChain &chain, std::vector<Step> &steps, Team &team, TraceBuffer *trace) {
  auto name = static_cast<int32_t>(chain.first);
  return team.run(chain.blocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      for (size_t i = chain.first; i < chain.first + chain.count; ++i) {
        bool traced = trace && begin == 0;
        int64_t start = traced ? traceNowNs() : 0, inLoop = 0;
        Step &step = steps[i];
        if (step.kind == StepKind::Native) {
          step.runColumns(chain.begin(step.columns, block), chain.begin(step.columns, block + 1));
          if (traced)
            trace->add({TraceKind::Compute, step.command, start, traceNowNs(), 0, 0, name});
          continue;
        }
        int64_t columns = step.kernel->columns();
        Step *loop = i + 1 < chain.first + chain.count && steps[i + 1].columns == columns ? &steps[i + 1] : nullptr;
        auto done = [&](int64_t first, int64_t last) {
          if (!loop)
            return;
          int64_t now = traced ? traceNowNs() : 0;
          loop->runColumns(first, last);
          inLoop += traced ? traceNowNs() - now : 0;
        };
        if (Status s = step.kernel->runColumns(step.operands.data(), step.operands.data() + step.inputs,
                                               chain.begin(columns, block), chain.begin(columns, block + 1), done);
            !s)
          return s;
        int64_t end = traced ? traceNowNs() : 0;
        if (traced)
          trace->add({TraceKind::Compute, step.command, start, end - inLoop, 0, 0, name});
        if (!loop)
          continue;
        ++i;
        if (traced)
          trace->add({TraceKind::Compute, loop->command, end - inLoop, end, 0, 0, name});
      }
    return Status::ok();
  });
}

} // namespace comm::rt
