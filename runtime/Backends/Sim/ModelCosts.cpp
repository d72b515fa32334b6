//===- ModelCosts.cpp - costs of a compiled program -----------------------===//
#include "comm/Simulator/CommandCost.h"
#include "comm/Simulator/Simulator.h"
#include <algorithm>
#include <map>

namespace comm::sim {

struct ModelCosts::Impl {
  Impl(const exe::Program &program, cost::CostModel model) : program(program), model(std::move(model)) {}

  /// The model as a group sees it: the cost functions take the first ranks of the machine, so its nodes are given as
  /// many ranks as the group has members in one.
  const cost::CostModel *of(const GroupPlace &place) {
    int64_t perNode = place.nodes > 1 ? std::max<int64_t>(1, (place.members + place.nodes - 1) / place.nodes)
                                      : model.topology().ranksPerNode;
    if (perNode == model.topology().ranksPerNode)
      return &model;
    auto it = narrowed.find(perNode);
    if (it == narrowed.end()) {
      cost::Topology topology = model.topology();
      topology.ranksPerNode = perNode;
      cost::CostModel other(topology);
      std::string ignored; // it was read for the whole machine already
      if (!tuning.empty())
        other.addTuning(tuning, ignored);
      it = narrowed.emplace(perNode, std::move(other)).first;
    }
    return &it->second;
  }

  const exe::Program &program;
  cost::CostModel model;
  std::string tuning;
  std::map<int64_t, cost::CostModel> narrowed;
  std::vector<double> us;        ///< by command; of collectives 0
  std::vector<bool> memoryBound; ///< by command
  Rates rates[2];                ///< beside compute that is bound by operations, by memory
};

ModelCosts::ModelCosts() = default;
ModelCosts::~ModelCosts() = default;

std::unique_ptr<ModelCosts> ModelCosts::create(const exe::Program &program, const std::vector<exe::Kernel> &kernels,
                                               const cost::Topology &topology, const std::string &tuning,
                                               std::string &error) {
  cost::CostModel model(topology);
  if (!tuning.empty() && !model.addTuning(tuning, error))
    return nullptr;
  std::unique_ptr<ModelCosts> costs(new ModelCosts);
  costs->impl = std::make_unique<Impl>(program, std::move(model));
  Impl &impl = *costs->impl;
  impl.tuning = tuning;
  std::map<std::string, const exe::Kernel *> declared;
  for (const exe::Kernel &kernel : kernels)
    declared.emplace(kernel.symbol, &kernel);
  for (const exe::Command &c : program.commands) {
    ComputeQuery q;
    if (c.op != "wait" && exe::collectiveOf(c).empty()) {
      auto symbol = c.attrs.find("symbol");
      const auto *name = symbol == c.attrs.end() ? nullptr : std::get_if<std::string>(&symbol->second);
      auto kernel = name ? declared.find(*name) : declared.end();
      q = computeQuery(program, c, kernel == declared.end() ? nullptr : kernel->second);
    }
    double us = std::max(0.0, sim::computeUs(impl.model, q));
    impl.us.push_back(us);
    impl.memoryBound.push_back(impl.model.isMemoryBound(static_cast<double>(q.bytes), us));
  }
  for (bool bound : {false, true})
    impl.rates[bound].compute = impl.model.rateBesideCollective(bound);
  return costs;
}

double ModelCosts::computeUs(int32_t command) const { return impl->us[static_cast<size_t>(command)]; }

double ModelCosts::collectiveUs(int32_t command, const GroupPlace &place) const {
  const exe::Command &c = impl->program.commands[static_cast<size_t>(command)];
  return std::max(0.0, sim::collectiveUs(*impl->of(place), collectiveCost(impl->program, c, place.members)));
}

Rates ModelCosts::beside(int32_t compute, int32_t) const {
  return impl->rates[impl->memoryBound[static_cast<size_t>(compute)]];
}

double ModelCosts::handOverUs() const { return impl->model.chunkOverheadUs(); }

std::string ModelCosts::fingerprint() const { return impl->model.fingerprint(); }

} // namespace comm::sim
