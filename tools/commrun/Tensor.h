//===- Tensor.h - arrays on the host ----------------------------*- C++ -*-===//
#pragma once
#include "comm-c/runtime.h"
#include <cstdlib>
#include <map>
#include <memory>
#include <new>
#include <string>
#include <vector>

namespace commrun {

/// What goes wrong is thrown as one of these and printed in main: an exit code of docs/reference/commrun.md, a
/// sentence, advice.
struct Failure {
  int exit;
  const char *code; ///< "E201"
  std::string text;
  std::string advice = ""; ///< printed after "try:"; may be empty
};

size_t byteWidth(comm_dtype);
const char *dtypeName(comm_dtype);
bool isFloat(comm_dtype);
/// Product of dims; throws Failure when it overflows or a dimension is negative.
int64_t numElements(const std::vector<int64_t> &dims);
std::string shapeText(const std::vector<int64_t> &dims);

/// A tensor with its own memory, aligned to 64 bytes so that a session uses it in place.
class Tensor {
public:
  Tensor() = default;
  Tensor(comm_dtype dtype, std::vector<int64_t> dims) : dtype(dtype), dims(std::move(dims)) {
    count = numElements(this->dims);
    bytes = static_cast<size_t>(count) * byteWidth(dtype);
    data.reset(static_cast<uint8_t *>(std::aligned_alloc(64, (bytes + 64) / 64 * 64)));
    if (!data)
      throw std::bad_alloc();
  }
  /// As the C interface wants it; borrows.
  comm_tensor view(const std::string &name) const {
    return {name.c_str(), dtype, static_cast<int32_t>(dims.size()), dims.data(), data.get(), bytes};
  }
  /// Element `i` as a double; 64-bit integers round.
  double at(int64_t i) const;

  comm_dtype dtype = COMM_F32;
  std::vector<int64_t> dims;
  int64_t count = 0;
  size_t bytes = 0;

private:
  struct Free {
    void operator()(uint8_t *p) const { std::free(p); }
  };

public:
  std::unique_ptr<uint8_t, Free> data;
};

using TensorMap = std::map<std::string, std::shared_ptr<const Tensor>>;

/// The tensor in another element type: between float types by rounding, between integers when every value fits. Throws
/// Failure (naming `what`) for anything that would change values otherwise.
std::shared_ptr<const Tensor> convert(const std::shared_ptr<const Tensor> &, comm_dtype to, const std::string &what);

float halfToFloat(uint16_t);
uint16_t floatToHalf(float);
float bfloatToFloat(uint16_t);
uint16_t floatToBfloat(float);

} // namespace commrun
