//===- OverlapProblem.h - which collective runs beside what -----*- C++ -*-===//
// One rank's program as plain data: compute ops run one after the other, a collective runs on its link between a start
// and a wait, values take memory from their producer to their last user. Build, check(), solve() or solveExact(),
// verify(). Times are microseconds, memory is bytes. Pure functions, deterministic; standard library only.
//
// While a collective is under way, a compute op progresses at `computeRate` and the collective at `linkRate`; while the
// program waits, the collective has rate 1. What a collective saves, its hidden time, is the time that both take one
// after the other minus the time that they take together, so that always
//   makespan = sum of compute + sum of exposed + issueUs of each collective that was not awaited at once.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace comm::solver {

enum class Resource : uint8_t { Compute = 0, ScaleUp, ScaleOut, CopyEngine };
const char *resourceName(Resource); ///< "compute", "scale_up", "scale_out", "copy_engine"

struct OverlapOp {
  double us = 0; ///< alone
  Resource resource = Resource::Compute;
  std::vector<int32_t> needs; ///< ops that must be complete; all have smaller numbers
  double computeRate = 1;     ///< compute ops: progress per us beside a collective, (0, 1]
  double linkRate = 1;        ///< compute ops: progress per us of the collective meanwhile, (0, 1]
  bool isCollective() const { return resource != Resource::Compute; }
};

/// Memory from the step that runs or starts `producer` to the last step that needs it: the run of a compute op, the
/// wait of a collective.
struct OverlapValue {
  int64_t bytes = 0;
  int32_t producer = 0;
  std::vector<int32_t> users;
  bool kept = false; ///< alive to the end
};

struct OverlapProblem {
  std::vector<OverlapOp> ops; ///< in program order
  std::vector<OverlapValue> values;
  int64_t memoryLimit = 0; ///< most bytes alive at once; 0: none
  int32_t maxInFlight = 0; ///< most collectives started and not awaited; 0: no limit
  double issueUs = 0; ///< compute time of handing a collective to its queue and coming back; none when awaited at once
  bool oneQueue = true; ///< all collectives run one after the other; false: those of one link
};

enum class StepKind : uint8_t { Run = 0, Start, Wait };
struct Step {
  int32_t op = 0;
  StepKind kind = StepKind::Run;
  bool operator==(const Step &other) const { return op == other.op && kind == other.kind; }
};

struct CollectiveTime {
  int32_t op = 0;
  double beginUs = 0, endUs = 0;                  ///< on its link
  double hiddenUs = 0;                            ///< saved by running beside compute, see above
  double exposedUs = 0;                           ///< us - hidden: stalls, and what compute lost meanwhile
  double stallUs = 0;                             ///< the part of it in which compute stood still
  std::vector<std::pair<int32_t, double>> behind; ///< compute ops that ran meanwhile and what each saved
};

struct OverlapTimes {
  double makespanUs = 0, computeUs = 0, hiddenUs = 0, exposedUs = 0;
  int64_t peakBytes = 0;
  int32_t mostInFlight = 0;
  std::vector<CollectiveTime> collectives; ///< in the order of their starts: the total order of all ranks
};

enum class OverlapStatus : uint8_t {
  Ok = 0,
  MemoryInfeasible, ///< no order found within memoryLimit; `order` is the one with the smallest peak found
  TooLarge          ///< solveExact only
};
struct OverlapSchedule {
  OverlapStatus status = OverlapStatus::Ok;
  std::vector<Step> order; ///< complete, whatever the status (empty when TooLarge)
  OverlapTimes times;
};

/// One sentence on the first malformed number, empty when sound. Everything below needs a sound problem.
std::string check(const OverlapProblem &);
/// Each op where the program has it, every collective awaited at once.
std::vector<Step> programOrder(const OverlapProblem &);
/// Virtual time of a complete order.
OverlapTimes evaluate(const OverlapProblem &, const std::vector<Step> &order);
/// List scheduling by critical path in several variants and the program order itself; the fastest within the limits.
/// Time nearly linear in the number of ops.
OverlapSchedule solve(const OverlapProblem &);
/// Optimum by branch and bound; TooLarge above `maxOps` ops.
OverlapSchedule solveExact(const OverlapProblem &, int32_t maxOps = 14);
/// Checks a schedule, whoever made it: complete, dependences, waits behind starts, both limits, the times. Empty when
/// sound.
std::string verify(const OverlapProblem &, const OverlapSchedule &);
/// No schedule is faster: longest chain, all compute, all communication of one queue.
double lowerBoundUs(const OverlapProblem &);

} // namespace comm::solver
