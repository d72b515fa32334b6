//===- OpTimes.cpp - predicted time of every op on a topology -------------===//
#include "comm/Analysis/OpTimes.h"
#include "comm/IR/CommExpertOps.h"
#include "comm/IR/Precision.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Linalg/IR/Linalg.h"
#include "mlir/Dialect/Tensor/IR/Tensor.h"
#include "mlir/Interfaces/SideEffectInterfaces.h"

using namespace mlir;
using namespace mlir::comm;
namespace cost = ::comm::cost;
namespace solver = ::comm::solver;

std::shared_ptr<const cost::CostModel> mlir::comm::loadCostModel(const CostOptions &options, std::string &error) {
  std::string name = options.topology.empty() ? "cpu" : options.topology;
  cost::Topology topology;
  if (!cost::loadTopology(options.link.empty() ? name : name + "@" + options.link, topology, error))
    return nullptr;
  auto model = std::make_shared<cost::CostModel>(topology);
  if (!options.tuning.empty() && !model->addTuning(options.tuning, error))
    return nullptr;
  return model;
}

std::shared_ptr<const cost::CostModel> mlir::comm::loadCostModel(Operation *op, const CostOptions &options) {
  std::string error;
  auto model = loadCostModel(options, error);
  if (!model)
    op->emitError("error[E202]: ") << error;
  return model;
}

static std::string dtypeOf(Type type) {
  Type element = getElementTypeOrSelf(type);
  if (element.isF16())
    return "f16";
  if (element.isBF16())
    return "bf16";
  if (element.isF64())
    return "f64";
  if (element.isInteger(8))
    return "i8";
  return "f32";
}

/// What a product multiplies.
static std::string dtypeOf(Operation *product, Value operand) {
  StringRef precision = getPrecision(product);
  return precision.empty() ? dtypeOf(operand.getType()) : precision.str();
}

/// A slice of whole rows lies in one piece.
static bool isView(tensor::ExtractSliceOp slice) {
  if (slice->getNumOperands() != 1)
    return false;
  ArrayRef<int64_t> sizes = slice.getStaticSizes(), strides = slice.getStaticStrides(),
                    source = slice.getSourceType().getShape();
  bool inner = false; // a dimension was seen that is longer than 1
  for (auto [size, stride, whole] : llvm::zip_equal(sizes, strides, source)) {
    if (inner && size != whole)
      return false;
    if (stride != 1 && size != 1)
      return false;
    inner |= size != 1;
  }
  return true;
}

bool mlir::comm::isFreeOp(Operation *op) {
  if (auto slice = dyn_cast<tensor::ExtractSliceOp>(op))
    return isView(slice);
  return isa<WeightOp, arith::ConstantOp, tensor::EmptyOp, tensor::ExpandShapeOp, tensor::CollapseShapeOp,
             tensor::CastOp, linalg::BroadcastOp>(op);
}

bool mlir::comm::isFusible(Operation *op) {
  if (op->getNumResults() != 1 || isFreeOp(op))
    return false;
  return isa<GeluOp, SiluOp, RMSNormOp, LayerNormOp, SoftmaxOp, linalg::ReduceOp>(op) ||
         (op->hasTrait<OpTrait::Elementwise>() && op->getNumRegions() == 0);
}

static int64_t flopsOf(Operation *op) {
  if (auto own = dyn_cast<CostOpInterface>(op))
    return own.getFlops();
  if (auto reduce = dyn_cast<linalg::ReduceOp>(op)) // one for each element that is read
    return cast<ShapedType>(reduce.getInputs()[0].getType()).getNumElements();
  return isa<arith::ArithDialect, math::MathDialect, linalg::LinalgDialect>(op->getDialect())
             ? mlir::comm::detail::elementwiseFlops(op)
             : 0;
}

int64_t OpTimes::bytesOf(Operation *op) {
  if (auto own = dyn_cast<CostOpInterface>(op))
    return own.getBytes();
  // Data movement reads what it writes.
  if (isa<tensor::TensorDialect>(op->getDialect()) || isa<linalg::TransposeOp>(op)) {
    int64_t written = 0;
    for (Type type : op->getResultTypes())
      written += getTensorBytes(type);
    return 2 * written;
  }
  return mlir::comm::detail::operandAndResultBytes(op);
}

cost::GemmQuery OpTimes::query(MatmulOp op) {
  cost::GemmQuery query;
  query.dtype = dtypeOf(op, op.getLhs());
  auto lhs = cast<RankedTensorType>(op.getLhs().getType()), rhs = cast<RankedTensorType>(op.getRhs().getType()),
       result = cast<RankedTensorType>(op.getType());
  query.k = lhs.getDimSize(lhs.getRank() - (op.getTransposeLhs() ? 2 : 1));
  query.n = result.getShape().back();
  int64_t rows = result.getNumElements() / std::max<int64_t>(query.n, 1);
  // A matrix that all batches share makes one product of all rows.
  bool shared = llvm::all_of(rhs.getShape().drop_back(2), [](int64_t size) { return size == 1; });
  query.m = shared ? rows : result.getDimSize(result.getRank() - 2);
  query.batch = query.m > 0 ? rows / query.m : 0;
  return query;
}

