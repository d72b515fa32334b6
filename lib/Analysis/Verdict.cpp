//===- Verdict.cpp - what became of every collective ----------------------===//
#include "comm/Analysis/Verdict.h"
#include "comm/Analysis/Explain.h"
#include "llvm/ADT/BitVector.h"
#include "llvm/Support/FormatVariadic.h"

using namespace mlir;
using namespace mlir::comm;
namespace solver = ::comm::solver;

StringRef mlir::comm::getReasonName(Reason reason) {
  switch (reason) {
  case Reason::Hidden:
    return "hidden";
  case Reason::Dependence:
    return "dependence";
  case Reason::MemoryLimit:
    return "memory limit";
  case Reason::InFlight:
    return "limit on collectives under way";
  case Reason::Gate:
    return "gate: the chosen plan is faster";
  case Reason::TooSmall:
    return "too small";
  case Reason::MemoryBound:
    return "memory-bound neighbour";
  case Reason::SharedCore:
    return "shared core";
  case Reason::Order:
    return "order";
  case Reason::Off:
    return "off by request";
  case Reason::Nothing:
    return "nothing to move";
  }
  return "";
}

ArrayRef<Reason> mlir::comm::getReasons() {
  static const Reason all[] = {Reason::Hidden, Reason::Dependence, Reason::MemoryLimit, Reason::InFlight,
                               Reason::Gate,   Reason::TooSmall,   Reason::MemoryBound, Reason::SharedCore,
                               Reason::Order,  Reason::Off,        Reason::Nothing};
  return all;
}

namespace {
/// Compute time that neither needs a collective nor is needed by it.
class Independence {
public:
  explicit Independence(const OverlapGraph &graph) : problem(graph.problem) {
    int64_t n = problem.ops.size();
    before.assign(n, llvm::BitVector(n));
    for (int64_t i = 0; i < n; ++i) {
      total += problem.ops[i].isCollective() ? 0 : problem.ops[i].us;
      for (int32_t need : problem.ops[i].needs) {
        before[i] |= before[need];
        before[i].set(need);
      }
    }
  }
  double of(int32_t op) const {
    double left = total;
    for (int64_t i = 0, n = problem.ops.size(); i < n; ++i)
      if (!problem.ops[i].isCollective() && (before[i].test(op) || before[op].test(i)))
        left -= problem.ops[i].us;
    return left;
  }

private:
  const solver::OverlapProblem &problem;
  std::vector<llvm::BitVector> before;
  double total = 0;
};

std::string sizeText(int64_t bytes) {
  if (bytes < 10240)
    return llvm::formatv("{0} bytes", bytes);
  if (bytes < 1048576)
    return llvm::formatv("{0:f1} KiB", static_cast<double>(bytes) / 1024);
  return llvm::formatv("{0:f1} MiB", static_cast<double>(bytes) / 1048576);
}
std::string us(double value) { return llvm::formatv("{0:f1} us", value); }
} // namespace

