//===- Options.h - what the user asked commc for ----------------*- C++ -*-===//
#ifndef TOOLS_DRIVER_OPTIONS_H
#define TOOLS_DRIVER_OPTIONS_H
#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace CLI {
class App;
}
namespace commc {

/// Exit codes, one meaning each (docs/reference/exit-codes.md).
enum ExitCode {
  kOk = 0,
  kInternal = 1,
  kUsage = 2,
  kBadModel = 3,
  kUnsupported = 4,
  kDoesNotFit = 5,
  kDevice = 6,
  kMismatch = 7,
  kDistributed = 8
};

enum class Command { Compile, Check, Inspect };

struct Axis {
  std::string name;
  int64_t size = 1;
};

struct Options {
  Command command = Command::Compile;
  std::string input;
  std::string output; ///< empty: <model name>.commx in the current directory
  std::string devices = "cpu:1";
  std::vector<Axis> grid;                             ///< from --devices, --tp, --dp; product = ranks
  std::map<std::string, std::vector<int64_t>> dims;   ///< --dim: sizes of each symbol, rising
  std::map<std::string, std::vector<int64_t>> shapes; ///< --shapes
  std::vector<std::string> shapesFrom;                ///< --shapes-from, one entry each
  std::vector<std::string> layouts;                   ///< --layout value=...
  std::vector<std::string> disabled;                  ///< --no-<pass>
  std::string overlap = "auto";                       ///< off, safe, auto or max
  bool overlapGiven = false;                          ///< asked for by the user
  std::string topology, link, tuning;                 ///< what predictions are made for; empty: cpu, its link, no file
  bool sequenceParallel = false, strictExternalData = false;
  bool explain = false, json = false, quiet = false, timing = false, commands = false, prove = false;
  int verbose = 0;
  int64_t memoryLimit = 0, maxTensorBytes = 0, maxTotalBytes = 0;
  std::string stopAfter, dumpIR;
  std::string plan = "auto"; ///< auto, plain, pipeline, fuse or split
  int64_t splitAt = 0, splitTile = 64, splitMinRows = 64, matmulChunks = 0;
  std::string matmulOrder = "auto"; ///< of a pipelined product: direct, ring, auto
  std::string precision = "f32";    ///< of f32 products: f32, bf16 or f16
  std::string fill = "zeros";       ///< behind smaller inputs: zeros or any
  std::string weights = "auto";     ///< auto, reference or embed
  std::string commandLine;          ///< as given, files by name; for the artifact
};

/// Parses the arguments. Returns an exit code when the program should end now (help, version, usage error: already
/// printed), else -1.
int parseOptions(int argc, char **argv, Options &options);

/// False when arguments are left over after the parse of an app that allows them: one is named, with the nearest
/// option.
bool checkLeftovers(const CLI::App &app);

/// "error[code]: what" with optional place and hint, to standard error.
void printError(const std::string &code, const std::string &what, const std::string &where = "",
                const std::string &hint = "");

/// Bytes of "40GiB", "512MB", "1024". False when malformed.
bool parseBytes(const std::string &text, int64_t &bytes);

} // namespace commc
#endif
