//===- Trace.cpp - what ran when, as a Chrome trace -----------------------===//
#include "runtime/Core/Trace.h"
#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <ctime>
#include <nlohmann/json.hpp>

namespace comm::rt {
namespace {
std::string quoted(const std::string &text) {
  using Json = nlohmann::json;
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace); // names come from models
}

/// Appends JSON objects separated by commas.
class EventList {
public:
  explicit EventList(int64_t origin) : origin(origin) {}

  void meta(size_t pid, int tid, const char *what, const std::string &name) {
    open();
    text += "\"ph\":\"M\",\"pid\":" + std::to_string(pid) + ",\"tid\":" + std::to_string(tid) + ",\"name\":\"" + what +
            "\",\"args\":{\"name\":" + quoted(name) + "}}";
  }
  void complete(size_t pid, int tid, const std::string &name, const char *category, int64_t begin, int64_t end,
                const std::string &args, const char *colour = nullptr) {
    open();
    text += "\"ph\":\"X\",\"pid\":" + std::to_string(pid) + ",\"tid\":" + std::to_string(tid) +
            ",\"name\":" + quoted(name) + ",\"cat\":\"" + category + "\",\"ts\":" + us(begin - origin) +
            ",\"dur\":" + us(std::max<int64_t>(end - begin, 0)) +
            (colour ? std::string(",\"cname\":\"") + colour + "\"" : "") + ",\"args\":{" + args + "}}";
  }
  void flow(const char *phase, size_t pid, int tid, int64_t id, int64_t at) {
    open();
    text += std::string("\"ph\":\"") + phase + "\",\"pid\":" + std::to_string(pid) + ",\"tid\":" + std::to_string(tid) +
            ",\"name\":\"collective\",\"cat\":\"flow\",\"id\":" + std::to_string(id) + ",\"ts\":" + us(at - origin) +
            (*phase == 'f' ? ",\"bp\":\"e\"}" : "}");
  }
  std::string text;

private:
  void open() { text += text.empty() ? "{" : ",\n{"; }
  static std::string us(int64_t ns) {
    char out[40];
    std::snprintf(out, sizeof(out), "%" PRId64 ".%03d", ns / 1000, static_cast<int>(ns % 1000));
    return out;
  }
  int64_t origin;
};

std::string bytesOf(const exe::Program &program, const exe::Command &c) {
  if (c.inputs.empty() || c.outputs.empty())
    return "";
  const exe::Value &in = program.values[c.inputs[0]], &out = program.values[c.outputs[0]];
  return "\"bytes\":" +
         std::to_string(std::max(exe::byteSize(in.dtype, in.shape), exe::byteSize(out.dtype, out.shape)));
}
} // namespace

int64_t traceNowNs() {
  timespec t;
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return int64_t(t.tv_sec) * 1000000000 + t.tv_nsec;
}

std::string chromeTrace(const exe::Program &program, const std::string &title,
                        const std::vector<std::vector<TraceEvent>> &ranks) {
  int64_t origin = INT64_MAX;
  for (const auto &events : ranks)
    for (const TraceEvent &e : events)
      origin = std::min({origin, e.beginNs, e.kind == TraceKind::Collective && e.startNs ? e.startNs : e.beginNs});
  EventList list(origin);
  for (size_t rank = 0; rank < ranks.size(); ++rank) {
    if (ranks[rank].empty())
      continue; // nothing is known of it
    list.meta(rank, 0, "process_name", "rank " + std::to_string(rank));
    list.meta(rank, 0, "thread_name", "compute");
    list.meta(rank, 1, "thread_name", "communication");
    for (const TraceEvent &e : ranks[rank]) {
      const exe::Command &c = program.commands[static_cast<size_t>(e.command)];
      const std::string &collective = exe::collectiveOf(c);
      std::string name = collective.empty() ? c.op : collective;
      if (auto it = c.attrs.find("symbol"); it != c.attrs.end() && std::holds_alternative<std::string>(it->second))
        name = std::get<std::string>(it->second);
      std::string args =
          "\"command\":" + std::to_string(e.command) + (c.label.empty() ? "" : ",\"label\":" + quoted(c.label));
      // Unique over ranks and commands; both ends of an arrow have the same.
      int64_t id = static_cast<int64_t>(rank) * static_cast<int64_t>(program.commands.size()) + e.command;
      if (e.kind == TraceKind::Compute)
        list.complete(rank, 0, name, "compute", e.beginNs, e.endNs,
                      args + (e.chain < 0 ? "" : ",\"chain\":" + std::to_string(e.chain)));
      else if (e.kind == TraceKind::Wait) {
        // What came before all members were there is no matter of the link.
        int64_t met = std::clamp(e.metNs ? e.metNs : e.beginNs, e.beginNs, e.endNs);
        if (met > e.beginNs)
          list.complete(rank, 0, "await ranks for " + name, "late", e.beginNs, met, args, "grey");
        list.complete(rank, 0, "wait " + name, "exposed", met, e.endNs, args, "terrible");
        list.flow("f", rank, 0, id, e.endNs);
      } else {
        int64_t met = std::clamp(e.metNs ? e.metNs : e.beginNs, e.beginNs, e.endNs);
        if (met > e.beginNs)
          list.complete(rank, 1, "await ranks for " + name, "late", e.beginNs, met, args, "grey");
        list.complete(rank, 1, name, "communication", met, e.endNs, args + "," + bytesOf(program, c));
        list.flow("s", rank, 0, id, e.startNs ? e.startNs : e.beginNs);
        list.flow("t", rank, 1, id, e.beginNs);
      }
    }
  }
  return "{\"displayTimeUnit\":\"ms\",\"otherData\":{\"program\":" + quoted(title) + "},\"traceEvents\":[\n" +
         list.text + "\n]}\n";
}

} // namespace comm::rt
