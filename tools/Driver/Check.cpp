//===- Check.cpp - commc check --------------------------------------------===//
#include "comm/Import/Import.h"
#include "tools/Driver/Driver.h"
#include "tools/Driver/Problems.h"
#include "llvm/Support/JSON.h"
#include "llvm/Support/raw_ostream.h"

using namespace commc;

/// Exit code of a list of problems: what is malformed comes before what is unsupported.
int commc::exitCodeOf(const mlir::comm::Problems &problems) {
  int code = kOk;
  for (const mlir::comm::Problem &problem : problems) {
    if (problem.warning)
      continue;
    int own = problem.code.size() > 1 && llvm::isDigit(problem.code[1]) ? problem.code[1] - '0' : kInternal;
    code = code == kOk || own < code ? own : code;
  }
  return code;
}

void commc::printProblems(const mlir::comm::Problems &problems, bool quiet) {
  for (const mlir::comm::Problem &problem : problems)
    if (!problem.warning || !quiet)
      llvm::errs() << problem.str() << "\n";
}

mlir::comm::OpenOptions commc::getOpenOptions(const Options &options) {
  mlir::comm::OpenOptions open;
  open.strictExternalData = options.strictExternalData;
  if (options.maxTensorBytes)
    open.maxTensorBytes = options.maxTensorBytes;
  if (options.maxTotalBytes)
    open.maxTotalBytes = options.maxTotalBytes;
  return open;
}

int commc::runCheck(const Options &options) {
  mlir::comm::Problems problems;
  auto model = mlir::comm::OnnxModel::open(options.input, getOpenOptions(options), problems);
  if (model)
    model->check(problems);
  if (options.json) {
    llvm::json::Array list;
    for (const auto &problem : problems)
      list.push_back(llvm::json::Object{{"code", problem.code},
                                        {"what", problem.what},
                                        {"where", problem.where},
                                        {"hint", problem.hint},
                                        {"warning", problem.warning}});
    llvm::outs() << llvm::json::Value(llvm::json::Object{{"model", options.input},
                                                         {"supported", !mlir::comm::hasErrors(problems)},
                                                         {"problems", std::move(list)}})
                 << "\n";
    return exitCodeOf(problems);
  }
  printProblems(problems, options.quiet);
  if (!mlir::comm::hasErrors(problems) && !options.quiet)
    llvm::outs() << "ok  " << options.input << ": every operator is supported\n";
  return exitCodeOf(problems);
}
