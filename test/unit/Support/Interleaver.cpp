//===- Interleaver.cpp - runs programs in any legal order (tests) ---------===//
#include "Interleaver.h"
#include <algorithm>
#include <cmath>
#include <cstring>

using namespace comm;

namespace testing_run {

Interleaver::Interleaver(const exe::Executable &executable, const std::vector<const exe::Program *> &programs,
                         const rt::NativeCode *native) {
  static const std::string nowhere;
  for (size_t r = 0; r < programs.size(); ++r) {
    Rank rank;
    rank.program = programs[r];
    rank.store = std::make_unique<RankStore>(executable, *programs[r], static_cast<int64_t>(r), nowhere, native);
    if (error.empty())
      error = rank.store->error;
    ranks.push_back(std::move(rank));
  }
}

std::vector<int32_t> Interleaver::groupOf(size_t rank, size_t command) const {
  const exe::Command &c = ranks[rank].program->commands[command];
  const auto *axes = std::get_if<std::vector<std::string>>(&c.attrs.at("axes"));
  return ranks[rank].program->grid.members(static_cast<int64_t>(rank), axes ? *axes : std::vector<std::string>());
}

bool Interleaver::canStep(const Rank &rank) const {
  if (rank.next == rank.program->commands.size())
    return false;
  // A synchronous collective blocks the command behind it; a wait blocks until its collective is done.
  if (rank.next > 0) {
    const exe::Command &last = rank.program->commands[rank.next - 1];
    if (exe::isCollective(last.op) && !rank.done[rank.next - 1])
      return false;
  }
  const exe::Command &c = rank.program->commands[rank.next];
  return c.op != "wait" || rank.done[rank.tokens.at(std::get<int64_t>(c.attrs.at("token")))];
}

bool Interleaver::canBegin(size_t r) const {
  const Rank &rank = ranks[r];
  if (rank.queue.empty() || rank.begun[rank.queue.front()])
    return false;
  size_t command = rank.queue.front();
  std::vector<int32_t> group = groupOf(r, command);
  for (int32_t m : group) {
    const Rank &other = ranks[static_cast<size_t>(m)];
    if (other.queue.empty() || other.begun[other.queue.front()])
      return false;
    size_t theirs = other.queue.front();
    if (other.program->commands[theirs].attrs.at("plan_id") != rank.program->commands[command].attrs.at("plan_id") ||
        groupOf(static_cast<size_t>(m), theirs) != group)
      return false;
  }
  return group.front() == static_cast<int32_t>(r); // once per group
}

void Interleaver::addActions(std::vector<Action> &actions) const {
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (canStep(ranks[r]))
      actions.push_back({Action::Step, r, 0});
    if (canBegin(r))
      actions.push_back({Action::Begin, r, 0});
  }
  for (size_t n = 0; n < meetings.size(); ++n)
    for (size_t m = 0; m < meetings[n].members.size(); ++m) {
      if (meetings[n].operands[m].empty())
        actions.push_back({Action::Read, m, n});
      if (!meetings[n].finished[m])
        actions.push_back({Action::Finish, m, n});
    }
}

bool Interleaver::step(Rank &rank) {
  size_t i = rank.next++;
  const exe::Command &c = rank.program->commands[i];
  if (c.op == "wait")
    return true;
  if (exe::collectiveOf(c).empty()) {
    bool ok = rank.store->compute(i, error);
    refused |= rank.store->refused;
    return ok;
  }
  rank.queue.push_back(i);
  if (c.op == "start")
    rank.tokens[std::get<int64_t>(c.attrs.at("token"))] = i;
  return true;
}

void Interleaver::begin(size_t r, std::mt19937_64 &random) {
  Meeting meeting;
  meeting.members = groupOf(r, ranks[r].queue.front());
  size_t members = meeting.members.size();
  meeting.operands.resize(members);
  meeting.finished.assign(members, 0);
  for (int32_t m : meeting.members)
    meeting.commands.push_back(ranks[static_cast<size_t>(m)].queue.front());
  for (size_t m = 0; m < members; ++m) {
    Rank &rank = ranks[static_cast<size_t>(meeting.members[m])];
    const exe::Command &c = rank.program->commands[meeting.commands[m]];
    rank.begun[meeting.commands[m]] = 1;
    if (random() % 2)
      read(meeting, m);
    const uint8_t *in = rank.store->pointer(c.inputs[0]);
    int64_t inBytes = rank.store->bytes(c.inputs[0]);
    for (int32_t output : c.outputs) {
      uint8_t *out = rank.store->pointer(output);
      int64_t outBytes = rank.store->bytes(output);
      bool overlap = in < out + outBytes && out < in + inBytes;
      if (random() % 2 && (!overlap || !meeting.operands[m].empty()))
        std::memset(out, 0xFF, static_cast<size_t>(outBytes));
    }
  }
  meetings.push_back(std::move(meeting));
}

void Interleaver::read(Meeting &meeting, size_t member) {
  Rank &rank = ranks[static_cast<size_t>(meeting.members[member])];
  for (int32_t operand : rank.program->commands[meeting.commands[member]].inputs) {
    const uint8_t *from = rank.store->pointer(operand);
    meeting.operands[member].emplace_back(from, from + rank.store->bytes(operand));
  }
}

