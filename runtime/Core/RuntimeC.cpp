//===- RuntimeC.cpp - the C interface, comm-c/runtime.h -------------------===//
// Every function catches what C++ throws and keeps the sentence for comm_last_error().
//===----------------------------------------------------------------------===//
#include "comm-c/runtime.h"
#include "runtime/Core/Session.h"
#include "runtime/Core/UserList.h"
#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>

using namespace comm;
using namespace comm::rt;

static_assert(static_cast<int>(Code::Internal) == COMM_INTERNAL && static_cast<int>(Code::Timeout) == COMM_TIMEOUT,
              "same order");
static_assert(static_cast<int>(exe::DType::Bool) == COMM_BOOL, "same numbers");

struct comm_executable {
  std::shared_ptr<const LoadedExecutable> loaded;
};
struct comm_session {
  std::unique_ptr<Session> session;
};

namespace {
thread_local std::string lastError;

comm_status report(const Status &s) {
  if (!s)
    lastError = s.text.empty() ? "internal error without a text" : s.text;
  return static_cast<comm_status>(s.code);
}

template <class Body> comm_status guarded(Body body) {
  try {
    lastError.clear();
    return report(body());
  } catch (const std::bad_alloc &) {
    return report({Code::OutOfMemory, "out of memory"});
  } catch (const std::exception &e) {
    return report({Code::Internal, std::string("internal error: ") + e.what()});
  } catch (...) {
    return report({Code::Internal, "internal error"});
  }
}

Status missing(const char *what) { return {Code::InvalidArgument, std::string(what) + " is NULL"}; }

const exe::Entry *entryOf(const comm_executable *e, int32_t entry) {
  return e && entry >= 0 && static_cast<size_t>(entry) < e->loaded->exe.entries.size()
             ? &e->loaded->exe.entries[static_cast<size_t>(entry)]
             : nullptr;
}
const std::vector<exe::Port> *portsOf(const comm_executable *e, int32_t entry, int32_t outputs) {
  const exe::Entry *found = entryOf(e, entry);
  return !found ? nullptr : outputs ? &found->split.outputs : &found->split.inputs;
}
/// Ports that a caller sees.
size_t portCount(const comm_executable *e, int32_t entry, int32_t outputs) {
  const exe::Entry *found = entryOf(e, entry);
  return !found ? 0 : outputs ? found->split.outputs.size() : visibleInputs(*found, found->split);
}

/// Reads a struct whose size the caller declares: fields that an older caller does not have keep their defaults.
template <class T> bool readSized(const T *from, T &to) {
  to = {};
  if (!from)
    return true;
  if (from->struct_size < sizeof(size_t) || from->struct_size > 4096)
    return false;
  std::memcpy(&to, from, std::min(from->struct_size, sizeof(T)));
  return true;
}
/// The reverse: a caller gets the fields that it knows.
template <class T> Status writeSized(T &full, T *out) {
  if (out->struct_size < sizeof(size_t) || out->struct_size > 4096)
    return {Code::InvalidArgument, "struct_size is not set"};
  full.struct_size = out->struct_size;
  std::memcpy(static_cast<void *>(out), &full, std::min(out->struct_size, sizeof(full)));
  return Status::ok();
}
} // namespace

