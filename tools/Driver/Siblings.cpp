//===- Siblings.cpp - entries that run smaller inputs ---------------------===//
// The model is imported again at some of the smaller sizes, through the same passes, in a module of its own: its
// remarks are nobody's. The pass comm-mask-padding compares.
//===----------------------------------------------------------------------===//
#include "tools/Driver/Siblings.h"
#include "comm/IR/CommOps.h"
#include "comm/IR/Pads.h"
#include "comm/Import/Import.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Pass/PassManager.h"
#include "tools/Driver/Buckets.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/raw_ostream.h"
#include <set>

using namespace commc;
using namespace mlir;
using namespace mlir::comm;

/// Sizes between `below` and `size` to look at: the ends, one in the middle for models that differ at the lower end,
/// and 2 because dimensions of 1 are often special.
static std::set<int64_t> sizesBetween(int64_t below, int64_t size) {
  std::set<int64_t> sizes;
  for (int64_t candidate : {below + 1, below + 2, (below + size + 1) / 2, size - 1})
    if (candidate > below && candidate < size && (candidate != below + 2 || below == 0 || candidate == size - 1))
      sizes.insert(candidate);
  return sizes;
}

static void warn(ModuleOp module) {
  struct Refusal {
    std::string entry, reason;
    size_t others = 0;
  };
  llvm::MapVector<StringAttr, Refusal> refusals;
  for (func::FuncOp function : module.getOps<func::FuncOp>())
    if (auto exact = function->getAttrOfType<DictionaryAttr>(kExactAttr))
      for (NamedAttribute symbol : exact) {
        auto [it, isNew] = refusals.insert({symbol.getName(), Refusal()});
        if (isNew)
          it->second = {function.getName().str(), cast<StringAttr>(symbol.getValue()).str()};
        else
          ++it->second.others;
      }
  for (const auto &[symbol, refusal] : refusals) {
    llvm::errs() << "warning: entry '" << refusal.entry << "' takes no other size of '" << symbol.getValue()
                 << "' than its own: " << refusal.reason;
    if (refusal.others)
      llvm::errs() << " (and " << refusal.others << " more entries, see --explain)";
    llvm::errs() << "\n";
  }
}

bool commc::padEntries(const Options &options, const OnnxModel &model, ModuleOp module,
                       const PipelineOptions &pipeline) {
  std::vector<EntrySizes> entries = listEntries(options);
  if (entries.size() == 1 || !pipeline.isOn("mask-padding"))
    return true;
  MLIRContext *context = module.getContext();
  Builder builder(context);
  OwningOpRef<ModuleOp> others = ModuleOp::create(module.getLoc());
  for (const EntrySizes &entry : entries) {
    NamedAttrList symbols;
    for (const auto &[name, sizes] : options.dims) {
      int64_t size = entry.dims.at(name);
      auto own = std::find(sizes.begin(), sizes.end(), size);
      int64_t below = own == sizes.begin() ? 0 : *(own - 1);
      if (sizes.size() == 1 || sizesBetween(below, size).empty())
        continue;
      symbols.set(name, builder.getI64IntegerAttr(size));
      for (int64_t smaller : sizesBetween(below, size)) {
        ImportOptions import;
        import.dims = entry.dims;
        import.dims[name] = smaller;
        import.inputShapes = options.shapes;
        import.entryName = entry.name + "/" + name + "=" + std::to_string(smaller);
        Problems problems; // a size that the model does not have is not looked at
        if (failed(model.importEntry(*others, import, problems)))
          continue;
        auto function = others->lookupSymbol<func::FuncOp>(import.entryName);
        function->removeAttr(kEntryAttr);
        function->setAttr(kSiblingAttr, FlatSymbolRefAttr::get(context, entry.name));
        function->setAttr(kSiblingSizeAttr,
                          builder.getDictionaryAttr({builder.getNamedAttr(name, builder.getI64IntegerAttr(smaller))}));
      }
    }
    if (!symbols.empty())
      module.lookupSymbol(entry.name)->setAttr(kSizesAttr, symbols.getDictionary(context));
  }
  PassManager raise(context);
  buildPhase(Phase::Import, raise, pipeline);
  if (failed(raise.run(*others)))
    return false;
  for (func::FuncOp function : llvm::to_vector(others->getOps<func::FuncOp>())) {
    function->remove();
    module.push_back(function);
  }
  PassManager pad(context);
  buildMaskPadding(pad, pipeline);
  if (failed(pad.run(module)))
    return false;
  if (!options.quiet)
    warn(module);
  return true;
}