SmallVector<Verdict> mlir::comm::judge(const OverlapGraph &graph, const solver::OverlapTimes &times,
                                       const solver::OverlapTimes *unlimited, const OpTimes &opTimes, StringRef gate) {
  const solver::OverlapProblem &problem = graph.problem;
  Independence independence(graph);
  DenseMap<int32_t, double> hiddenWithoutLimit;
  bool overMemory = unlimited && problem.memoryLimit > 0 && unlimited->peakBytes > problem.memoryLimit;
  bool overFlight = unlimited && problem.maxInFlight > 0 && unlimited->mostInFlight > problem.maxInFlight;
  if (overMemory || overFlight)
    for (const solver::CollectiveTime &collective : unlimited->collectives)
      hiddenWithoutLimit[collective.op] = collective.hiddenUs;
  SmallVector<Verdict> verdicts;
  for (const solver::CollectiveTime &collective : times.collectives) {
    Verdict verdict;
    verdict.op = collective.op;
    verdict.us = problem.ops[collective.op].us;
    verdict.hiddenUs = std::max(0.0, collective.hiddenUs);
    double beside = verdict.us - collective.stallUs; // link time during which something computed
    for (auto [op, saved] : collective.behind)
      verdict.behind.push_back(op);
    bool bound = llvm::any_of(verdict.behind, [&](int32_t op) { return graph.memoryBound[op]; });
    double lost = beside - verdict.hiddenUs;
    if (opTimes.query(graph.collectiveOf(collective.op)).ranks <= 1)
      verdict.reason = Reason::Nothing;
    else if (collective.stallUs <= 0.05 * verdict.us && verdict.hiddenUs >= 0.5 * verdict.us)
      verdict.reason = Reason::Hidden; // compute does not stand still for it, and much more is saved than lost
    else if (lost > 0.5 * (verdict.us - verdict.hiddenUs)) {
      // It ran beside work, and the work lost what it gained.
      verdict.reason = bound ? Reason::MemoryBound : Reason::SharedCore;
      verdict.note = "compute lost " + us(lost) + " meanwhile";
    } else if (verdict.us <= problem.issueUs) {
      verdict.reason = Reason::TooSmall;
      verdict.note = "handing it over costs " + us(problem.issueUs);
    } else if (hiddenWithoutLimit.lookup(collective.op) > verdict.hiddenUs + 0.05 * verdict.us) {
      verdict.reason = overMemory ? Reason::MemoryLimit : Reason::InFlight;
      verdict.note = us(hiddenWithoutLimit.lookup(collective.op)) + " would be hidden without it";
    } else if (double free = independence.of(collective.op); free > verdict.hiddenUs + 0.05 * verdict.us) {
      verdict.reason = Reason::Order;
      verdict.note = us(free) + " of independent work hides other collectives or cannot be moved here";
    } else if (!gate.empty()) {
      verdict.reason = Reason::Gate;
      verdict.note = gate.str();
    } else {
      verdict.reason = Reason::Dependence;
      verdict.note = "all other work needs its result or is needed by it";
    }
    verdicts.push_back(std::move(verdict));
  }
  return verdicts;
}

std::string mlir::comm::print(const Verdict &verdict, const OverlapGraph &graph, int64_t order) {
  Operation *collective = graph.collectiveOf(verdict.op);
  auto type = cast<RankedTensorType>(collective->getOperand(0).getType());
  std::string axes;
  for (auto axis : cast<CollectiveOpInterface>(collective).getAxesAttr().getAsRange<StringAttr>())
    axes += (axes.empty() ? "" : ",") + axis.str();
  std::string text, element;
  llvm::raw_string_ostream(element) << type.getElementType();
  text = llvm::formatv("{0}#{1} of {2} {3} over {4} on {5}: ", collective->getName().stripDialect(), order,
                       sizeText(getTensorBytes(type)), element, axes,
                       solver::resourceName(graph.problem.ops[verdict.op].resource));
  double share = verdict.us > 0 ? 100 * verdict.hiddenUs / verdict.us : 0;
  bool some = verdict.hiddenUs > 0.05 * verdict.us && !verdict.behind.empty();
  if (verdict.reason == Reason::Hidden || some) {
    text += verdict.reason == Reason::Hidden ? "hidden" : "partly hidden";
    if (!verdict.behind.empty())
      text += llvm::formatv(" behind {0} {1}{2}{3}", verdict.behind.size(),
                            verdict.behind.size() == 1 ? "op, " : "ops, ", graph.siteOf(verdict.behind.front()),
                            verdict.behind.size() == 1 ? "" : " to " + graph.siteOf(verdict.behind.back()));
    text += llvm::formatv(", {0:f1} of {1:f1} us ({2:f0} %)", verdict.hiddenUs, verdict.us, share);
    if (verdict.reason == Reason::Hidden)
      return text;
    text += "; the rest is exposed: ";
  } else {
    text += llvm::formatv("not overlapped, {0:f1} us exposed: ", verdict.us);
  }
  text += getReasonName(verdict.reason);
  if (!verdict.note.empty())
    text += ", " + verdict.note;
  return text;
}
