//===- HandLoops.h - the loops of a model, written by hand ------*- C++ -*-===//
// What a careful engineer writes for the CPU at hand: explicit vectors of 16 floats, several sums at a time, one
// polynomial for exp, few passes over a row. Rows [begin, end) of `n` numbers each; built for the machine that builds
// it. Arguments are buffers in the order of the compiled loop: inputs, then results.
//===----------------------------------------------------------------------===//
#ifndef BENCH_KERNELS_HANDLOOPS_H
#define BENCH_KERNELS_HANDLOOPS_H
#include <cstdint>

namespace comm::bench {

/// Everything that a loop needs to know besides its buffers.
struct HandShape {
  int64_t n = 0;      ///< numbers in a row
  int64_t heads = 0;  ///< rotary
  int64_t tokens = 0; ///< rotary; masks: rows after which the mask begins anew
  float epsilon = 0;  ///< norms
  float scale = 1;    ///< softmax
};
/// False when the machine that built this file has vectors which this one lacks.
bool handLoopsRunHere();

using HandLoop = void (*)(const HandShape &shape, void *const *buffers, int64_t begin, int64_t end);

void handRmsNorm(const HandShape &, void *const *, int64_t, int64_t);          ///< x, weight -> y
void handAddRmsNorm(const HandShape &, void *const *, int64_t, int64_t);       ///< x, residual, weight -> sum, y
void handLayerNorm(const HandShape &, void *const *, int64_t, int64_t);        ///< x, weight, bias -> y
void handBiasAddLayerNorm(const HandShape &, void *const *, int64_t, int64_t); ///< x, bias, residual, weight, bias -> y
void handSoftmax(const HandShape &, void *const *, int64_t, int64_t);          ///< x -> y
void handMaskedSoftmax(const HandShape &, void *const *, int64_t, int64_t);    ///< x, mask to add -> y
void handRotary(const HandShape &, void *const *, int64_t, int64_t);           ///< x, cos, sin -> y; by head
void handBiasGeluErf(const HandShape &, void *const *, int64_t, int64_t);      ///< x, bias -> y
void handGeluTanh(const HandShape &, void *const *, int64_t, int64_t);         ///< x -> y
void handSiluMul(const HandShape &, void *const *, int64_t, int64_t);          ///< gate, up -> y
void handBiasAdd(const HandShape &, void *const *, int64_t, int64_t);          ///< x, bias, residual -> y
void handAdd(const HandShape &, void *const *, int64_t, int64_t);              ///< x, residual -> y
void handQuantiseRows(const HandShape &, void *const *, int64_t, int64_t);     ///< x -> i8, scale of the row
void handQuantiseLinear(const HandShape &, void *const *, int64_t, int64_t);   ///< x, scale (one number) -> i8
void handDynamicQuantise(const HandShape &, void *const *, int64_t, int64_t);  ///< x -> u8, scale, zero; one row
void handDequantise8(const HandShape &, void *const *, int64_t, int64_t);      ///< i8, scale per 32 -> y
void handDequantise4(const HandShape &, void *const *, int64_t, int64_t);      ///< i8, zero and scale per 32 -> y

// Elements of bf16, arithmetic in f32.
void handAddRmsNormNarrow(const HandShape &, void *const *, int64_t, int64_t); ///< x, residual, weight -> sum, y
void handSoftmaxNarrow(const HandShape &, void *const *, int64_t, int64_t);    ///< x -> y
void handSiluMulNarrow(const HandShape &, void *const *, int64_t, int64_t);    ///< gate, up -> y

} // namespace comm::bench
#endif
