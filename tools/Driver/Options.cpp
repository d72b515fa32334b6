//===- Options.cpp - the command line of commc ----------------------------===//
#include "tools/Driver/Options.h"
#include "passes/Pipeline.h"
#include "tools/Driver/Buckets.h"
#include "tools/Driver/Version.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringRef.h"
#include <CLI/CLI.hpp>
#include <iostream>

using namespace commc;

void commc::printError(const std::string &code, const std::string &what, const std::string &where,
                       const std::string &hint) {
  std::cerr << "error[" << code << "]: " << what << "\n";
  if (!where.empty())
    std::cerr << "  at " << where << "\n";
  if (!hint.empty())
    std::cerr << "  try: " << hint << "\n";
}

bool commc::parseBytes(const std::string &text, int64_t &bytes) {
  llvm::StringRef rest(text);
  double number = 0;
  size_t digits = rest.find_first_not_of("0123456789.");
  llvm::StringRef head = rest.substr(0, digits), unit = digits == llvm::StringRef::npos ? "" : rest.substr(digits);
  if (head.empty() || head.getAsDouble(number))
    return false;
  static const std::map<std::string, double> units = {
      {"", 1},     {"B", 1},        {"KB", 1e3},        {"MB", 1e6},
      {"GB", 1e9}, {"KiB", 1024.0}, {"MiB", 1048576.0}, {"GiB", 1073741824.0}};
  auto it = units.find(unit.str());
  if (it == units.end() || number * it->second > 9e18)
    return false;
  bytes = static_cast<int64_t>(number * it->second);
  return true;
}

static bool usage(const std::string &what, const std::string &hint) {
  printError("E201", what, "", hint);
  return false;
}

/// "name=value" or "name=value,value,...".
static bool parseDim(const std::string &text, std::map<std::string, std::vector<int64_t>> &dims) {
  auto [name, values] = llvm::StringRef(text).rsplit('=');
  llvm::SmallVector<llvm::StringRef> parts;
  values.split(parts, ',');
  std::vector<int64_t> sizes;
  for (llvm::StringRef part : parts) {
    sizes.emplace_back();
    if (name.empty() || part.getAsInteger(10, sizes.back()) || sizes.back() < 0)
      return usage("--dim " + text + " is not of the form name=value or name=value,value", "--dim batch=1");
  }
  llvm::sort(sizes);
  sizes.erase(std::unique(sizes.begin(), sizes.end()), sizes.end());
  dims[name.str()] = sizes;
  return true;
}

/// "name:1x128,other:3".
static bool parseShapes(const std::string &text, std::map<std::string, std::vector<int64_t>> &shapes) {
  llvm::SmallVector<llvm::StringRef> parts;
  llvm::StringRef(text).split(parts, ',');
  for (llvm::StringRef part : parts) {
    auto [name, sizes] = part.rsplit(':');
    std::vector<int64_t> shape;
    llvm::SmallVector<llvm::StringRef> numbers;
    sizes.split(numbers, 'x', -1, false);
    for (llvm::StringRef number : numbers) {
      shape.emplace_back();
      if (number.getAsInteger(10, shape.back()) || shape.back() < 0)
        return usage("--shapes " + text + " is not of the form name:1x128", "--shapes input_ids:1x128");
    }
    if (name.empty())
      return usage("--shapes " + text + " names no input", "--shapes input_ids:1x128");
    shapes[name.str()] = shape;
  }
  return true;
}

static int badUsage(const std::string &what, const std::string &hint) {
  usage(what, hint);
  return kUsage;
}

