//===- EqualityMachine.cpp - runs programs on views -----------------------===//
#include "EqualityMachine.h"
#include <algorithm>

using namespace comm::exe;

namespace comm::proof {

std::string named(const Command &c, size_t number) {
  const std::string &collective = collectiveOf(c);
  std::string text = "command " + std::to_string(number) + " " + (collective.empty() ? c.op : collective);
  if (auto it = c.attrs.find("symbol"); it != c.attrs.end())
    if (const auto *symbol = std::get_if<std::string>(&it->second))
      text += " " + symbol->substr(0, 80);
  return c.label.empty() ? text : text + " ('" + c.label.substr(0, 80) + "')";
}

void Machine::run() {
  for (bool moved = true; moved;) {
    moved = false;
    for (int64_t rank = 0; rank < state.ranks(); ++rank)
      moved |= step(rank);
  }
  for (int64_t rank = 0; rank < state.ranks(); ++rank)
    operations = std::max(operations, at(rank).operations);
}

int64_t Machine::stuckAt(int64_t rank) const {
  size_t next = ranks[static_cast<size_t>(rank)].next;
  return next < state.program(rank).commands.size() ? static_cast<int64_t>(next) : -1;
}

/// One command; false when the rank has to wait, or is done.
bool Machine::step(int64_t rank) {
  Rank &r = at(rank);
  if (r.blocks) {
    if (!r.blocks->isDone)
      return false;
    finish(rank, *r.blocks);
    r.blocks.reset();
    ++r.next;
    return true;
  }
  if (r.next == state.program(rank).commands.size())
    return false;
  const Command &c = state.program(rank).commands[r.next];
  if (c.op == "wait") {
    auto it = r.calls.find(intOf(c.attrs, "token"));
    if (it != r.calls.end()) {
      if (!it->second->isDone)
        return false;
      finish(rank, *it->second);
      r.calls.erase(it);
    }
  } else if (++r.operations; !collectiveOf(c).empty()) {
    issue(rank, c);
    return true;
  } else {
    compute(rank, c);
  }
  ++r.next;
  return true;
}

/// Results without a rule are tensors of which nothing is known.
void Machine::compute(int64_t rank, const Command &c) {
  terms.setPlace(isReference, static_cast<int32_t>(rank), static_cast<int32_t>(at(rank).next));
  try {
    applyCommand(state, c, rank);
  } catch (const NoRule &why) {
    for (int32_t v : c.outputs)
      state.write(rank, v, unknown(rank, v, why));
  }
}

SharedView Machine::unknown(int64_t rank, int32_t v, const NoRule &why) {
  int64_t size = numElements(state.value(rank, v).shape);
  return std::make_shared<View>(View{size, {{0, {size}, {1}, {{terms.unknown(std::string(why.why)), 0, {1}}}}}});
}

/// Operands are what they are when it starts; the result is there when it ends, and nothing is until then.
void Machine::issue(int64_t rank, const Command &c) {
  Rank &r = at(rank);
  auto call = std::make_shared<Call>();
  call->command = &c;
  terms.setPlace(isReference, static_cast<int32_t>(rank), static_cast<int32_t>(r.next));
  for (int32_t v : c.inputs)
    try {
      call->operands.push_back(state.read(rank, v));
    } catch (const NoRule &why) {
      call->operands.push_back(unknown(rank, v, why));
    }
  if (c.op == "start") {
    for (int32_t v : c.outputs)
      state.write(rank, v, std::make_shared<View>(View{numElements(state.value(rank, v).shape), {}}));
    r.calls[intOf(c.attrs, "token")] = call;
    ++r.next;
  } else {
    r.blocks = call;
  }
  r.queue.push_back(std::move(call));
  meet(rank);
}

std::vector<int32_t> Machine::groupOf(int64_t rank, const Call &call) const {
  return state.grid.members(rank, namesOf(call.command->attrs, "axes"));
}

/// Runs what is first in the queues of all its members; then what was behind it.
void Machine::meet(int64_t rank) {
  if (at(rank).queue.empty())
    return;
  std::vector<int32_t> members = groupOf(rank, *at(rank).queue.front());
  std::vector<std::vector<SharedView>> operands, results;
  for (int32_t m : members) {
    if (at(m).queue.empty() || groupOf(m, *at(m).queue.front()) != members)
      return;
    operands.push_back(at(m).queue.front()->operands);
  }
  const Command &c = *at(members[0]).queue.front()->command;
  terms.setPlace(isReference, members[0], static_cast<int32_t>(&c - state.program(members[0]).commands.data()));
  try {
    results = applyCollective(state, members[0], c, operands);
  } catch (const NoRule &why) {
    results.assign(members.size(), {});
    for (size_t m = 0; m < members.size(); ++m)
      for (int32_t v : at(members[m]).queue.front()->command->outputs)
        results[m].push_back(unknown(members[m], v, why));
  }
  for (size_t m = 0; m < members.size(); ++m) {
    Call &call = *at(members[m]).queue.front();
    call.results = std::move(results[m]);
    call.isDone = true;
    at(members[m]).queue.pop_front();
  }
  for (int32_t m : members)
    meet(m);
}

void Machine::finish(int64_t rank, const Call &call) {
  for (size_t i = 0; i < call.command->outputs.size() && i < call.results.size(); ++i)
    state.write(rank, call.command->outputs[i], call.results[i]);
}

} // namespace comm::proof
