//===- Gather.cpp - gather, gather_nd, gather_elements, embedding ---------===//
// Indices are data: each one is checked when it is used, and the first bad one ends the run with a sentence.
//===----------------------------------------------------------------------===//
#include "runtime/Kernels/Gather/Indices.h"
#include "runtime/Kernels/Shard/Shards.h"
#include "runtime/Kernels/Support.h"
#include <cstring>

using namespace comm;
using namespace comm::rt;

namespace {
/// Wraps a negative index; false when it is outside [-size, size).
bool wrap(int64_t &index, int64_t size) {
  if (index < 0)
    index += size;
  return index >= 0 && index < size;
}

Status outOfRange(const std::string &prefix, int64_t index, int64_t size) {
  std::string n = std::to_string(size);
  return {Code::InvalidArgument, prefix + "index " + std::to_string(index) + " is outside [-" + n + ", " + n + ")"};
}

Status checkAxis(const Preparation &p, int64_t &axis, size_t rank) {
  if (Status s = p.intAttr("axis", axis); !s)
    return s;
  if (axis < 0 || axis >= int64_t(rank))
    return p.bad("'axis' " + std::to_string(axis) + " is outside rank " + std::to_string(rank));
  return Status::ok();
}

inline void moveBytes(char *to, const char *from, int64_t bytes) {
  if (bytes == 4)
    std::memcpy(to, from, 4);
  else if (bytes == 8)
    std::memcpy(to, from, 8);
  else
    std::memcpy(to, from, size_t(bytes));
}
} // namespace

Status comm::rt::prepareGather(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(2, 2, 1, {"axis"}); !s)
    return s;
  const TensorDesc &data = p.ins[0], &indices = p.ins[1];
  int64_t axis = 0;
  if (Status s = checkAxis(p, axis, data.shape.size()); !s)
    return s;
  if (Status s = checkIndices(p, indices); !s)
    return s;
  if (Status s = p.sameType(data, p.outs[0]); !s)
    return s;
  exe::Shape expected(data.shape.begin(), data.shape.begin() + axis);
  expected.insert(expected.end(), indices.shape.begin(), indices.shape.end());
  expected.insert(expected.end(), data.shape.begin() + axis + 1, data.shape.end());
  if (Status s = p.sameShape(p.outs[0].shape, expected, "output"); !s)
    return s;
  int64_t outer = elementsOf(data.shape, 0, axis), count = elementsOf(indices.shape), size = data.shape[axis];
  int64_t inner = elementsOf(data.shape, axis + 1, data.shape.size()) * exe::byteWidth(data.dtype);
  bool wide = indices.dtype == exe::DType::I64;
  out = makeKernel(elementsOf(expected) ? outer * count : 0,
                   [=, prefix = p.prefix()](void *const *ins, void *const *outs, int64_t begin, int64_t end) {
                     Indices at(ins[1], wide);
                     const char *from = static_cast<const char *>(ins[0]);
                     char *to = static_cast<char *>(outs[0]);
                     for (int64_t i = begin; i < end; ++i) {
                       int64_t given = at[i % count], index = given;
                       if (!wrap(index, size))
                         return outOfRange(prefix, given, size);
                       moveBytes(to + i * inner, from + (i / count * size + index) * inner, inner);
                     }
                     return Status::ok();
                   });
  return Status::ok();
}

Status comm::rt::prepareGatherND(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(2, 2, 1, {"batch_dims"}); !s)
    return s;
  const TensorDesc &data = p.ins[0], &indices = p.ins[1];
  int64_t batchDims = 0;
  const int64_t zero = 0;
  if (Status s = p.intAttr("batch_dims", batchDims, &zero); !s)
    return s;
  if (Status s = checkIndices(p, indices); !s)
    return s;
  if (Status s = p.sameType(data, p.outs[0]); !s)
    return s;
  int64_t rank = int64_t(data.shape.size()), indexRank = int64_t(indices.shape.size());
  if (indexRank < 1 || batchDims < 0 || batchDims >= rank || batchDims >= indexRank)
    return p.bad("'batch_dims' " + std::to_string(batchDims) + " does not fit ranks " + std::to_string(rank) + " and " +
                 std::to_string(indexRank));
  int64_t depth = indices.shape.back();
  if (depth < 1 || depth > rank - batchDims)
    return p.bad("the last dimension of the indices is " + std::to_string(depth) + ", expected 1 to " +
                 std::to_string(rank - batchDims));
  for (int64_t d = 0; d < batchDims; ++d)
    if (data.shape[d] != indices.shape[d])
      return p.bad("batch dimensions differ: " + shapeText(data.shape) + " and " + shapeText(indices.shape));
  exe::Shape expected(indices.shape.begin(), indices.shape.end() - 1);
  expected.insert(expected.end(), data.shape.begin() + batchDims + depth, data.shape.end());
  if (Status s = p.sameShape(p.outs[0].shape, expected, "output"); !s)
    return s;

  int64_t batches = elementsOf(data.shape, 0, batchDims);
  int64_t tuples = elementsOf(indices.shape, 0, indexRank - 1), perBatch = batches ? tuples / batches : 0;
  int64_t inner = elementsOf(data.shape, batchDims + depth, rank) * exe::byteWidth(data.dtype);
  exe::Shape sizes(data.shape.begin() + batchDims, data.shape.begin() + batchDims + depth);
  int64_t block = elementsOf(sizes);
  bool wide = indices.dtype == exe::DType::I64;
  out = makeKernel(elementsOf(expected) ? tuples : 0,
                   [=, prefix = p.prefix()](void *const *ins, void *const *outs, int64_t begin, int64_t end) {
                     Indices at(ins[1], wide);
                     const char *from = static_cast<const char *>(ins[0]);
                     char *to = static_cast<char *>(outs[0]);
                     for (int64_t i = begin; i < end; ++i) {
                       int64_t offset = 0;
                       for (int64_t d = 0; d < depth; ++d) {
                         int64_t given = at[i * depth + d], index = given;
                         if (!wrap(index, sizes[size_t(d)]))
                           return outOfRange(prefix, given, sizes[size_t(d)]);
                         offset = offset * sizes[size_t(d)] + index;
                       }
                       moveBytes(to + i * inner, from + (i / perBatch * block + offset) * inner, inner);
                     }
                     return Status::ok();
                   });
  return Status::ok();
}

