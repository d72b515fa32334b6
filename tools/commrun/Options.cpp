//===- Options.cpp - the command line of commrun --------------------------===//
#include "Options.h"
#include "GenerateFlags.h"
#include "Tensor.h"
#include <algorithm>
#include <cstdio>

namespace commrun {
namespace {

size_t editDistance(const std::string &a, const std::string &b) {
  std::vector<size_t> row(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j)
    row[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    size_t diagonal = row[0];
    row[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      size_t above = row[j];
      row[j] = std::min({row[j] + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string nearestFlag(const CLI::App &app, const std::string &given) {
  std::string name = given.substr(0, given.find('=')), best;
  size_t bestDistance = name.size() / 2 + 1;
  for (const CLI::Option *option : app.get_options())
    for (const std::string &longName : option->get_lnames())
      if (size_t d = editDistance(name, "--" + longName); d < bestDistance) {
        bestDistance = d;
        best = "--" + longName;
      }
  return best;
}

bool parseNumber(const std::string &text, double &out) {
  char *end = nullptr;
  out = std::strtod(text.c_str(), &end);
  return !text.empty() && *end == '\0' && out >= 0;
}

[[noreturn]] void usage(const std::string &text, const std::string &advice = "") {
  throw Failure{2, "E201", text, advice};
}

/// "0.01", "0.01,1e-3" -> rtol, atol.
Tolerance parseTolerance(const std::string &text, const std::string &flag) {
  Tolerance t;
  double v;
  if (text.empty())
    return t;
  size_t comma = text.find(',');
  if (!parseNumber(text.substr(0, comma), v))
    usage(flag + ": '" + text + "' is not rtol[,atol]", flag + "=1e-4,1e-6");
  t.rtol = v;
  if (comma == std::string::npos)
    return t;
  if (!parseNumber(text.substr(comma + 1), v))
    usage(flag + ": '" + text + "' is not rtol[,atol]", flag + "=1e-4,1e-6");
  t.atol = v;
  return t;
}

/// "@outputs.npz[,rtol[,atol]]"; a file name may hold commas, so numbers are taken from the end.
ExpectFile parseExpect(std::string text) {
  if (text.empty() || text[0] != '@')
    usage("--expect: '" + text + "' does not begin with @", "--expect @outputs.npz");
  text.erase(0, 1);
  std::string tail;
  double v;
  for (int i = 0; i < 2; ++i) {
    size_t comma = text.rfind(',');
    if (comma == std::string::npos || !parseNumber(text.substr(comma + 1), v))
      break;
    tail = text.substr(comma + 1) + (tail.empty() ? "" : "," + tail);
    text.resize(comma);
  }
  return {text, parseTolerance(tail, "--expect")};
}

void addInput(Options &options, const std::string &text) {
  size_t at = text.find("=@");
  if (!text.empty() && text[0] == '@') {
    if (!options.calls.empty() && options.calls.back().npz.empty())
      options.calls.back().npz = text.substr(1); // arrays given before it belong to the first call
    else
      options.calls.push_back({text.substr(1), {}});
  } else if (at != std::string::npos && at > 0) {
    if (options.calls.empty())
      options.calls.emplace_back();
    options.calls.back().arrays.emplace_back(text.substr(0, at), text.substr(at + 2));
  } else
    usage("--input: '" + text + "' is neither @file.npz nor name=@file.npy", "--input @inputs.npz");
}
} // namespace

int parseOptions(int argc, char **argv, Options &o) {
  CLI::App app{"Runs a model that commc compiled.", "commrun"};
  app.get_formatter()->column_width(34);
  app.option_defaults()->always_capture_default();
  std::vector<std::string> inputs, expects;
  std::string verify, ranksAs = "processes", transport = "shm", native = "auto", pin = "auto", keepState = "off";
  app.set_version_flag("--version", std::string("commrun ") + comm_runtime_version(), "print the version and exit");
  app.add_option("executable", o.executable, "the .commx file")->required()->type_name("FILE");

  app.add_option("--input", inputs,
                 "arrays of one call: @all.npz, or name=@one.npy added to it; give it again for calls in a row")
      ->type_name("@FILE")
      ->allow_extra_args(false)
      ->group("Data");
  app.add_flag("!--no-chain", o.chain, "take cache inputs of later calls from their files, not from the call before")
      ->group("Data");
  app.add_flag("--chain",
               "cache inputs of later calls are the cache outputs of the call before, where shapes agree (default)")
      ->excludes("--no-chain")
      ->group("Data");
  app.add_option("--random-seed", o.seed, "seed of the inputs that are made up when no --input is given")
      ->type_name("N")
      ->group("Data");
  app.add_option("--entry", o.entry, "entry for made-up inputs; else the input shapes choose")
      ->type_name("NAME")
      ->group("Data");
  app.add_option("--save-outputs", o.saveOutputs,
                 "write the outputs; with several calls out.npz becomes out_0.npz, out_1.npz, ...")
      ->type_name("FILE")
      ->group("Data");

  app.add_option("--expect", expects, "compare with @outputs.npz[,rtol[,atol]]; once per call; exit 7 when they differ")
      ->type_name("@FILE")
      ->allow_extra_args(false)
      ->group("Checks");
  auto *verifyOption =
      app.add_option("--verify", verify, "compare with the unsplit model: --verify or --verify=rtol[,atol]")
          ->type_name("TOLERANCE")
          ->expected(0, 1)
          ->group("Checks");

  app.add_flag("--bench", o.bench, "time the last call; prints a summary")->group("Measuring");
  app.add_option("--iterations", o.iterations, "timed runs")
      ->check(CLI::Range(1, 100000000))
      ->type_name("N")
      ->group("Measuring");
  app.add_option("--warmup", o.warmupMs, "untimed runs before them, in milliseconds")
      ->check(CLI::NonNegativeNumber)
      ->type_name("MS")
      ->group("Measuring");
  app.add_option("--keep-state", keepState,
                 "with --bench: the session carries the caches from run to run; of positions that do not fit, it drops "
                 "the last (first) or the first ones (last); off: every run gets them anew")
      ->check(CLI::IsMember({"off", "exact", "first", "last"}))
      ->group("Measuring");
  app.add_option("--trace", o.trace, "write a Chrome trace of the last run (open it in Perfetto)")
      ->type_name("FILE")
      ->group("Measuring");
  app.add_flag("--json", o.json, "print the facts as one JSON object")->group("Measuring");

  GenerateFlags generation(app);

  app.add_option("--timeout", o.timeoutS, "seconds that a rank waits for another one")
      ->check(CLI::PositiveNumber)
      ->type_name("S")
      ->group("Running");
  app.add_option("--threads", o.threads, "compute threads per rank")
      ->check(CLI::Range(1, 1024))
      ->type_name("N")
      ->group("Running");
  app.add_option("--ranks-as", ranksAs, "what a rank is")
      ->check(CLI::IsMember({"processes", "threads"}))
      ->group("Running");
  app.add_option("--transport", transport,
                 "shm: this process starts the ranks on this machine; mpi: mpirun starts a commrun per rank")
      ->check(CLI::IsMember({"shm", "mpi"}))
      ->group("Running");
  app.add_option("--link", o.link, "emulate a link between the ranks: rate per direction and latency, as in 1Gbit,50us")
      ->type_name("RATE,LATENCY")
      ->group("Running");
  app.add_option("--packed-cache", o.packedCache,
                 "where packed weights are kept for the next start: beside (in <executable>.packed), off, or a folder")
      ->type_name("PLACE")
      ->group("Running");
  app.add_flag("--trust-native", o.trustNative, "run the native code of an executable that was compiled elsewhere")
      ->group("Running");
  app.add_option(
         "--native", native,
         "auto: kernels run as native code where it is trusted and made for this CPU, else they are interpreted; "
         "require: they do not run otherwise; never: always interpreted")
      ->check(CLI::IsMember({"auto", "require", "never"}))
      ->group("Running");
  app.add_option(
         "--pin", pin,
         "compute threads on CPUs of their own; auto: when they take more than half of the CPUs, and none twice")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->group("Running");
  app.add_flag("-q,--quiet", o.quiet, "errors only")->group("Output");
  app.add_flag("-v,--verbose", o.verbose, "say more; repeatable")->group("Output");
  app.footer("Examples:\n"
             "  commrun m.commx --input @inputs.npz --save-outputs out.npz\n"
             "  commrun m.commx --input input_ids=@ids.npy --input mask=@mask.npy --verify\n"
             "  commrun m.commx --input @prefill.npz --input @decode.npz --expect @p.npz --expect @d.npz,1e-4,1e-6\n"
             "  commrun m.commx --bench --iterations=100 --warmup=500 --json\n"
             "  commrun m.commx --input @decode.npz --bench --keep-state=last\n"
             "  commrun m.commx --input @inputs.npz --trace t.json --ranks-as=threads --threads=2\n"
             "  commrun m.commx --bench -v --link 1Gbit,50us\n"
             "  mpirun -n 2 commrun m.commx --transport=mpi --input @inputs.npz\n"
             "  commrun m.commx --generate --prompt 'Once upon a time' --tokenizer folder --max-tokens 50\n"
             "  commrun m.commx --generate --prompt-ids 1,15,7 --temperature 0.8 --top-p 0.95 --seed 3\n"
             "  commrun m.commx --random-seed=7 --entry=main --timeout=10 --trust-native\n"
             "Exit codes: 0 ok, 1 internal, 2 usage, 3 bad or untrusted executable, 4 unsupported, 5 does not fit,\n"
             "  6 device missing, 7 results differ, 8 a rank died or timed out, 130 interrupted.");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &e) {
    return app.exit(e);
  } catch (const CLI::ExtrasError &) {
    std::vector<std::string> unknown = app.remaining();
    std::string flag = unknown.empty() ? "" : unknown.front(), nearest = nearestFlag(app, flag);
    usage(flag.rfind("-", 0) == 0 ? "unknown flag '" + flag + "'" : "unexpected argument '" + flag + "'",
          nearest.empty() ? "commrun --help" : "did you mean " + nearest + "?");
  } catch (const CLI::ParseError &e) {
    usage(e.what(), "commrun --help");
  }
  for (const std::string &text : inputs)
    addInput(o, text);
  for (const std::string &text : expects)
    o.expect.push_back(parseExpect(text));
  if (verifyOption->count() > 0)
    o.verify = parseTolerance(verify, "--verify");
  o.generate = generation.read(app);
  o.threadsAsRanks = ranksAs == "threads";
  o.mpi = transport == "mpi";
  o.native = native == "never" ? COMM_NATIVE_NEVER : native == "require" ? COMM_NATIVE_REQUIRED : COMM_NATIVE_TRUSTED;
  o.pinning = pin == "on" ? COMM_PIN_ON : pin == "off" ? COMM_PIN_OFF : COMM_PIN_AUTO;
  o.keepState = keepState == "exact"   ? COMM_STATE_EXACT
                : keepState == "first" ? COMM_STATE_FIRST
                : keepState == "last"  ? COMM_STATE_LAST
                                       : COMM_STATE_NONE;
  if (o.keepState != COMM_STATE_NONE && !o.bench)
    usage("--keep-state is about the runs of --bench", "--bench --keep-state=" + keepState);
  size_t calls = std::max<size_t>(o.calls.size(), 1);
  if (!o.expect.empty() && o.expect.size() != calls)
    usage(std::to_string(calls) + " calls, but --expect is given " + std::to_string(o.expect.size()) + " times",
          "one --expect per --input @file.npz");
  if (!o.entry.empty() && !o.calls.empty())
    usage("--entry goes with made-up inputs; with --input the shapes choose the entry");
  return -1;
}

} // namespace commrun
