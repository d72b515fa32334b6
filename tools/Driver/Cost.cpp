//===- Cost.cpp - commc cost: topologies and predicted times --------------===//
// No model and no MLIR: the questions are rows of CSV, the answers the same rows with predicted_us.
//===----------------------------------------------------------------------===//
#include "tools/Driver/Cost.h"
#include "comm/Cost/Rows.h"
#include "tools/Driver/Options.h"
#include <CLI/CLI.hpp>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <iterator>

using namespace commc;
using namespace comm::cost;

namespace {

int usage(const std::string &what, const std::string &where, const std::string &hint) {
  printError("E201", what, where, hint);
  return kUsage;
}

/// The model of a row's system, made once. False after the message.
bool modelOf(const std::string &system, const std::string &tuning, std::map<std::string, CostModel> &models,
             std::string &error) {
  if (models.count(system))
    return true;
  Topology topology;
  if (!loadTopology(system, topology, error))
    return false;
  CostModel model(topology);
  if (!tuning.empty() && !model.addTuning(tuning, error))
    return false;
  models.emplace(system, model);
  return true;
}

int answer(const std::string &path, const std::string &tuning) {
  std::ifstream file(path, std::ios::binary);
  std::string text((std::istreambuf_iterator<char>(file)), {});
  if (!file.is_open() || file.bad())
    return usage("cannot read '" + path + "'", "", "a CSV file with the columns of docs/cost.md");
  RowTable table;
  std::vector<std::string> problems;
  std::map<std::string, CostModel> models;
  if (readRows(text, table, problems))
    for (const Row &row : table.rows) {
      std::string error;
      if (modelOf(row.system, tuning, models, error) || (!problems.empty() && problems.back() == error))
        continue;
      problems.push_back(error);
      if (problems.size() >= 50)
        break;
    }
  for (const std::string &problem : problems)
    printError("E201", problem, path);
  if (!problems.empty())
    return kUsage;
  std::string out = table.header + ",predicted_us\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    char number[40];
    std::snprintf(number, sizeof(number), ",%.6g\n",
                  predictUs(models.at(table.rows[r].system), table.kind, table.rows[r]));
    out += table.lines[r] + number;
  }
  std::cout << out << std::flush;
  if (!std::cout)
    return usage("cannot write the answers to standard output", "", "check the disk or the pipe");
  return kOk;
}

} // namespace

int commc::runCost(int argc, char **argv) {
  std::string topologyName, query, tuning;
  bool list = false;
  CLI::App app("Print a topology, or predict times of collectives, products, attention and expert layers.\n"
               "Example: commc cost --query rows.csv",
               "commc cost");
  app.footer(
      "rows.csv has the columns of the measured tables (docs/cost.md); its answers are the same rows in order with "
      "predicted_us.");
  app.add_option("--topology", topologyName, "print this preset (cpu, h200_sxm, cpu:2@1Gbit,50us) or file as JSON");
  app.add_flag("--list", list, "list the presets");
  app.add_option("--query", query, "answer the rows of a CSV file");
  app.add_option("--tuning", tuning, "rows of commc bench that come before the built-in tables");
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success &e) {
    return app.exit(e);
  } catch (const CLI::ParseError &e) {
    return usage(e.what(), "", "commc cost --help");
  }
  if (list + !topologyName.empty() + !query.empty() != 1)
    return usage("one of --topology, --list and --query is needed", "", "commc cost --help");
  if (list) {
    for (const std::string &name : topologyNames())
      std::cout << name << "\n";
    return kOk;
  }
  if (!query.empty())
    return answer(query, tuning);
  Topology topology;
  std::string error;
  if (!loadTopology(topologyName, topology, error))
    return usage(error, "", "commc cost --list");
  CostModel model(topology);
  if (!tuning.empty() && !model.addTuning(tuning, error))
    return usage(error, "", "commc bench");
  std::cout << printTopology(model.topology());
  return kOk;
}
