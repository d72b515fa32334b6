//===- Wire.cpp - keep bulk data out of protobuf --------------------------===//
// Protobuf copies every byte of raw_data and cannot hold 2 GiB. This walks the message types that can contain a tensor
// and writes a skeleton in which each payload is a reference into the file; lengths are rebuilt bottom-up. Everything
// else is copied through.
//===----------------------------------------------------------------------===//
#include "Wire.h"
#include <cstring>

namespace mlir::comm::onnx {
namespace {
constexpr int kMaxDepth = 100;      // protobuf's own limit: deeper files are refused by both
constexpr size_t kBigPacked = 4096; // packed floats longer than this are referenced, they have the layout of raw_data
constexpr size_t kMaxSkeleton = 1u << 30;

enum Kind { Copy, Drop, Raw, PackedBig, ModelK, GraphK, NodeK, AttributeK, TensorK, SparseK, FunctionK };

/// What to do with a field of a message type.
Kind kindOf(Kind message, uint64_t field) {
  switch (message) {
  case ModelK:
    return field == 7 ? GraphK : field == 25 ? FunctionK : (field == 6 || field == 14 || field == 20) ? Drop : Copy;
  case GraphK:
    return field == 1                                                   ? NodeK
           : field == 5                                                 ? TensorK
           : field == 15                                                ? SparseK
           : (field == 10 || field == 13 || field == 14 || field == 16) ? Drop
                                                                        : Copy;
  case NodeK:
    return field == 5 ? AttributeK : (field == 6 || field == 9) ? Drop : Copy;
  case AttributeK:
    return (field == 5 || field == 10)    ? TensorK
           : (field == 6 || field == 11)  ? GraphK
           : (field == 22 || field == 23) ? SparseK
           : field == 13                  ? Drop
                                          : Copy;
  case SparseK:
    return (field == 1 || field == 2) ? TensorK : Copy;
  case FunctionK:
    return field == 7 ? NodeK : field == 11 ? AttributeK : (field == 8 || field == 12 || field == 14) ? Drop : Copy;
  case TensorK:
    return field == 9 ? Raw : (field == 4 || field == 10) ? PackedBig : (field == 12 || field == 16) ? Drop : Copy;
  default:
    return Copy;
  }
}

const char *nameOf(Kind message) {
  switch (message) {
  case ModelK:
    return "ModelProto";
  case GraphK:
    return "GraphProto";
  case NodeK:
    return "NodeProto";
  case AttributeK:
    return "AttributeProto";
  case TensorK:
    return "TensorProto";
  case SparseK:
    return "SparseTensorProto";
  default:
    return "FunctionProto";
  }
}

void putVarint(std::string &out, uint64_t value) {
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

struct Walker {
  const uint8_t *base;
  std::string *error;

  bool fail(const std::string &what, size_t at) {
    *error = what + " at byte " + std::to_string(at);
    return false;
  }
  static bool readVarint(const uint8_t *data, size_t &at, size_t end, uint64_t &value) {
    value = 0;
    for (int shift = 0; shift < 64 && at < end; shift += 7) {
      uint8_t byte = data[at++];
      value |= uint64_t(byte & 0x7f) << shift;
      if (!(byte & 0x80))
        return true;
    }
    return false;
  }

  bool bytes(Kind kind, Kind message, uint64_t tag, size_t at, uint64_t size, std::string &out, int depth) {
    if (kind == Drop)
      return true;
    if (kind == Copy || (kind == PackedBig && size < kBigPacked)) {
      putVarint(out, tag);
      putVarint(out, size);
      out.append(reinterpret_cast<const char *>(base) + at, size);
    } else if (kind == Raw || kind == PackedBig) {
      putVarint(out, (9 << 3) | 2);
      putVarint(out, 17);
      uint64_t reference[2] = {at, size};
      out.append(reinterpret_cast<const char *>(reference), 16);
      out.push_back(static_cast<char>(tag >> 3));
    } else {
      std::string inner;
      if (!walk(kind, at, at + size, inner, depth + 1))
        return false;
      putVarint(out, tag);
      putVarint(out, inner.size());
      out += inner;
    }
    return out.size() <= kMaxSkeleton || fail("more than 1 GiB of metadata", at);
  }

  bool walk(Kind message, size_t at, size_t end, std::string &out, int depth) {
    if (depth > kMaxDepth)
      return fail("messages nest deeper than " + std::to_string(kMaxDepth), at);
    while (at < end) {
      size_t start = at;
      uint64_t tag, size = 0;
      if (!readVarint(base, at, end, tag) || (tag >> 3) == 0 || (tag >> 3) > 536870911)
        return fail(std::string("bad field tag in ") + nameOf(message), start);
      Kind kind = kindOf(message, tag >> 3);
      unsigned wire = tag & 7;
      if (kind >= ModelK && wire != 2)
        return fail("field " + std::to_string(tag >> 3) + " of " + nameOf(message) + " has wire type " +
                        std::to_string(wire),
                    start);
      if (wire == 2) {
        if (!readVarint(base, at, end, size) || size > end - at)
          return fail("field " + std::to_string(tag >> 3) + " of " + nameOf(message) + " is cut off", start);
        if (!bytes(kind, message, tag, at, size, out, depth))
          return false;
        at += size;
        continue;
      }
      bool whole = true;
      uint64_t ignored;
      if (wire == 0)
        whole = readVarint(base, at, end, ignored);
      else if (wire == 5 || wire == 1)
        whole = end - at >= (wire == 5 ? 4u : 8u), at += whole ? (wire == 5 ? 4 : 8) : 0;
      else
        return fail(std::string("bad wire type in ") + nameOf(message), start);
      if (!whole)
        return fail("field " + std::to_string(tag >> 3) + " of " + nameOf(message) + " is cut off", start);
      if (kind == Raw)
        return fail("raw_data has wire type " + std::to_string(wire), start);
      if (kind != Drop)
        out.append(reinterpret_cast<const char *>(base) + start, at - start);
    }
    return true;
  }
};
} // namespace

bool makeSkeleton(const uint8_t *data, size_t size, std::string &skeleton, std::string &error) {
  Walker walker{data, &error};
  skeleton.clear();
  return walker.walk(ModelK, 0, size, skeleton, 0);
}

bool readReference(const std::string &raw, uint64_t &offset, uint64_t &size, int &field) {
  if (raw.size() != 17)
    return false;
  field = raw[16];
  std::memcpy(&offset, raw.data(), 8);
  std::memcpy(&size, raw.data() + 8, 8);
  return true;
}

} // namespace mlir::comm::onnx