/// One token reads the integers; many rows are a product like any other.
static double quantizedUs(const cost::CostModel &model, QuantizedMatmulOp op) {
  auto input = op.getInput().getType();
  int64_t k = input.getShape().back(), rows = input.getNumElements() / k, n = op.getType().getShape().back();
  if (rows < 8)
    return model.memoryUs({op.getBytes(), 0, dtypeOf(input), ""});
  cost::GemmQuery query;
  query.dtype = dtypeOf(input);
  query.m = rows;
  query.n = n;
  query.k = k;
  query.batch = 1;
  return model.gemmUs(query);
}

static cost::AttentionQuery attentionOf(AttentionOp op) {
  cost::AttentionQuery query;
  auto q = op.getQuery().getType(), k = op.getKey().getType();
  query.dtype = dtypeOf(op, op.getQuery());
  query.batch = q.getDimSize(0);
  query.heads = q.getDimSize(1);
  query.kvHeads = k.getDimSize(1);
  query.newTokens = q.getDimSize(2);
  query.pastTokens = std::max<int64_t>(0, k.getDimSize(2) - q.getDimSize(2));
  query.headDim = q.getDimSize(3);
  query.causal = op.isCausal();
  return query;
}

/// As if the rows were shared out evenly.
static cost::GemmQuery expertsOf(ExpertMatmulOp op) {
  cost::GemmQuery query;
  query.dtype = dtypeOf(op.getInput().getType());
  query.k = op.getInput().getType().getShape().back();
  query.n = op.getType().getShape().back();
  int64_t rows = op.getIds().getType().getNumElements();
  query.batch = std::min(rows, op.getWeights().getType().getDimSize(0));
  query.m = query.batch > 0 ? (rows + query.batch - 1) / query.batch : 0;
  return query;
}

double OpTimes::of(Operation *op) const {
  if (isFreeOp(op))
    return 0;
  // Parts of a contiguous concatenation are computed in their place.
  if (auto concat = dyn_cast<tensor::ConcatOp>(op))
    if (llvm::all_of(concat.getResultType().getShape().take_front(concat.getDim()), [](int64_t d) { return d == 1; }))
      return 0;
  if (auto matmul = dyn_cast<MatmulOp>(op))
    return model->gemmUs(query(matmul));
  if (auto quantized = dyn_cast<QuantizedMatmulOp>(op))
    return quantizedUs(*model, quantized);
  if (auto experts = dyn_cast<ExpertMatmulOp>(op))
    return model->gemmUs(expertsOf(experts));
  if (auto attention = dyn_cast<AttentionOp>(op))
    return model->attentionUs(attentionOf(attention));
  return ofLoop(op, bytesOf(op));
}

double OpTimes::ofLoop(ArrayRef<Operation *> ops, int64_t bytes) const {
  cost::MemoryQuery query;
  query.bytes = bytes;
  for (Operation *op : ops) {
    query.flops += flopsOf(op);
    if (isa<RMSNormOp, LayerNormOp, SoftmaxOp, linalg::ReduceOp>(op))
      query.kind = "norm";
    else if (query.kind.empty() && isFusible(op))
      query.kind = "loop";
  }
  if (!ops.empty() && ops[0]->getNumResults() > 0)
    query.dtype = dtypeOf(ops[0]->getResult(0).getType());
  return model->memoryUs(query);
}

cost::CollectiveQuery OpTimes::query(Operation *collective) const {
  cost::CollectiveQuery query;
  auto op = cast<CollectiveOpInterface>(collective);
  StringRef name = collective->getName().stripDialect();
  bool reduces = name == "all_reduce_norm" || name == "scatter_norm_gather";
  query.op = reduces ? "all_reduce" : name.str();
  query.dtype = dtypeOf(collective->getOperand(0).getType());
  query.ranks = grid ? grid.getNumShards(op.getAxesAttr()) : 1;
  query.bytes =
      getTensorBytes(name == "all_gather" ? collective->getResult(0).getType() : collective->getOperand(0).getType());
  return query;
}

double OpTimes::ofCollective(Operation *collective) const {
  cost::CollectiveQuery asked = query(collective);
  double us = asked.ranks > 1 ? model->collectiveUs(asked) : 0;
  // A fused op adds and norms as well, on all rows or on those that the rank owns.
  StringRef name = collective->getName().stripDialect();
  int64_t parts = name == "all_reduce_norm" ? 1 : name == "scatter_norm_gather" ? asked.ranks : 0;
  if (parts > 0)
    us += model->memoryUs({4 * asked.bytes / parts, 0, asked.dtype, "norm"});
  return us;
}

solver::Resource OpTimes::resourceOf(Operation *collective) const {
  const cost::Topology &topology = model->topology();
  // Ranks are numbered node by node: the group of rank 0 spans as far as its last member.
  int64_t last = 0, stride = 1;
  if (grid) {
    auto axes = cast<CollectiveOpInterface>(collective).getAxesAttr();
    ArrayAttr names = grid.getAxes();
    for (size_t i = names.size(); i-- > 0;) {
      int64_t size = grid.getSizes()[i];
      if (llvm::is_contained(axes, names[i]))
        last += (size - 1) * stride;
      stride *= size;
    }
  }
  if (last >= std::max<int64_t>(topology.ranksPerNode, 1))
    return solver::Resource::ScaleOut;
  StringRef name = collective->getName().stripDialect();
  bool moves = name == "all_gather" || name == "all_to_all" || name == "broadcast" || name == "permute";
  return moves && !topology.device.cpu ? solver::Resource::CopyEngine : solver::Resource::ScaleUp;
}