/// Devices and the factors of the plan become the grid: dp, then sp, then tp. Without factors all devices are tp. An
/// exit code, or -1 when all is well.
static int buildGrid(Options &options, int64_t tp, int64_t dp, int64_t sp, bool devicesGiven) {
  llvm::StringRef text(options.devices);
  llvm::StringRef kind = text.contains(':') ? text.split(':').first : "cpu",
                  count = text.contains(':') ? text.split(':').second : text;
  int64_t devices;
  if (kind != "cpu") {
    printError("E601", "devices of kind '" + kind.str() + "' are not supported by this build", "", "--devices=cpu:2");
    return kDevice;
  }
  if (count.getAsInteger(10, devices) || devices < 1 || devices > 4096)
    return badUsage("--devices=" + options.devices + " names no number of devices from 1 to 4096", "--devices=cpu:2");
  int64_t product = std::max<int64_t>(tp, 1) * std::max<int64_t>(dp, 1) * std::max<int64_t>(sp, 1);
  if (tp == 0 && devicesGiven) {
    int64_t rest = std::max<int64_t>(dp, 1) * std::max<int64_t>(sp, 1);
    if (devices % rest != 0)
      return badUsage("--dp and --sp do not divide " + std::to_string(devices) + " devices",
                      "--devices=cpu:" + std::to_string(rest));
    tp = devices / rest;
    product = devices;
  }
  if (!devicesGiven)
    devices = product;
  if (product != devices)
    return badUsage("--tp, --dp and --sp multiply to " + std::to_string(product) + ", but there are " +
                        std::to_string(devices) + " devices",
                    "--devices=cpu:" + std::to_string(product));
  if (dp > 1)
    options.grid.push_back({"dp", dp});
  if (sp > 1)
    options.grid.push_back({"sp", sp});
  if (tp > 1 || options.grid.empty())
    options.grid.push_back({"tp", std::max<int64_t>(tp, 1)});
  return -1;
}

bool commc::checkLeftovers(const CLI::App &app) {
  for (const std::string &extra : app.remaining()) {
    std::string name = extra.substr(0, extra.find('='));
    std::string best;
    unsigned distance = ~0u;
    for (const CLI::Option *option : app.get_options())
      for (const std::string &known : option->get_lnames())
        if (unsigned d = llvm::StringRef(name).edit_distance("--" + known); d < distance) {
          distance = d;
          best = "--" + known;
        }
    return usage(llvm::StringRef(name).starts_with("-") ? "unknown option " + name
                                                        : "unexpected argument '" + extra + "'",
                 distance <= 3 + name.size() / 4 && name[0] == '-' ? "did you mean " + best + "?" : "commc --help");
  }
  return true;
}

static void addImportFlags(CLI::App &app, Options &options, std::vector<std::string> &byteTexts) {
  app.add_flag("--strict-external-data", options.strictExternalData,
               "no symbolic or hard links to weight files, checksums required where given")
      ->group("Import");
  app.add_option("--max-tensor-bytes", byteTexts[1], "refuse larger tensors (default 32GiB)")->group("Import");
  app.add_option("--max-total-bytes", byteTexts[2], "refuse more weights or values in total (default 8192GiB)")
      ->group("Import");
}

/// An argument as the executable records it: files by name, since the folder they lay in has no part in the result.
static std::string withoutFolder(llvm::StringRef argument) {
  size_t slash = argument.rfind('/'), value = argument.starts_with("-") ? argument.find('=') + 1 : 0; // npos + 1 is 0
  if (slash == llvm::StringRef::npos || slash < value)
    return argument.str();
  if (argument.substr(value).starts_with("@"))
    ++value;
  return (argument.take_front(value) + argument.substr(slash + 1)).str();
}

