//===- Campaign.cpp - schedule-mutants: are seeded faults found? ----------===//
// schedule-mutants [--per-class N] [--seed N] [--orders N] [--verbose] model.commx...
// Seeds faults into the programs of executables, on one rank or on all, and counts who refuses them: the checker of
// schedules, else the rules of the file format, else the proof that outputs equal the unsplit model's, which the
// program without the fault must have. What nobody refuses is run in many random legal orders beside the program
// without the fault: its results must be the same bits. Prints a table; exit 1 when a survivor gives other results, or
// a refusal does not name an operation.
//===----------------------------------------------------------------------===//
#include "Mutations.h"
#include "comm/Proof/Equality.h"
#include "comm/Proof/Schedule.h"
#include "test/unit/Support/Interleaver.h"
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

using namespace comm;
using namespace comm::test;
using testing_run::Bytes;

namespace {
constexpr int64_t pointSteps = 100000; ///< what takes more is refused all the same, as not proved

struct Options {
  int64_t perClass = 50, seed = 1, orders = 100;
  bool verbose = false;
  std::vector<std::string> files;
};

/// One entry of one executable.
struct Subject {
  std::string name;
  const exe::Executable *executable;
  const exe::Program *program;
  size_t entry;
  std::shared_ptr<rt::NativeCode> native;
  std::vector<std::vector<Bytes>> inputs, outputs; ///< of the program as it is
};

struct Row {
  int64_t mutants = 0, format = 0, wrong = 0, notProved = 0, prepare = 0, harmless = 0, harmful = 0, unnamed = 0;
  std::map<proof::Rule, int64_t> rules;
};

class Campaign {
public:
  explicit Campaign(const Options &options) : options(options), random(static_cast<uint64_t>(options.seed)) {}

  bool load(const std::string &path) {
    std::ifstream in(path, std::ios::binary);
    std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(in)), {});
    executables.push_back(std::make_unique<exe::Executable>());
    exe::Executable &executable = *executables.back();
    std::string error;
    if (!exe::readExecutable(bytes.data(), bytes.size(), executable, error))
      return fail(path + ": " + error);
    std::shared_ptr<rt::NativeCode> native = testing_run::loadNative(executable, error);
    if (!error.empty())
      return fail(path + ": " + error);
    for (size_t e = 0; e < executable.entries.size(); ++e) {
      const exe::Program &p = executable.entries[e].split;
      Subject s{
          path.substr(path.rfind('/') + 1) + ":" + executable.entries[e].name, &executable, &p, e, native, {}, {}};
      s.inputs = testing_run::smallInputs(p, 7);
      if (!baseline(s))
        return false;
      proof::EqualityResult equal = proof::proveEqual(executable, executable.entries[e]);
      if (equal.verdict != proof::Equality::Proved)
        return fail(s.name + ": " + proof::equalityText(equal));
      subjects.push_back(std::move(s));
    }
    return true;
  }

  bool run() {
    bool ok = true;
    for (Fault fault : allFaults) {
      Row &row = rows[fault];
      for (int64_t n = 0, tries = 0; n < options.perClass && tries < 200 * options.perClass; ++tries) {
        Subject &s = subjects[static_cast<size_t>(n) % subjects.size()];
        exe::Program changed;
        std::string what;
        if (!mutate(fault, *s.program, random, changed, what))
          continue;
        ++n;
        ++row.mutants;
        judge(s, changed, what, fault, row);
      }
      ok &= row.mutants > 0 && row.harmful == 0 && row.unnamed == 0;
    }
    return ok;
  }

  void print() const {
    std::printf("%-12s %8s %8s   %-64s %8s %9s %10s %8s %9s %8s\n", "fault", "mutants", "checker", "by rule", "format",
                "equality", "undecided", "prepare", "harmless", "harmful");
    for (const auto &[fault, row] : rows) {
      std::string rules;
      int64_t refused = 0;
      for (auto [rule, count] : row.rules) {
        rules += (rules.empty() ? "" : " ") + std::string(proof::ruleName(rule)) + " " + std::to_string(count);
        refused += count;
      }
      std::printf("%-12s %8ld %8ld   %-64s %8ld %9ld %10ld %8ld %9ld %8ld\n", faultName(fault), row.mutants, refused,
                  rules.c_str(), row.format, row.wrong + row.notProved, row.notProved, row.prepare, row.harmless,
                  row.harmful);
    }
  }

