//===- Main.cpp - commrun: run a compiled model ---------------------------===//
// stdout: results. stderr: progress and errors. The only door to the runtime is comm-c/runtime.h.
//===----------------------------------------------------------------------===//
#include "Generate.h"
#include "Npz.h"
#include "Program.h"
#include "Report.h"
#include <csignal>
#include <cstdio>
#include <unistd.h>

using namespace commrun;

namespace {
/// Executables and weights are mapped: whoever cuts such a file short takes the memory away under us.
void cutShort(int) {
  static const char text[] = "error[E301]: the executable or a weight file was cut short while it was read\n";
  ssize_t written = ::write(2, text, sizeof text - 1);
  (void)written;
  ::_exit(3);
}

TensorMap readCall(const CallFiles &files) {
  TensorMap out = files.npz.empty() ? TensorMap() : readNpz(files.npz);
  for (const auto &[name, path] : files.arrays)
    out[name] = readNpy(path);
  return out;
}

std::string numbered(const std::string &path, size_t index, size_t count) {
  if (count == 1)
    return path;
  size_t dot = path.rfind('.'), slash = path.rfind('/');
  bool extension = dot != std::string::npos && (slash == std::string::npos || dot > slash);
  std::string stem = extension ? path.substr(0, dot) : path;
  return stem + "_" + std::to_string(index) + (extension ? path.substr(dot) : "");
}

comm_dtype portType(const EntryInfo &entry, const std::string &name) {
  for (const PortInfo &p : entry.outputs)
    if (p.name == name)
      return p.dtype;
  std::string names;
  for (const PortInfo &p : entry.outputs)
    names += (names.empty() ? "'" : ", '") + p.name + "'";
  throw Failure{2, "E203", "the expected results have '" + name + "', the model's outputs are " + names};
}

std::string number(double v) {
  char text[40];
  std::snprintf(text, sizeof(text), "%.3g", v);
  return text;
}

/// Compares all tensors of `expected`; one line for the report, the differences collected.
void compareAll(const std::string &title, const EntryInfo &entry, const TensorMap &got, const TensorMap &expected,
                const Tolerance &tolerance, std::vector<Difference> &found, Report &report) {
  double maxAbs = 0, maxRel = 0;
  size_t bad = 0;
  for (const auto &[name, tensor] : expected) {
    Difference d = compare(name, *got.at(name), *tensor, portType(entry, name), tolerance);
    maxAbs = std::max(maxAbs, d.maxAbs);
    maxRel = std::max(maxRel, d.maxRel);
    bad += !d.ok;
    if (!d.ok)
      d.worst = title + ": " + d.worst;
    found.push_back(std::move(d));
  }
  report.lines.push_back(title + "  " + std::to_string(expected.size()) + " tensors  max abs error " + number(maxAbs) +
                         "  rel " + number(maxRel) + (bad ? "  " + std::to_string(bad) + " differ" : "  ok"));
}

void writeText(const std::string &path, const char *text) {
  std::string temporary = path + ".tmp" + std::to_string(::getpid());
  FILE *file = std::fopen(temporary.c_str(), "wxe");
  bool ok = file && std::fputs(text, file) >= 0;
  ok = file && std::fclose(file) == 0 && ok;
  if (!ok || std::rename(temporary.c_str(), path.c_str()) != 0) {
    ::unlink(temporary.c_str());
    throw Failure{2, "E204", path + ": it cannot be written"};
  }
}

/// All calls in a row; returns the last one. `keep` receives what must live until the end.
Call runCalls(const Options &o, const Executable &exe, Session &session, Session *reference, Report &report) {
  size_t count = std::max<size_t>(o.calls.size(), 1);
  Call call, previous, previousReference;
  TensorMap outputs, referenceOutputs;
  for (size_t i = 0; i < count; ++i) {
    bool chained = o.chain && i > 0;
    TensorMap given = o.calls.empty() ? TensorMap() : readCall(o.calls[i]);
    Call referenceCall;
    if (o.calls.empty()) {
      int32_t entry = 0;
      for (size_t e = 0; !o.entry.empty() && e < exe.entries.size(); ++e)
        if (exe.entries[e].name == o.entry)
          entry = static_cast<int32_t>(e);
      if (!o.entry.empty() && exe.entries[static_cast<size_t>(entry)].name != o.entry)
        throw Failure{2, "E203", "the executable has no entry '" + o.entry + "'"};
      call = referenceCall = randomCall(exe, entry, o.seed);
    } else {
      call = makeCall(exe, given, chained ? &previous : nullptr, chained ? &outputs : nullptr);
      if (reference) // its states come from its own calls: nothing of the split program leaks in
        referenceCall =
            makeCall(exe, given, chained ? &previousReference : nullptr, chained ? &referenceOutputs : nullptr);
    }
    const EntryInfo &entry = exe.entries[static_cast<size_t>(call.entry)];
    std::string title = count == 1 ? "" : "call " + std::to_string(i) + " ";
    outputs = session.run(call);
    if (!o.saveOutputs.empty())
      writeNpz(numbered(o.saveOutputs, i, count), outputs);
    if (!o.expect.empty()) {
      TensorMap expected = readNpz(o.expect[i].path);
      if (expected.empty())
        throw Failure{2, "E202", o.expect[i].path + ": it holds no array"};
      for (const auto &[name, tensor] : expected)
        portType(entry, name);
      compareAll(title + "expect", entry, outputs, expected, o.expect[i].tolerance, report.expected, report);
    }
    if (reference) {
      referenceOutputs = reference->run(referenceCall);
      compareAll(title + "verify", entry, outputs, referenceOutputs, *o.verify, report.verified, report);
    }
    comm_session_stats s = session.stats();
    report.lines.push_back(title + "entry " + entry.name + "  " + std::to_string(s.ranks) +
                           (s.ranks == 1 ? " rank  " : " ranks  ") + number(s.last_ms) + " ms  collectives " +
                           std::to_string(s.collectives_executed) + "/" + std::to_string(s.collectives_planned) +
                           "  sent " + std::to_string(s.bytes_sent_per_rank) + " bytes per rank" +
                           (o.link.empty() ? "" : "  link " + session.link()));
    previous = call;
    previousReference = referenceCall;
  }
  return call;
}

/// Where the packed weights came from, and what of the disk they take.
void tellOfPackedWeights(const Options &o, const Session &session) {
  comm_session_stats s = session.stats();
  auto mb = [](int64_t bytes) {
    char text[40];
    std::snprintf(text, sizeof(text), "%.1f MB", static_cast<double>(bytes) / 1e6);
    return std::string(text);
  };
  std::string folder = session.packedFolder();
  constexpr int64_t worthTelling = 64 << 20;
  if (o.verbose && !o.quiet)
    std::fprintf(stderr, "weights %s per rank, %s of them shared by ranks; packed %s%s\n", mb(s.weight_bytes).c_str(),
                 mb(s.weight_bytes_shared).c_str(), mb(s.weight_bytes_packed).c_str(),
                 folder.empty() ? ", kept nowhere"
                                : (", read " + mb(s.weight_bytes_read) + " from and written " +
                                   mb(s.weight_bytes_kept) + " to " + folder)
                                      .c_str());
  else if (s.weight_bytes_kept >= worthTelling && !o.quiet)
    std::fprintf(stderr, "note: %s of packed weights are kept in %s for the next start (--packed-cache=off: not)\n",
                 mb(s.weight_bytes_kept).c_str(), folder.c_str());
}

int run(Options o) {
  if (o.generate)
    return generate(o);
  Executable exe(o.executable);
  if (o.verbose)
    std::fprintf(stderr, "executable %s  hash %s\n", o.executable.c_str(), comm_executable_hash(exe.handle));
  Report report;
  {
    Session session(exe, o, false);
    if (session.stats().rank != 0) { // the first rank speaks for all
      o.quiet = true;
      o.json = false;
      o.verify.reset();
      o.expect.clear();
      o.saveOutputs.clear();
    }
    if (comm_session_stats s = session.stats(); s.interpreted > 0 && o.native == COMM_NATIVE_TRUSTED && !o.quiet)
      std::fprintf(stderr,
                   "note: the native code of %s is not trusted here or not for this CPU: its %lld kernels are "
                   "interpreted (compile it here, or --trust-native)\n",
                   o.executable.c_str(), static_cast<long long>(s.kernels));
    tellOfPackedWeights(o, session);
    std::unique_ptr<Session> reference;
    if (o.verify)
      reference = std::make_unique<Session>(exe, o, true);
    Call last = runCalls(o, exe, session, reference.get(), report);
    reference.reset(); // its weights would only be in the way
    if (o.bench) {
      report.bench = bench(exe, session, last, o);
      report.benched = true;
    }
    report.stats = session.stats();
    report.link = session.link();
    report.each = report.benched ? report.bench.each : session.collectives();
    if (!o.trace.empty() && report.stats.rank == 0) {
      const char *text = session.trace();
      if (!text)
        throw Failure{1, "E101", "the runtime recorded no trace"};
      writeText(o.trace, text);
      report.lines.push_back("trace  " + o.trace);
    }
  }
  if (!o.saveOutputs.empty())
    report.lines.push_back("saved  " + o.saveOutputs);
  if (o.json)
    std::printf("%s\n", jsonText(report).c_str());
  else if (!o.quiet) {
    for (const std::string &line : report.lines)
      std::printf("%s\n", line.c_str());
    if (report.benched)
      std::printf("%s", benchText(report.bench, o).c_str());
  }
  std::string worst;
  for (const auto *list : {&report.expected, &report.verified})
    for (const Difference &d : *list)
      if (!d.ok)
        worst += (worst.empty() ? "" : "\n  ") + d.worst;
  if (!worst.empty())
    throw Failure{7, "E701", worst};
  return 0;
}

void printFailure(const Failure &f) {
  std::fflush(stdout);
  std::fprintf(stderr, "error[%s]: %s\n", f.code, f.text.c_str());
  if (!f.advice.empty())
    std::fprintf(stderr, "  try: %s\n", f.advice.c_str());
}
} // namespace

int main(int argc, char **argv) {
  std::signal(SIGINT, [](int) { ::_exit(130); }); // ranks die with their parent
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGBUS, cutShort);
  try {
    Options options;
    int done = parseOptions(argc, argv, options);
    return done >= 0 ? done : run(options);
  } catch (const Failure &f) {
    printFailure(f);
    return f.exit;
  } catch (const std::bad_alloc &) {
    printFailure({5, "E501", "out of memory"});
    return 5;
  } catch (const std::exception &e) {
    printFailure({1, "E101", std::string("internal error: ") + e.what()});
    return 1;
  }
}
