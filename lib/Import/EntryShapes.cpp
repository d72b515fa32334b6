//===- EntryShapes.cpp - sizes of the dimensions of one entry -------------===//
// Given shapes bind names, expressions are solved for their last unknown, and everything is checked against everything.
// What is left is listed with the flag to give it.
//===----------------------------------------------------------------------===//
#include "DimExpr.h"
#include "Entry.h"
#include "llvm/ADT/StringExtras.h"

namespace mlir::comm {

/// An initializer that is also an input is a default: an argument only when the user gives its shape. Before IR 4 every
/// initializer had to be listed.
bool EntryImporter::isArgument(const onnx::ValueInfo &input) const {
  return !model.initializers.count(input.name) || (model.model.irVersion >= 4 && options.inputShapes.count(input.name));
}

static std::set<std::string> namesIn(const onnx::Dim &dim) {
  return dim.param.empty() ? std::set<std::string>() : onnx::DimExpr::parse(dim.param).getNames();
}
static std::string where(const onnx::ValueInfo &input) { return "graph input '" + input.name + "'"; }

bool EntryImporter::resolveShapes() {
  std::map<std::string, int64_t> sizes = options.dims;
  std::set<std::string> known, inputNames;
  for (const onnx::ValueInfo &input : model.model.graph.inputs) {
    inputNames.insert(input.name);
    if (isArgument(input))
      arguments.push_back(&input);
    for (const onnx::Dim &dim : input.dims)
      for (const std::string &name : namesIn(dim))
        known.insert(name);
  }
  for (const auto &[name, size] : options.dims) {
    if (!known.count(name))
      problem("E212", "no input has a dimension '" + name + "'", "--dim " + name + "=" + Twine(size),
              known.empty() ? std::string("leave it out: all dimensions are fixed")
                            : "one of: " + llvm::join(known, ", "));
    if (size < 0)
      problem("E212", "dimension '" + name + "' cannot be " + Twine(size));
  }
  for (const auto &[name, shape] : options.inputShapes)
    if (!inputNames.count(name))
      problem("E214", "the graph has no input '" + name + "'", "", "inputs: " + llvm::join(inputNames, ", "));
  if (numProblems)
    return false;

  struct Equation {
    const onnx::ValueInfo *input;
    size_t dim;
    onnx::DimExpr expr;
    int64_t size; // -1: not given
  };
  std::vector<Equation> equations;
  for (const onnx::ValueInfo *input : arguments) {
    auto given = options.inputShapes.find(input->name);
    bool isGiven = given != options.inputShapes.end();
    if (!isGiven && !input->hasShape) {
      problem("E212", "the model does not say the shape of this input", where(*input), "--shapes-from=@inputs.npz");
      continue;
    }
    if (isGiven && input->hasShape && given->second.size() != input->dims.size()) {
      problem("E214", "expected " + Twine(input->dims.size()) + " dimensions, got " + Twine(given->second.size()),
              where(*input));
      continue;
    }
    size_t rank = isGiven ? given->second.size() : input->dims.size();
    shapes[input->name].assign(rank, -1);
    for (size_t dim = 0; dim < rank; ++dim) {
      int64_t size = isGiven ? given->second[dim] : -1;
      const onnx::Dim declared = input->hasShape ? input->dims[dim] : onnx::Dim();
      if (isGiven && size < 0)
        problem("E214", "dimension " + Twine(dim) + " cannot be " + Twine(size), where(*input));
      if (declared.value >= 0 && isGiven && declared.value != size)
        problem("E214",
                "dimension " + Twine(dim) + " is " + Twine(declared.value) + " in the model, got " + Twine(size),
                where(*input));
      if (declared.value >= 0 || declared.param.empty())
        shapes[input->name][dim] = declared.value >= 0 ? declared.value : size;
      else
        equations.push_back({input, dim, onnx::DimExpr::parse(declared.param), size});
    }
  }
  for (bool progress = true; progress;) {
    progress = false;
    for (const Equation &equation : equations)
      if (equation.size >= 0)
        if (auto solution = equation.expr.solve(equation.size, sizes); solution && solution->second >= 0)
          progress |= sizes.insert(*solution).second;
  }
  std::set<std::string> missing;
  for (const Equation &equation : equations) {
    const std::string &text = equation.input->dims[equation.dim].param;
    std::optional<int64_t> size = equation.expr.evaluate(sizes);
    for (const std::string &name : equation.expr.getNames())
      if (!sizes.count(name))
        missing.insert(name);
    bool complete = llvm::all_of(equation.expr.getNames(), [&](const std::string &name) { return sizes.count(name); });
    if (complete && !size)
      problem("E214", "dimension " + Twine(equation.dim) + ", '" + text + "', has no valid size with the given ones",
              where(*equation.input));
    else if (size && equation.size >= 0 && *size != equation.size)
      problem("E214",
              "dimension " + Twine(equation.dim) + " is '" + text + "' = " + Twine(*size) + ", got " +
                  Twine(equation.size),
              where(*equation.input));
    if (auto solution = equation.expr.solve(equation.size, sizes);
        equation.size >= 0 && solution && solution->second < 0)
      problem("E214",
              "dimension " + Twine(equation.dim) + ", '" + text + "' = " + Twine(equation.size) + ", would make '" +
                  solution->first + "' negative",
              where(*equation.input));
    // A given size counts even if its expression cannot be solved.
    shapes[equation.input->name][equation.dim] = size ? *size : equation.size;
  }
  std::set<std::string> blocking;
  for (const onnx::ValueInfo *input : arguments)
    for (auto [dim, size] : llvm::enumerate(shapes[input->name])) {
      if (size >= 0 || numProblems)
        continue;
      if (input->dims[dim].param.empty())
        problem("E212", "dimension " + Twine(dim) + " has neither size nor name", where(*input),
                "--shapes-from=@inputs.npz");
      for (const std::string &name : namesIn(input->dims[dim]))
        if (missing.count(name))
          blocking.insert(name);
    }
  if (!blocking.empty()) {
    std::string flags;
    for (const std::string &name : blocking)
      flags += (flags.empty() ? "--dim " : " --dim ") + name + "=" +
               (name.find("past") != std::string::npos   ? "0"
                : name.find("atch") != std::string::npos ? "1"
                                                         : "16");
    problem("E212", "the sizes of these dimensions are not known: " + llvm::join(blocking, ", "), "",
            flags + "  (or --shapes-from=@inputs.npz)");
  }
  return numProblems == 0;
}

} // namespace mlir::comm
