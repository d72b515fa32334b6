//===- EdgeNumbers.h - what sizes and indices are altered to ----*- C++ -*-===//
#pragma once
#include <cstdint>

namespace comm::test {
/// Numbers at which sizes, indices and shifts go wrong.
inline constexpr int64_t edgeNumbers[] = {0,
                                          1,
                                          -1,
                                          2,
                                          3,
                                          4,
                                          7,
                                          8,
                                          31,
                                          64,
                                          127,
                                          4096,
                                          65535,
                                          int64_t(1) << 31,
                                          (int64_t(1) << 31) - 1,
                                          int64_t(1) << 32,
                                          int64_t(1) << 40,
                                          int64_t(1) << 62,
                                          INT64_MAX,
                                          INT64_MIN};
} // namespace comm::test