Status comm::rt::prepareGatherElements(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(2, 2, 1, {"axis"}); !s)
    return s;
  const TensorDesc &data = p.ins[0], &indices = p.ins[1];
  int64_t axis = 0;
  if (Status s = checkAxis(p, axis, data.shape.size()); !s)
    return s;
  if (Status s = checkIndices(p, indices); !s)
    return s;
  if (Status s = p.sameType(data, p.outs[0]); !s)
    return s;
  size_t rank = data.shape.size();
  if (indices.shape.size() != rank)
    return p.bad("data and indices differ in rank");
  for (size_t d = 0; d < rank; ++d)
    if (int64_t(d) != axis && indices.shape[d] > data.shape[d])
      return p.bad("indices " + shapeText(indices.shape) + " exceed data " + shapeText(data.shape));
  if (Status s = p.sameShape(p.outs[0].shape, indices.shape, "output"); !s)
    return s;

  int64_t rows = elementsOf(indices.shape, 0, rank - 1), last = indices.shape.back(),
          width = exe::byteWidth(data.dtype);
  std::vector<int64_t> strides(rank, 1);
  for (size_t d = rank - 1; d-- > 0;)
    strides[d] = strides[d + 1] * data.shape[d + 1];
  bool wide = indices.dtype == exe::DType::I64;
  out = makeKernel(last ? rows : 0, [=, shape = indices.shape, size = data.shape[axis], prefix = p.prefix()](
                                        void *const *ins, void *const *outs, int64_t begin, int64_t end) {
    Indices at(ins[1], wide);
    const char *from = static_cast<const char *>(ins[0]);
    char *to = static_cast<char *>(outs[0]);
    for (int64_t row = begin; row < end; ++row) {
      // Position of this row in data, without its part along the axis.
      int64_t base = 0, rest = row;
      for (size_t d = rank - 1; d-- > 0; rest /= shape[d])
        base += int64_t(d) == axis ? 0 : rest % shape[d] * strides[d];
      for (int64_t c = 0; c < last; ++c) {
        int64_t given = at[row * last + c], index = given;
        if (!wrap(index, size))
          return outOfRange(prefix, given, size);
        int64_t position = base + index * strides[size_t(axis)] + (axis == int64_t(rank) - 1 ? 0 : c);
        moveBytes(to + (row * last + c) * width, from + position * width, width);
      }
    }
    return Status::ok();
  });
  return Status::ok();
}

Status comm::rt::prepareEmbedding(const Preparation &p, std::unique_ptr<Kernel> &out) {
  if (Status s = p.check(2, 2, 1, {"vocab", "axes", "grain"}); !s)
    return s;
  const TensorDesc &table = p.ins[0], &ids = p.ins[1];
  int64_t vocab = 0;
  if (Status s = p.intAttr("vocab", vocab); !s)
    return s;
  if (vocab < 0 || table.shape.empty())
    return p.bad("expects a table with rows and a non-negative 'vocab'");
  Shards shards;
  if (Status s = readShards(p, vocab, shards); !s)
    return s;
  if (table.shape[0] != shards.local)
    return p.bad("the table has " + std::to_string(table.shape[0]) + " rows, expected " + std::to_string(shards.local));
  if (Status s = checkIndices(p, ids); !s)
    return s;
  if (Status s = p.sameType(table, p.outs[0]); !s)
    return s;
  exe::Shape expected = ids.shape;
  expected.insert(expected.end(), table.shape.begin() + 1, table.shape.end());
  if (Status s = p.sameShape(p.outs[0].shape, expected, "output"); !s)
    return s;
  exe::ShardRange range = shards.ranges[size_t(shards.self)];
  int64_t row = elementsOf(table.shape, 1, table.shape.size()) * exe::byteWidth(table.dtype);
  bool wide = ids.dtype == exe::DType::I64;
  out = makeKernel(elementsOf(ids.shape),
                   [=, prefix = p.prefix()](void *const *ins, void *const *outs, int64_t begin, int64_t end) {
                     Indices at(ins[1], wide);
                     const char *from = static_cast<const char *>(ins[0]);
                     char *to = static_cast<char *>(outs[0]);
                     for (int64_t i = begin; i < end; ++i) {
                       int64_t given = at[i], id = given;
                       if (!wrap(id, vocab))
                         return outOfRange(prefix, given, vocab);
                       if (id >= range.start && id < range.start + range.count)
                         std::memcpy(to + i * row, from + (id - range.start) * row, size_t(row));
                       else
                         std::memset(to + i * row, 0, size_t(row));
                     }
                     return Status::ok();
                   });
  return Status::ok();
}