int commc::parseOptions(int argc, char **argv, Options &options) {
  std::string command = argc > 1 ? argv[1] : "";
  if (command == "check")
    options.command = Command::Check;
  else if (command == "inspect")
    options.command = Command::Inspect;
  bool named = options.command != Command::Compile;
  // Where the result is written has no part in what it is.
  options.commandLine = "commc";
  for (int i = 1; i < argc; ++i) {
    llvm::StringRef argument(argv[i]);
    if (argument == "-o" || argument == "--output")
      ++i;
    else if (!argument.starts_with("-o") && !argument.starts_with("--output="))
      options.commandLine += " " + withoutFolder(argument);
  }

  CLI::App app(
      options.command == Command::Check
          ? "List everything in a model that commc cannot compile.\nExample: commc check model.onnx"
      : options.command == Command::Inspect
          ? "Describe a model or an executable.\nExample: commc inspect model.commx"
          : "Compile an ONNX model into one program for N ranks.\n"
            "Example: commc model.onnx --devices=cpu:2 --shapes-from=@inputs.npz -o model.commx\n"
            "Other commands: commc check model.onnx, commc inspect model.onnx|model.commx, commc simulate model.commx",
      named ? "commc " + command : "commc");
  app.footer("Exit codes: 0 ok, 1 internal, 2 usage, 3 bad model or executable, 4 unsupported, 5 does not fit,\n"
             "  6 device missing (docs/reference/exit-codes.md).");
  app.allow_extras();
  app.set_version_flag("--version", getVersionText());
  std::vector<std::string> byteTexts(3), dims, shapes;
  CLI::Option *overlap = nullptr;
  int64_t tp = 0, dp = 0, sp = 0;
  std::string modelHelp = options.command == Command::Inspect ? "an .onnx or .commx file" : "an .onnx file";
  app.add_option("model", options.input, modelHelp)->required();
  app.add_flag("--json", options.json, "machine-readable result on standard output");
  app.add_flag("-q,--quiet", options.quiet, "errors only");
  app.add_flag("-v,--verbose", options.verbose, "more detail; repeatable");
  addImportFlags(app, options, byteTexts);
  if (options.command == Command::Inspect) {
    app.add_flag("--commands", options.commands, "list every command of every entry");
    app.add_flag("--prove", options.prove,
                 "only prove the schedule of every entry again; exit 3 when one is not sound");
  }
  CLI::Option *devices = nullptr;
  std::map<std::string, bool> switches;
  if (options.command == Command::Compile) {
    app.add_option("-o,--output", options.output,
                   "executable to write (default: <model>.commx in the current directory)");
    devices = app.add_option("--devices", options.devices, "cpu:N, or N (default cpu:1)")->group("Plan");
    app.add_option("--tp", tp, "tensor-parallel ranks (default: all devices)")
        ->group("Plan")
        ->check(CLI::Range(int64_t(1), int64_t(4096)));
    app.add_option("--dp", dp, "data-parallel ranks: split of the batch (default 1)")
        ->group("Plan")
        ->check(CLI::Range(int64_t(1), int64_t(4096)));
    app.add_option("--sp", sp, "ranks that split the tokens (default 1)")
        ->group("Plan")
        ->check(CLI::Range(int64_t(1), int64_t(4096)));
    app.add_flag("--sequence-parallel", options.sequenceParallel, "keep the residual stream split by tokens over tp")
        ->group("Plan");
    app.add_option("--layout", options.layouts, "fix the layout of a value, e.g. --layout hidden=*,tp; repeatable")
        ->group("Plan")
        ->allow_extra_args(false);
    app.add_option("--memory", byteTexts[0], "limit per rank, e.g. 4GiB; exceeding it is an error (exit 5)")
        ->group("Plan");
    overlap =
        app.add_option("--overlap", options.overlap,
                       "off: collectives are synchronous; safe: they run beside compute, whose order stays; auto: "
                       "what is predicted to be fastest; max: all that is legal (default auto)")
            ->group("Plan")
            ->check(CLI::IsMember({"off", "safe", "auto", "max"}));
    app.add_option("--plan", options.plan,
                   "sync: reductions as they are, nothing beside them; plain: beside compute; fuse: reduce, residual "
                   "and norm in one operation, residual split by "
                   "rows; split: also the tokens in two parts; pipeline: products beside reductions in chunks; auto: "
                   "what is predicted to be fastest, "
                   "for each entry (default auto)")
        ->group("Plan")
        ->check(CLI::IsMember({"auto", "sync", "plain", "pipeline", "fuse", "split"}));
    app.add_option("--split-at", options.splitAt, "with --plan=split: tokens of the first part (default: chosen)")
        ->group("Plan")
        ->check(CLI::NonNegativeNumber);
    app.add_option("--split-tile", options.splitTile, "parts and chunks are multiples of so many rows (default 64)")
        ->group("Plan")
        ->check(CLI::PositiveNumber);
    app.add_option("--split-min-rows", options.splitMinRows,
                   "with --plan=split: fewest rows that are split (default 64)")
        ->group("Plan")
        ->check(CLI::NonNegativeNumber);
    app.add_option("--matmul-chunks", options.matmulChunks,
                   "pieces of each product beside a collective; 0: as the plan says (default 0)")
        ->group("Plan")
        ->check(CLI::NonNegativeNumber);
    app.add_option(
           "--matmul-order", options.matmulOrder,
           "with --plan=pipeline or --matmul-chunks: direct: chunks; ring: one step per rank, wherever shards are "
           "gathered or scattered; auto: what is predicted to be fastest (default auto)")
        ->group("Plan")
        ->check(CLI::IsMember({"direct", "ring", "auto"}));
    app.add_option("--precision", options.precision,
                   "products with f32 operands: bf16: activations and weights are rounded to bf16, sums and results "
                   "stay f32; f16: weights are kept in f16, arithmetic is f32; f32: as the model says. Products from "
                   "which a choice is made stay f32 (default f32)")
        ->group("Plan")
        ->check(CLI::IsMember({"f32", "bf16", "f16"}));
    app.add_option(
           "--fill", options.fill,
           "what stands behind floating-point inputs that are smaller than an entry: zeros, as the runtime does "
           "it, which some sums need no mask for; any: nothing is taken for granted, NaN is kept out too "
           "(default zeros)")
        ->group("Plan")
        ->check(CLI::IsMember({"zeros", "any"}));
    app.add_option("--topology", options.topology,
                   "what predictions are made for: a preset or a JSON file (default cpu)")
        ->group("Plan");
    app.add_option("--link", options.link, "predict for links of this rate and latency, e.g. 1Gbit,50us")
        ->group("Plan");
    app.add_option("--tuning", options.tuning, "measured times that override the formulas, from commc bench")
        ->group("Plan");
    for (llvm::StringRef pass : mlir::comm::getOptionalPasses())
      app.add_flag("--no-" + pass.str(), switches[pass.str()], "switch the pass off")
          ->group("Passes that can be switched off");
    app.add_option("--dim", dims,
                   "size of a symbolic dimension, name=value; name=value,value,...: one entry for each size, with the "
                   "same weights; repeatable: one entry for each combination")
        ->group("Shapes")
        ->allow_extra_args(false);
    app.add_option("--shapes", shapes, "shapes of inputs, name:1x128,...")->group("Shapes")->allow_extra_args(false);
    app.add_option("--shapes-from", options.shapesFrom,
                   "bind every dimension from arrays, @inputs.npz, and fix inputs that decide shapes to their "
                   "values there; repeatable: one entry each")
        ->group("Shapes")
        ->allow_extra_args(false);
    app.add_option("--weights", options.weights,
                   "reference: weights stay in the model's files; embed: copied into the executable; auto: reference "
                   "when the executable lies beside or above them (default auto)")
        ->group("Output")
        ->check(CLI::IsMember({"auto", "reference", "embed"}));
    app.add_option("--stop-after", options.stopAfter, "print the IR after a phase to standard output (or -o) and stop")
        ->group("Output")
        ->check(CLI::IsMember({"import", "partition", "optimize", "schedule", "lower"}));
    app.add_option("--dump-ir", options.dumpIR, "write the IR after every phase into this directory")->group("Output");
    app.add_flag("--explain", options.explain, "print each decision with its reason")->group("Output");
    app.add_flag("--mlir-timing", options.timing, "print the time of every pass")->group("Output");
  }
  try {
    std::vector<std::string> arguments(argv + (named ? 2 : 1), argv + argc);
    std::reverse(arguments.begin(), arguments.end());
    app.parse(arguments);
  } catch (const CLI::Success &e) {
    return app.exit(e);
  } catch (const CLI::ParseError &e) {
    std::string what = e.what();
    if (what.empty() || !checkLeftovers(app))
      return kUsage;
    usage(what, named ? "commc " + command + " --help" : "commc --help");
    return kUsage;
  }
  if (!checkLeftovers(app))
    return kUsage;
  int64_t *limits[] = {&options.memoryLimit, &options.maxTensorBytes, &options.maxTotalBytes};
  for (size_t i = 0; i < byteTexts.size(); ++i)
    if (!byteTexts[i].empty() && !parseBytes(byteTexts[i], *limits[i])) {
      usage("'" + byteTexts[i] + "' is not a size", "4GiB");
      return kUsage;
    }
  for (const std::string &dim : dims)
    if (!parseDim(dim, options.dims))
      return kUsage;
  if (!checkEntryCount(options))
    return kUsage;
  for (const std::string &shape : shapes)
    if (!parseShapes(shape, options.shapes))
      return kUsage;
  for (const auto &[pass, off] : switches)
    if (off)
      options.disabled.push_back(pass);
  options.overlapGiven = overlap && overlap->count() > 0;
  if (options.command == Command::Compile)
    return buildGrid(options, tp, dp, sp, devices && devices->count() > 0);
  return -1;
}
