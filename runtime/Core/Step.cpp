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
  int64_t rows = step.kind == StepKind::Kernel ? step.kernel->rows() : step.iterations;
  begin = rows / units * begin;
  end = rows / units * end;
  return step.kind == StepKind::Kernel
             ? step.kernel->runRows(step.operands.data(), step.operands.data() + step.inputs, begin, end)
             : step.run(begin, end);
}
} // namespace

std::vector<RowChain> findRowChains(const exe::Program &program, const exe::Executable &exe,
                                    const std::vector<Step> &steps, int64_t threads) {
  PartsOfKernels kernels(exe);
  std::vector<ChainStep> parts(steps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step &step = steps[i];
    const exe::Command &c = program.commands[i];
    ChainStep &part = parts[i];
    for (int32_t value : c.inputs)
      part.inputs.push_back(rangeOf(program, value));
    for (int32_t value : c.outputs)
      part.outputs.push_back(rangeOf(program, value));
    if (step.kind == StepKind::Kernel) {
      part.rows = step.kernel->rows();
      part.productRows = step.kernel->productRows();
      part.readsOwnPart = [kernel = step.kernel.get()](size_t input, int64_t) { return kernel->readsOwnRow(input); };
    } else if (step.kind == StepKind::Native) {
      std::shared_ptr<const KernelParts> kernel = kernels.of(std::get<std::string>(c.attrs.at("symbol")));
      if (!kernel || !kernel->cutsResults(step.iterations))
        continue;
      part.rows = step.iterations;
      part.readsOwnPart = [kernel](size_t input, int64_t units) { return kernel->readsOwnPart(input, units); };
    }
  }
  return findRowChains(parts, threads);
}

Status runChain(const RowChain &chain, std::vector<Step> &steps, Team &team, TraceBuffer *trace) {
  return team.run(chain.blocks, [&](int64_t begin, int64_t end) {
    for (int64_t block = begin; block < end; ++block)
      for (size_t i = chain.first; i < chain.first + chain.count; ++i) {
        bool traced = trace && begin == 0;
        int64_t now = traced ? traceNowNs() : 0;
        if (Status s = runPart(steps[i], chain.begin(block), chain.begin(block + 1), chain.units); !s)
          return s;
        if (traced)
          trace->add({TraceKind::Compute, steps[i].command, now, traceNowNs(), 0});
      }
    return Status::ok();
  });
}

} // namespace comm::rt
