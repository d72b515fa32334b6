//===- SimTest.h - small programs with costs given by hand ------*- C++ -*-===//
#pragma once
#include "../Support/ProgramBuilder.h"
#include "comm/Simulator/Simulator.h"
#include <functional>
#include <gtest/gtest.h>

namespace comm::test {

/// Compute takes what its attribute "us" says, a collective its attribute "us" too.
class AttrCosts final : public sim::Costs {
public:
  explicit AttrCosts(const Program &program, sim::Rates rates = {}) : program(program), rates(rates) {}
  double computeUs(int32_t command) const override { return us(command); }
  double collectiveUs(int32_t command, const sim::GroupPlace &place) const override {
    return us(command) * (place.nodes > 1 ? 10 : 1);
  }
  sim::Rates beside(int32_t, int32_t) const override { return rates; }
  bool slowsCollectives() const override { return rates.collective < 1; }

private:
  double us(int32_t command) const {
    const Attrs &attrs = program.commands[static_cast<size_t>(command)].attrs;
    auto it = attrs.find("us");
    return it == attrs.end() ? 0 : std::get<double>(it->second);
  }
  const Program &program;
  const sim::Rates rates;
};

/// Programs as a list of compute, start, wait and synchronous collectives.
class SimBuilder : public ProgramBuilder {
public:
  explicit SimBuilder(std::vector<Axis> axes = {{"tp", 2}}) : ProgramBuilder(std::move(axes)) {
    x = comm({4});
    y = comm({4});
    z = arena({4});
  }
  void compute(double us) { command("kernel", {z}, {z}, {{"us", us}}); }
  int64_t begin(double us, std::vector<std::string> axes = {"tp"}) {
    return start("all_reduce", x, y, std::move(axes), {{"us", us}});
  }
  void sync(double us, std::vector<std::string> axes = {"tp"}) {
    collective("all_reduce", x, y, std::move(axes), {{"us", us}});
  }
  int32_t x, y, z;
};

inline sim::SimResult simulateOk(const Program &program, sim::Rates rates = {}, sim::SimOptions options = {}) {
  if (options.ranksPerNode == 1)
    options.ranksPerNode = sim::maxRanks;
  sim::SimResult result;
  std::string error;
  EXPECT_TRUE(sim::simulate(program, AttrCosts(program, rates), options, result, error)) << error;
  return result;
}

} // namespace comm::test
