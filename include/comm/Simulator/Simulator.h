//===- Simulator.h - a program in virtual time ------------------*- C++ -*-===//
// Runs one SPMD program on any number of ranks without doing its work: every command takes the time that a cost says.
// The rules are those of the runtime: commands are issued in order on a rank's compute queue; collectives run on its
// communication queue in the order of issue; one begins to move data when all members have reached it, and ends for all
// of them at once. While a collective moves and compute runs beside it, both go on at the rates that the costs give.
// Deterministic: equal arguments give equal results.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Cost/CostModel.h"
#include "comm/Executable/Executable.h"
#include <map>
#include <memory>
#include <string>
#include <tuple>
#include <vector>

namespace comm::sim {

/// Most ranks that are simulated; an executable may have no more.
constexpr int64_t maxRanks = 65536;

/// Where the members of a group lie.
struct GroupPlace {
  int64_t members = 1, nodes = 1;
  int64_t perNode = 1; ///< most members in one node
  bool operator<(const GroupPlace &o) const {
    return std::tie(members, nodes, perNode) < std::tie(o.members, o.nodes, o.perNode);
  }
};

/// Progress in a unit of time while a compute command and a collective run side by side; 1: as if alone.
struct Rates {
  double compute = 1, collective = 1;
};

/// How long things take. Commands are positions in the program that is simulated. Microseconds.
class Costs {
public:
  virtual ~Costs() = default;
  virtual double computeUs(int32_t command) const = 0;
  virtual double collectiveUs(int32_t command, const GroupPlace &) const = 0;
  virtual Rates beside(int32_t compute, int32_t collective) const = 0;
  /// Compute time of handing a collective to its queue and coming back, paid at a wait that does not follow at once.
  virtual double handOverUs() const { return 0; }
  /// Whether beside() ever gives a collective another rate than 1: costs time where groups are large.
  virtual bool slowsCollectives() const { return false; }
};

/// Costs of a compiled program from the cost model. Borrows the program.
class ModelCosts final : public Costs {
public:
  /// `kernels`: declarations of its native kernels, as the executable has them. `tuning`: path of a tuning file, may be
  /// empty.
  static std::unique_ptr<ModelCosts> create(const exe::Program &, const std::vector<exe::Kernel> &kernels,
                                            const cost::Topology &, const std::string &tuning, std::string &error);
  ~ModelCosts() override;
  double computeUs(int32_t command) const override;
  double collectiveUs(int32_t command, const GroupPlace &) const override;
  Rates beside(int32_t compute, int32_t collective) const override;
  double handOverUs() const override;
  /// Identity of the tables (CostModel::fingerprint).
  std::string fingerprint() const;

private:
  ModelCosts();
  struct Impl;
  std::unique_ptr<Impl> impl;
};

struct SimOptions {
  int64_t ranksPerNode = 1;            ///< rank r lies in node r / ranksPerNode
  std::map<int64_t, double> slowRanks; ///< factor on the time of every compute command of a rank
  double jitter = 0;        ///< compute commands take up to this share longer, drawn for each rank and command
  uint64_t seed = 0;        ///< of the jitter
  int64_t queueDepth = 256; ///< collectives that a rank may have issued and not finished; the next start waits
  bool symmetry = true;     ///< simulate ranks that must behave alike once; the result is the same
  bool events = false;      ///< record what ran when
};

struct SimEvent {
  enum Kind { Compute, Collective, Wait } kind = Compute;
  int32_t command = -1; ///< of a wait: the command that issued the collective
  double beginUs = 0, endUs = 0;
  double startUs = 0; ///< of a collective: when compute issued it
  double metUs = 0;   ///< of a collective: when all members were there
};

/// One collective on one rank. hidden + exposed = moved.
struct CollectiveTime {
  int32_t command = -1;
  GroupPlace place;
  double beginUs = 0, endUs = 0; ///< reached by this rank's communication queue; done
  double movedUs = 0;            ///< from the moment all members had come
  double hiddenUs = 0, exposedUs = 0;
  double lateUs = 0; ///< compute stood still because other members had not come yet
};

/// Ranks that behave alike.
struct RankClass {
  int64_t first = 0, count = 0; ///< smallest rank; how many
  double endUs = 0, computeUs = 0, movedUs = 0, hiddenUs = 0, exposedUs = 0, lateUs = 0;
  std::vector<CollectiveTime> collectives;
  std::vector<SimEvent> events;
};

struct SimResult {
  int64_t ranks = 0;
  double stepUs = 0; ///< until the last rank is done
  std::vector<RankClass> classes;
  std::vector<int32_t> classOf; ///< by rank
  /// The class that speaks for the run: the one that computes longest, of equal ones that with the smallest rank.
  const RankClass &critical() const;
};

/// False and one sentence in `error` when the program cannot run: an operand that does not exist, a wait for nothing.
bool simulate(const exe::Program &, const Costs &, const SimOptions &, SimResult &out, std::string &error);

/// Chrome trace in the form of the runtime's. At most `maxRanks` ranks: when there are more, the first of each class.
std::string simulatedTrace(const exe::Program &, const std::string &title, const SimResult &, int64_t maxRanks = 64);

/// The same program on `ranks` ranks: its outermost axis grows where no collective and no layout depends on its size,
/// or whole replicas join. False and one sentence when that is impossible.
bool replicate(exe::Program &, int64_t ranks, std::string &error);

/// Bytes of one rank while a program runs.
struct MemoryUse {
  int64_t arena = 0;   ///< as planned
  int64_t live = 0;    ///< most bytes of the arena that hold something needed at one time
  int64_t weights = 0; ///< its parts of the weights that the program reads
  int64_t ports = 0;   ///< its parts of inputs and outputs that do not lie in the arena
  int64_t total() const { return arena + weights + ports; }
};
MemoryUse memoryUse(const exe::Executable &, const exe::Program &);

} // namespace comm::sim
