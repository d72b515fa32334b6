//===- PadTypes.cpp - dimensions that hold fill, ops at two sizes ---------===//
#include "PadTypes.h"
#include "comm/IR/CommOps.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/IR/OperationSupport.h"

using namespace mlir;
using namespace mlir::comm;
using namespace mlir::comm::padding;

Dim padding::normalized(ArrayRef<Part> parts) {
  Dim out;
  for (const Part &part : parts) {
    if (part.symbol == Part::kExact && part.size == 1)
      continue;
    if (part.symbol == Part::kExact && !out.empty() && out.back().symbol == Part::kExact)
      out.back().size *= part.size;
    else
      out.push_back(part);
  }
  return out;
}

int padding::symbolIn(ArrayRef<Part> dim) {
  for (const Part &part : dim)
    if (part.symbol >= 0)
      return part.symbol;
  return Part::kExact;
}

std::optional<PadExtent> padding::extentOf(ArrayRef<Part> dim) {
  Dim parts = normalized(dim);
  if (parts.size() != 1 || parts[0].symbol < 0)
    return std::nullopt;
  return PadExtent{static_cast<unsigned>(parts[0].symbol), parts[0].offset};
}

bool padding::splitDim(ArrayRef<Part> dim, ArrayRef<int64_t> sizes, SmallVectorImpl<Dim> &out) {
  Dim rest = normalized(dim);
  std::reverse(rest.begin(), rest.end()); // the next part is last
  for (int64_t size : sizes) {
    Dim &factor = out.emplace_back();
    while (size > 1) {
      if (rest.empty())
        return false;
      Part &part = rest.back();
      if (size % part.size == 0) {
        size /= part.size;
        factor.push_back(rest.pop_back_val());
      } else if (part.symbol == Part::kExact && part.size % size == 0) {
        factor.push_back({size});
        part.size /= size;
        size = 1;
      } else {
        return false;
      }
    }
  }
  return rest.empty();
}

std::vector<double> padding::numbersOf(DenseElementsAttr attr) {
  std::vector<double> out;
  out.reserve(attr.getNumElements());
  if (isa<FloatType>(attr.getElementType())) {
    for (APFloat number : attr.getValues<APFloat>()) {
      bool losesInfo;
      number.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &losesInfo);
      out.push_back(number.convertToDouble());
    }
  } else {
    bool isBool = attr.getElementType().isInteger(1);
    for (const APInt &number : attr.getValues<APInt>())
      out.push_back(isBool ? static_cast<double>(number.getZExtValue()) : static_cast<double>(number.getSExtValue()));
  }
  return out;
}

/// Where the window of a weight begins.
static SmallVector<int64_t> startsOf(WeightOp weight) {
  SmallVector<int64_t> starts(cast<RankedTensorType>(weight.getStored()).getRank(), 0);
  if (ArrayAttr slices = weight.getSlicesAttr())
    for (SliceAttr slice : slices.getAsRange<SliceAttr>())
      starts[slice.getDim()] = slice.getStart();
  return starts;
}

bool padding::sameOperation(Operation *op, Operation *twin, std::string &why) {
  if (op->getName() != twin->getName() || op->getNumOperands() != twin->getNumOperands() ||
      op->getNumResults() != twin->getNumResults() || op->getNumRegions() != twin->getNumRegions()) {
    why = "is another operation, " + twin->getName().getStringRef().str();
    return false;
  }
  for (auto [result, other] : llvm::zip_equal(op->getResults(), twin->getResults())) {
    auto type = dyn_cast<RankedTensorType>(result.getType()), small = dyn_cast<RankedTensorType>(other.getType());
    if (!type || !small || type.getElementType() != small.getElementType() || type.getRank() != small.getRank()) {
      why = "has a result of another kind";
      return false;
    }
  }
  if (auto weight = dyn_cast<WeightOp>(op)) {
    auto other = cast<WeightOp>(twin);
    bool same = weight.getFile() == other.getFile() && weight.getOffset() == other.getOffset() &&
                weight.getStored() == other.getStored() && startsOf(weight) == startsOf(other);
    why = same ? "" : "reads another part of a weight";
    return same;
  }
  // What follows from the types says nothing of its own.
  auto isDerived = [&](StringRef name) {
    return (isa<arith::ConstantOp>(op) && name == "value") ||
           (isa<tensor::ExpandShapeOp>(op) && name == "static_output_shape") ||
           (isa<tensor::ExtractSliceOp>(op) && name == "static_sizes");
  };
  DictionaryAttr attributes = op->getAttrDictionary(), others = twin->getAttrDictionary();
  for (NamedAttribute attribute : attributes)
    if (!isDerived(attribute.getName()) && others.get(attribute.getName()) != attribute.getValue()) {
      why = "has another '" + attribute.getName().str() + "'";
      return false;
    }
  if (attributes.size() != others.size()) {
    why = "has other attributes";
    return false;
  }
  for (auto [region, other] : llvm::zip_equal(op->getRegions(), twin->getRegions()))
    if (!OperationEquivalence::isRegionEquivalentTo(&region, &other, OperationEquivalence::IgnoreLocations)) {
      why = "computes something else";
      return false;
    }
  return true;
}