extern "C" {

comm_status comm_executable_load(const char *path, comm_executable **out) {
  return guarded([&]() -> Status {
    if (!path || !out)
      return missing(path ? "out" : "path");
    *out = nullptr;
    std::unique_ptr<LoadedExecutable> loaded;
    if (Status s = LoadedExecutable::load(path, loaded); !s)
      return s;
    if (Status s = loaded->checkProof(); !s)
      return s;
    *out = new comm_executable{std::move(loaded)};
    return Status::ok();
  });
}

void comm_executable_free(comm_executable *e) { delete e; }

const char *comm_executable_hash(const comm_executable *e) { return e ? e->loaded->hash.c_str() : ""; }

int32_t comm_executable_entry_count(const comm_executable *e) {
  return e ? static_cast<int32_t>(e->loaded->exe.entries.size()) : 0;
}

const char *comm_executable_entry_name(const comm_executable *e, int32_t entry) {
  const exe::Entry *found = entryOf(e, entry);
  return found ? found->name.c_str() : "";
}

int32_t comm_executable_port_count(const comm_executable *e, int32_t entry, int32_t outputs) {
  return static_cast<int32_t>(portCount(e, entry, outputs));
}

comm_status comm_executable_port(const comm_executable *e, int32_t entry, int32_t outputs, int32_t index,
                                 comm_tensor *out) {
  return guarded([&]() -> Status {
    const auto *ports = portsOf(e, entry, outputs);
    if (!out)
      return missing("out");
    if (!ports || index < 0 || static_cast<size_t>(index) >= portCount(e, entry, outputs))
      return {Code::InvalidArgument, "no such entry, input or output"};
    const exe::Port &p = (*ports)[static_cast<size_t>(index)];
    *out = {p.name.c_str(),
            static_cast<comm_dtype>(p.dtype),
            static_cast<int32_t>(p.shape.size()),
            p.shape.data(),
            nullptr,
            static_cast<size_t>(exe::byteSize(p.dtype, p.shape))};
    return Status::ok();
  });
}

double comm_executable_prediction(const comm_executable *e, const char *name) {
  if (!e || !name)
    return std::nan("");
  auto it = e->loaded->exe.predictions.find(name);
  return it == e->loaded->exe.predictions.end() ? std::nan("") : it->second;
}

int32_t comm_executable_state_count(const comm_executable *e, int32_t entry) {
  const exe::Entry *found = entryOf(e, entry);
  return found ? static_cast<int32_t>(found->states.size()) : 0;
}

comm_status comm_executable_state(const comm_executable *e, int32_t entry, int32_t index, const char **input,
                                  const char **output) {
  return guarded([&]() -> Status {
    const exe::Entry *found = entryOf(e, entry);
    if (!found || index < 0 || static_cast<size_t>(index) >= found->states.size())
      return {Code::InvalidArgument, "no such entry or state"};
    if (!input || !output)
      return missing("input or output");
    *input = found->states[static_cast<size_t>(index)].input.c_str();
    *output = found->states[static_cast<size_t>(index)].output.c_str();
    return Status::ok();
  });
}

int32_t comm_executable_entry_for(const comm_executable *e, const comm_tensor *inputs, int32_t nInputs) {
  int32_t found = -1;
  comm_status status = guarded([&]() -> Status {
    if (!e || nInputs < 0 || (nInputs > 0 && !inputs))
      return missing(e ? "inputs" : "executable");
    found = entryFor(e->loaded->exe, inputs, nInputs);
    return Status::ok();
  });
  return status == COMM_OK ? found : -1;
}

comm_status comm_executable_output_dims(const comm_executable *e, int32_t entry, const comm_tensor *inputs,
                                        int32_t nInputs, int32_t output, int64_t *dims) {
  return guarded([&]() -> Status {
    const exe::Entry *found = entryOf(e, entry);
    if (!found || output < 0 || static_cast<size_t>(output) >= found->split.outputs.size())
      return {Code::InvalidArgument, "no such entry or output"};
    if (nInputs < 0 || (nInputs > 0 && !inputs))
      return missing("inputs");
    CallSizes call;
    if (Status s = readSizes(*found, found->split, inputs, nInputs, call); !s)
      return s;
    if (Status s = checkShapes(*found, call, inputs, nInputs); !s)
      return s;
    exe::Shape shape = shapeIn(call, found->split.outputs[static_cast<size_t>(output)]);
    if (!dims && !shape.empty())
      return missing("dims");
    std::copy(shape.begin(), shape.end(), dims);
    return Status::ok();
  });
}

comm_status comm_session_create(const comm_executable *e, const comm_session_options *options, comm_session **out) {
  return guarded([&]() -> Status {
    if (!e || !out)
      return missing(e ? "out" : "executable");
    *out = nullptr;
    comm_session_options o;
    if (!readSized(options, o))
      return {Code::InvalidArgument, "comm_session_options: struct_size is not set"};
    auto handle = std::make_unique<comm_session>();
    if (Status s = Session::create(e->loaded, o, handle->session); !s)
      return s;
    *out = handle.release();
    return Status::ok();
  });
}

comm_status comm_session_run(comm_session *s, int32_t entry, const comm_tensor *inputs, int32_t nInputs,
                             comm_tensor *outputs, int32_t nOutputs) {
  return guarded(
      [&]() -> Status { return s ? s->session->run(entry, inputs, nInputs, outputs, nOutputs) : missing("session"); });
}

comm_status comm_session_memory(comm_session *s, int32_t entry, int32_t outputs, int32_t index, void **out) {
  return guarded([&]() -> Status {
    return s && out ? s->session->memory(entry, outputs != 0, index, *out) : missing(s ? "out" : "session");
  });
}

comm_status comm_session_keep_state(comm_session *s, comm_state_mode mode) {
  return guarded([&]() -> Status {
    if (!s)
      return missing("session");
    int number; // a C caller may pass any
    static_assert(sizeof(mode) == sizeof(number));
    std::memcpy(&number, &mode, sizeof(number));
    if (number < COMM_STATE_NONE || number > COMM_STATE_LAST)
      return {Code::InvalidArgument, "there is no state mode " + std::to_string(number)};
    s->session->state().setMode(mode);
    return Status::ok();
  });
}

comm_status comm_session_reset_state(comm_session *s) {
  return guarded([&]() -> Status {
    if (!s)
      return missing("session");
    s->session->state().reset();
    return Status::ok();
  });
}

comm_status comm_session_set_state(comm_session *s, const comm_tensor *state) {
  return guarded(
      [&]() -> Status { return s && state ? s->session->state().set(*state) : missing(s ? "state" : "session"); });
}

comm_status comm_session_get_state(comm_session *s, const char *input, comm_tensor *out) {
  return guarded(
      [&]() -> Status { return s && out ? s->session->state().get(input, *out) : missing(s ? "out" : "session"); });
}

comm_status comm_session_stats_get(const comm_session *s, comm_session_stats *out) {
  return guarded([&]() -> Status {
    if (!s || !out)
      return missing(s ? "out" : "session");
    comm_session_stats full = {};
    s->session->stats(full);
    return writeSized(full, out);
  });
}

int32_t comm_session_collective_count(const comm_session *s) {
  return s ? static_cast<int32_t>(s->session->collectives()) : 0;
}

comm_status comm_session_collective(const comm_session *s, int32_t index, comm_collective_stats *out) {
  return guarded([&]() -> Status {
    if (!s || !out)
      return missing(s ? "out" : "session");
    if (index < 0 || static_cast<size_t>(index) >= s->session->collectives())
      return {Code::InvalidArgument, "no such collective in the last run"};
    comm_collective_stats full = {};
    s->session->collective(static_cast<size_t>(index), full);
    return writeSized(full, out);
  });
}

comm_status comm_session_set_overlap(comm_session *s, int32_t overlap) {
  return guarded([&]() -> Status {
    if (!s)
      return missing("session");
    s->session->setOverlap(overlap != 0);
    return Status::ok();
  });
}

const char *comm_session_link(const comm_session *s) { return s ? s->session->link() : ""; }

const char *comm_session_packed_folder(const comm_session *s) { return s ? s->session->packedFolder() : ""; }

const char *comm_session_trace(comm_session *s) {
  const char *text = nullptr;
  comm_status status = guarded([&]() -> Status {
    if (!s)
      return missing("session");
    text = s->session->trace();
    return Status::ok();
  });
  return status == COMM_OK ? text : nullptr;
}

void comm_session_free(comm_session *s) { delete s; }

const char *comm_last_error(void) { return lastError.c_str(); }

const char *comm_runtime_version(void) { return COMM_VERSION; }

comm_status comm_trust_executable(const char *hash) {
  return guarded([&]() -> Status {
    std::string text = hash ? hash : "";
    if (text.size() != 64 || text.find_first_not_of("0123456789abcdef") != std::string::npos)
      return {Code::InvalidArgument, "the hash of an executable is 64 lower-case hexadecimal digits"};
    return trustedExecutables().add(text);
  });
}

} // extern "C"
