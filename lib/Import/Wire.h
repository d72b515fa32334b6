//===- Wire.h - keep bulk data out of protobuf ------------------*- C++ -*-===//
#ifndef COMM_LIB_IMPORT_WIRE_H
#define COMM_LIB_IMPORT_WIRE_H
#include <cstddef>
#include <cstdint>
#include <string>

namespace mlir::comm::onnx {

/// Copies the ModelProto at `data` without documentation, metadata and training info, and with the payload of every
/// TensorProto.raw_data replaced by a 17-byte reference (see readReference). False: `error` says what is malformed, in
/// one clause.
bool makeSkeleton(const uint8_t *data, size_t size, std::string &skeleton, std::string &error);

/// Where a payload lies in the file, and which field it was: 9 raw_data, 4 float_data, 10 double_data (long packed ones
/// lie there as raw data would).
bool readReference(const std::string &raw, uint64_t &offset, uint64_t &size, int &field);

} // namespace mlir::comm::onnx
#endif
