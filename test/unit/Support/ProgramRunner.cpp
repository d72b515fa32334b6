//===- ProgramRunner.cpp - runs a program on all ranks in lockstep (tests) ===//
#include "ProgramRunner.h"
#include <algorithm>
#include <cstring>
#include <map>

using namespace comm;
using testing_run::Bytes;
using testing_run::RankStore;

namespace {
class Runner {
public:
  Runner(const exe::Executable &exe, const exe::Program &program, const testing_run::RunOptions &options,
         std::string &error)
      : exe(exe), program(program), options(options), error(error), ranks(program.grid.ranks()) {}

  std::vector<std::vector<Bytes>> run(const std::vector<std::vector<Bytes>> &given) {
    auto native = testing_run::loadNative(exe, error);
    if (!error.empty())
      return {};
    for (int64_t rank = 0; rank < ranks; ++rank) {
      stores.push_back(std::make_unique<RankStore>(exe, program, rank, options.directory, native.get()));
      error = stores.back()->error;
      if (!error.empty())
        return {};
      stores.back()->reset(given[rank]);
    }
    for (size_t i = 0; i < program.commands.size(); ++i)
      if (!step(i))
        return {};
    std::vector<std::vector<Bytes>> outputs;
    for (auto &store : stores)
      outputs.push_back(store->outputs());
    return outputs;
  }

private:
  bool step(size_t number) {
    const exe::Command &command = program.commands[number];
    if (command.op == "start") {
      pending[std::get<int64_t>(command.attrs.at("token"))] = &command;
      return options.collectivesAtWait || collective(command);
    }
    if (command.op == "wait") {
      const exe::Command *started = pending.at(std::get<int64_t>(command.attrs.at("token")));
      return !options.collectivesAtWait || collective(*started);
    }
    if (command.attrs.count("plan_id"))
      return collective(command);
    for (auto &store : stores)
      if (!store->compute(number, error))
        return false;
    return true;
  }

  bool collective(const exe::Command &command) {
    const auto &axes = std::get<std::vector<std::string>>(command.attrs.at("axes"));
    std::vector<std::vector<Bytes>> results(stores.size());
    for (int64_t rank = 0; rank < ranks; ++rank) {
      // The group, in order of the coordinate over the axes.
      std::vector<std::vector<const uint8_t *>> operands(program.grid.shards(axes));
      for (int64_t other = 0; other < ranks; ++other)
        if (sameGroup(rank, other, axes))
          for (int32_t input : command.inputs)
            operands[program.grid.coordinate(other, axes)].push_back(stores[other]->pointer(input));
      if (!testing_run::collectiveResults(program, command, operands, program.grid.coordinate(rank, axes),
                                          results[rank], error))
        return false;
    }
    for (int64_t rank = 0; rank < ranks; ++rank)
      for (size_t i = 0; i < command.outputs.size(); ++i)
        std::memcpy(stores[rank]->pointer(command.outputs[i]), results[rank][i].data(), results[rank][i].size());
    return true;
  }

  bool sameGroup(int64_t a, int64_t b, const std::vector<std::string> &axes) {
    for (const exe::Axis &axis : program.grid.axes)
      if (std::find(axes.begin(), axes.end(), axis.name) == axes.end() &&
          program.grid.coordinate(a, {axis.name}) != program.grid.coordinate(b, {axis.name}))
        return false;
    return true;
  }

  const exe::Executable &exe;
  const exe::Program &program;
  const testing_run::RunOptions &options;
  std::string &error;
  int64_t ranks;
  std::vector<std::unique_ptr<RankStore>> stores;
  std::map<int64_t, const exe::Command *> pending;
};
} // namespace

std::vector<std::vector<Bytes>> testing_run::run(const exe::Executable &exe, const exe::Program &program,
                                                 const std::vector<std::vector<Bytes>> &inputs,
                                                 const RunOptions &options, std::string &error) {
  return Runner(exe, program, options, error).run(inputs);
}