private:
  static bool fail(const std::string &text) {
    std::fprintf(stderr, "%s\n", text.c_str());
    return false;
  }

  /// The program as it is gives the same bits in every order.
  bool baseline(Subject &s) {
    std::vector<const exe::Program *> ranks(static_cast<size_t>(s.program->grid.ranks()), s.program);
    testing_run::Interleaver runner(*s.executable, ranks, s.native.get());
    for (int64_t i = 0; i < std::max<int64_t>(options.orders / 5, 5); ++i) {
      std::vector<std::vector<Bytes>> outputs;
      if (!runner.error.empty() || !runner.run(s.inputs, random, outputs))
        return fail(s.name + ": " + runner.error);
      if (i > 0 && outputs != s.outputs)
        return fail(s.name + ": the results depend on the order without any fault");
      s.outputs = std::move(outputs);
    }
    return true;
  }

  void judge(const Subject &s, const exe::Program &changed, std::string what, Fault fault, Row &row) {
    size_t count = static_cast<size_t>(s.program->grid.ranks()), victim = random() % (2 * count);
    std::vector<const exe::Program *> ranks(count, victim < count ? s.program : &changed);
    if (victim < count)
      ranks[victim] = &changed;
    what =
        s.name + ", " + (victim < count ? "rank " + std::to_string(victim) : std::string("every rank")) + ": " + what;
    proof::Facts facts;
    auto found = proof::checkSchedule(ranks, facts);
    if (!found.empty()) {
      ++row.rules[found[0].rule];
      return refuse(fault, what, found[0].text, row);
    }
    if (!valid(s, changed)) {
      ++row.format;
      return;
    }
    proof::EqualityResult equal = proof::proveEqual(*s.executable, s.executable->entries[s.entry], ranks, pointSteps);
    if (equal.verdict != proof::Equality::Proved) {
      ++(equal.verdict == proof::Equality::Wrong ? row.wrong : row.notProved);
      return refuse(fault, what, proof::equalityText(equal), row);
    }
    std::string trouble;
    switch (compare(s, ranks, trouble)) {
    case Outcome::Refused:
      ++row.prepare;
      break;
    case Outcome::Same:
      ++row.harmless;
      break;
    case Outcome::Other:
      ++row.harmful;
      std::printf("HARMFUL %s: %s: %s\n", faultName(fault), what.c_str(), trouble.c_str());
    }
  }

  void refuse(Fault fault, const std::string &what, const std::string &why, Row &row) const {
    if (why.find("command ") == std::string::npos && why.find("value ") == std::string::npos) {
      ++row.unnamed;
      std::printf("UNNAMED %s: %s: %s\n", faultName(fault), what.c_str(), why.c_str());
    }
    if (options.verbose)
      std::printf("%s: %s\n    %s\n", faultName(fault), what.c_str(), why.c_str());
  }

  bool valid(const Subject &s, const exe::Program &changed) {
    exe::Executable copy;
    copy.files = s.executable->files;
    copy.weights = s.executable->weights;
    copy.entries = {s.executable->entries[s.entry]};
    copy.entries[0].split = changed;
    return exe::validate(copy, static_cast<int64_t>(s.executable->data.size())).empty();
  }

  enum class Outcome { Refused, Same, Other };
  Outcome compare(const Subject &s, const std::vector<const exe::Program *> &ranks, std::string &trouble) {
    testing_run::Interleaver runner(*s.executable, ranks, s.native.get());
    for (int64_t i = 0; i < options.orders; ++i) {
      std::vector<std::vector<Bytes>> outputs;
      if (!runner.run(s.inputs, random, outputs)) {
        trouble = runner.error;
        return runner.refused ? Outcome::Refused : Outcome::Other;
      }
      if (outputs != s.outputs) {
        trouble = "other results in order " + std::to_string(i);
        return Outcome::Other;
      }
    }
    return Outcome::Same;
  }

  const Options &options;
  std::mt19937_64 random;
  std::vector<std::unique_ptr<exe::Executable>> executables;
  std::vector<Subject> subjects;
  std::map<Fault, Row> rows;
};

bool parse(int argc, char **argv, Options &options) {
  for (int i = 1; i < argc; ++i) {
    std::string word = argv[i];
    int64_t *number = word == "--per-class" ? &options.perClass
                      : word == "--seed"    ? &options.seed
                      : word == "--orders"  ? &options.orders
                                            : nullptr;
    if (number && i + 1 < argc)
      *number = std::atoll(argv[++i]);
    else if (word == "--verbose")
      options.verbose = true;
    else
      options.files.push_back(word);
  }
  return !options.files.empty() && options.perClass > 0 && options.orders > 0;
}
} // namespace

int main(int argc, char **argv) {
  Options options;
  if (!parse(argc, argv, options)) {
    std::fprintf(stderr,
                 "usage: schedule-mutants [--per-class N] [--seed N] [--orders N] [--verbose] model.commx...\n");
    return 2;
  }
  Campaign campaign(options);
  for (const std::string &file : options.files)
    if (!campaign.load(file))
      return 1;
  bool ok = campaign.run();
  campaign.print();
  return ok ? 0 : 1;
}