bool Interleaver::finish(Meeting &meeting, size_t member) {
  std::vector<std::vector<const uint8_t *>> operands;
  for (size_t m = 0; m < meeting.members.size(); ++m) {
    if (meeting.operands[m].empty())
      read(meeting, m);
    operands.emplace_back();
    for (const Bytes &operand : meeting.operands[m])
      operands.back().push_back(operand.data());
  }
  Rank &rank = ranks[static_cast<size_t>(meeting.members[member])];
  const exe::Command &c = rank.program->commands[meeting.commands[member]];
  std::vector<Bytes> results;
  if (!collectiveResults(*rank.program, c, operands, static_cast<int64_t>(member), results, error))
    return false;
  for (size_t i = 0; i < c.outputs.size(); ++i)
    std::memcpy(rank.store->pointer(c.outputs[i]), results[i].data(), results[i].size());
  rank.done[meeting.commands[member]] = 1;
  meeting.finished[member] = 1;
  rank.queue.pop_front();
  return true;
}

bool Interleaver::run(const std::vector<std::vector<Bytes>> &inputs, std::mt19937_64 &random,
                      std::vector<std::vector<Bytes>> &outputs) {
  error.clear();
  meetings.clear();
  // Ranks and kinds of actions of very different speed, other ones in each run.
  auto weight = [&] { return std::exp(static_cast<double>(random() % 1000) / 125.0); };
  std::vector<double> stepWeight;
  for (size_t r = 0; r < ranks.size(); ++r) {
    Rank &rank = ranks[r];
    rank.store->reset(inputs[r]);
    rank.next = 0;
    rank.queue.clear();
    rank.tokens.clear();
    rank.done.assign(rank.program->commands.size(), 0);
    rank.begun.assign(rank.program->commands.size(), 0);
    stepWeight.push_back(weight());
  }
  double kindWeight[] = {0, weight(), weight(), weight()};
  std::vector<Action> actions;
  std::vector<double> weights;
  for (;;) {
    // Meetings that are over need no more looks.
    meetings.erase(std::remove_if(meetings.begin(), meetings.end(),
                                  [](const Meeting &m) {
                                    return std::all_of(m.finished.begin(), m.finished.end(), [](char f) { return f; });
                                  }),
                   meetings.end());
    actions.clear();
    addActions(actions);
    if (actions.empty())
      break;
    weights.clear();
    for (const Action &a : actions)
      weights.push_back(a.kind == Action::Step ? stepWeight[a.rank] : kindWeight[a.kind]);
    const Action &a = actions[std::discrete_distribution<size_t>(weights.begin(), weights.end())(random)];
    bool ok = true;
    if (a.kind == Action::Step)
      ok = step(ranks[a.rank]);
    else if (a.kind == Action::Begin)
      begin(a.rank, random);
    else if (a.kind == Action::Read)
      read(meetings[a.meeting], a.rank);
    else
      ok = finish(meetings[a.meeting], a.rank);
    if (!ok)
      return false;
  }
  outputs.clear();
  for (size_t r = 0; r < ranks.size(); ++r) {
    if (ranks[r].next < ranks[r].program->commands.size() || !ranks[r].queue.empty()) {
      error = "rank " + std::to_string(r) + " cannot go on at command " + std::to_string(ranks[r].next);
      return false;
    }
    outputs.push_back(ranks[r].store->outputs());
  }
  return true;
}

std::vector<std::vector<Bytes>> smallInputs(const exe::Program &program, uint64_t seed) {
  std::vector<std::vector<Bytes>> inputs;
  for (int64_t rank = 0; rank < program.grid.ranks(); ++rank) {
    inputs.emplace_back();
    for (size_t i = 0; i < program.inputs.size(); ++i) {
      const exe::Port &port = program.inputs[i];
      int64_t part = 0; // ranks with the same part get the same bytes
      for (const exe::Split &split : port.layout.dims)
        part = part * 64 + std::max<int64_t>(program.grid.coordinate(rank, split.axes), 0);
      std::mt19937_64 random(seed + 1000 * i + 1000000 * static_cast<uint64_t>(part));
      int64_t count = exe::numElements(exe::localShape(port.shape, port.layout, program.grid)),
              width = exe::byteWidth(port.dtype);
      Bytes bytes(static_cast<size_t>(count * width), 0);
      for (int64_t k = 0; k < count; ++k)
        if (port.dtype == exe::DType::F32) {
          auto v = static_cast<float>(static_cast<int64_t>(random() % 9) - 4);
          std::memcpy(&bytes[static_cast<size_t>(k * width)], &v, sizeof(v));
        } else if (port.dtype != exe::DType::F16 && port.dtype != exe::DType::BF16 && port.dtype != exe::DType::F64) {
          bytes[static_cast<size_t>(k * width)] = static_cast<uint8_t>(random() % 2); // little-endian 0 or 1
        }
      inputs.back().push_back(std::move(bytes));
    }
  }
  return inputs;
}

} // namespace testing_run
