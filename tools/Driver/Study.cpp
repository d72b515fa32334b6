//===- Study.cpp - commc simulate --study ---------------------------------===//
// Prints predicted beside published times, then whether the simulator reproduces what the experiment found. A wrong
// sign is a failure (exit 7); a speed-up that is off is listed.
//===----------------------------------------------------------------------===//
#include "comm/Simulator/TokenWeave.h"
#include "tools/Driver/Driver.h"
#include "tools/Driver/SimulateOptions.h"
#include "llvm/Support/Format.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"
#include <cmath>

using namespace commc;
namespace sim = ::comm::sim;
namespace cost = ::comm::cost;
using sim::WeavePlan;

namespace {
constexpr double tolerance = 0.05; // of a speed-up
constexpr double tie = 0.015;      // a published gain from which on it counts

struct Row {
  const sim::WeaveModel *model;
  const sim::WeavePoint *point;
  sim::WeavePrediction predicted;
  double published() const { return point->baseMs / point->splitMs; }
  double error() const { return predicted.speedUp() - published(); }
};

struct Check {
  std::string what;
  int64_t right = 0, of = 0;
};
} // namespace

static std::vector<Check> checksOf(const sim::WeaveStudy &study, const std::vector<Row> &rows) {
  Check split{"split wins or loses as published"}, bound{"split beats no communication where it was published to"},
      unfused{"reduce_scatter, norm, all_gather lose to all_reduce and norm at every size"},
      units{"the exposed fused kernel is best on 16 to 32 SMs"};
  for (const Row &r : rows) {
    ++split.of;
    split.right += (r.predicted.speedUp() > 1) == (r.published() > 1);
    // Smaller published differences are within what repeats of a run differ by.
    if (r.point->deletedMs > (1 + tie) * r.point->splitMs) {
      ++bound.of;
      bound.right += r.predicted.of(WeavePlan::Deleted) > r.predicted.of(WeavePlan::Split);
    }
    ++unfused.of;
    unfused.right += r.predicted.of(WeavePlan::Unfused) > r.predicted.of(WeavePlan::Plain);
  }
  for (const auto &[tokens, row] : study.kernels.fusedByUnits) {
    double best = 0;
    for (double u : study.kernels.units)
      if (best == 0 || study.kernels.fused(tokens, static_cast<int64_t>(u)) <
                           study.kernels.fused(tokens, static_cast<int64_t>(best)))
        best = u;
    ++units.of;
    units.right += best >= 16 && best <= 32;
  }
  return {split, bound, unfused, units};
}

static void print(const sim::WeaveStudy &study, const cost::CostModel &model, const std::vector<Row> &rows,
                  const std::vector<Check> &checks, double clock) {
  llvm::raw_ostream &os = llvm::outs();
  os << "study    " << study.source << "\ncosts    " << model.fingerprint() << "\n"
     << llvm::format("clock    compute takes %.3f times what the tables say\n", clock);
  const sim::WeaveModel *last = nullptr;
  int64_t near = 0;
  double sum = 0;
  for (const Row &r : rows) {
    if (r.model != last)
      os << "\n"
         << r.model->name << ", " << r.model->ranks << " ranks; ms predicted (published)\n"
         << "  tokens           plain         deleted           split      fused   unfused  speed-up  published   "
            "error\n";
    last = r.model;
    const sim::WeavePrediction &p = r.predicted;
    bool hit = std::abs(r.error()) <= tolerance;
    near += hit;
    sum += std::abs(r.error());
    os << llvm::format(
        "  %6lld %7.1f (%6.1f) %6.1f (%6.1f) %6.1f (%6.1f) %8.1f  %8.1f      %4.2f       %4.2f   %+5.2f%s\n",
        static_cast<long long>(r.point->tokens), p.of(WeavePlan::Plain), r.point->baseMs, p.of(WeavePlan::Deleted),
        r.point->deletedMs, p.of(WeavePlan::Split), r.point->splitMs, p.of(WeavePlan::Fused), p.of(WeavePlan::Unfused),
        p.speedUp(), r.published(), r.error(), hit ? "" : "  miss");
  }
  os << llvm::format("\nspeed-up within %.2f at %lld of %lld points, mean absolute error %.3f\n", tolerance,
                     static_cast<long long>(near), static_cast<long long>(rows.size()),
                     sum / static_cast<double>(rows.size()));
  for (const Check &c : checks)
    os << (c.right == c.of ? "yes      " : "NO       ") << c.what << ": " << c.right << " of " << c.of << "\n";
}

static void printJson(const sim::WeaveStudy &study, const cost::CostModel &model, const std::vector<Row> &rows,
                      const std::vector<Check> &checks) {
  llvm::json::Array points, list;
  for (const Row &r : rows)
    points.push_back(llvm::json::Object{{"model", r.model->name},
                                        {"ranks", r.model->ranks},
                                        {"tokens", r.point->tokens},
                                        {"plain_ms", r.predicted.of(WeavePlan::Plain)},
                                        {"deleted_ms", r.predicted.of(WeavePlan::Deleted)},
                                        {"fused_ms", r.predicted.of(WeavePlan::Fused)},
                                        {"split_ms", r.predicted.of(WeavePlan::Split)},
                                        {"unfused_ms", r.predicted.of(WeavePlan::Unfused)},
                                        {"speed_up", r.predicted.speedUp()},
                                        {"published_speed_up", r.published()},
                                        {"within", std::abs(r.error()) <= tolerance}});
  for (const Check &c : checks)
    list.push_back(llvm::json::Object{{"what", c.what}, {"right", c.right}, {"of", c.of}});
  llvm::outs() << llvm::formatv("{0:2}", llvm::json::Value(llvm::json::Object{{"source", study.source},
                                                                              {"cost_tables", model.fingerprint()},
                                                                              {"points", std::move(points)},
                                                                              {"checks", std::move(list)}}))
               << "\n";
}

int commc::runStudy(const SimulateOptions &options) {
  std::string error;
  sim::WeaveStudy study;
  if (!sim::loadWeaveStudy(options.study, study, error)) {
    printError("E304", error, "", "--study=bench/overlap/token_weave.json");
    return kBadModel;
  }
  cost::Topology topology;
  if (!cost::loadTopology(options.topology, topology, error)) {
    printError("E304", error, "", "--topology=h100_sxm");
    return kBadModel;
  }
  cost::CostModel model(topology);
  if (!options.tuning.empty() && !model.addTuning(options.tuning, error)) {
    printError("E304", error, options.tuning, "write it anew with commc bench");
    return kBadModel;
  }
  sim::WeaveMachine machine(model);
  double clock = options.clock > 0 ? options.clock : machine.fitClock(study);
  machine.setClock(clock);
  std::vector<Row> rows;
  for (const sim::WeaveModel &m : study.models)
    for (const sim::WeavePoint &point : m.points) {
      rows.push_back({&m, &point, {}});
      if (!machine.predict(study, m, point, rows.back().predicted, error)) {
        printError("E304", error, m.name, "correct the study file");
        return kBadModel;
      }
    }
  std::vector<Check> checks = checksOf(study, rows);
  if (options.json)
    printJson(study, model, rows, checks);
  else
    print(study, model, rows, checks, clock);
  for (const Check &c : checks)
    if (c.right < c.of)
      return kMismatch;
  return kOk;
}
