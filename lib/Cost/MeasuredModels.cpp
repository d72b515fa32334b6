//===- MeasuredModels.cpp - how alike measured rows are -------------------===//
// Chosen by the error on rows that were left out (docs/cost.md). Sizes are powers of two; a length says over how many
// of them the deviation from the formula stays the same.
//===----------------------------------------------------------------------===//
#include "Measured.h"

namespace comm::cost {
namespace {

/// Of that many sizes and names, without terms.
KrigingModel shaped(int sizes, int names, double noise, double scale) {
  KrigingModel m;
  m.sizes = sizes;
  m.names = names;
  m.noise = noise;
  m.scale = scale;
  return m;
}

// Sizes: bytes, ranks. Names: family, system, library or framework, which, table, graph, element type.
KrigingModel collectives() {
  KrigingModel m = shaped(2, 7, 5e-4, 0.06);
  m.neighbours = 56;
  m.screened = 400;
  m.terms = {
      {0.3, {6, 2}, {0.5, 0.95, 0.3, 0.8, 1, 0.6, 1}}, // everything that moves so many bytes
      {0.1, {3, 2}, {0, 0.9, 0.3, 0.8, 1, 0.6, 1}},    // devices of a family
      {0.05, {4, 3}, {0.2, 0.9, 0, 0, 0.3, 0, 1}},     // a release of a framework, wherever it runs
      {0.05, {3, 0}, {0, 0, 0, 0, 1, 0, 1}},           // one library on one system
      {0.01, {3, 0}, {0, 0, 0, 0, 0, 0, 1}},           // one run
      {0.003, {3, 0}, {0, 0, 0, 0, 1, 0, 0}},          // one element type
      {0.002, {0, 0}, {0, 0.9, 0.3, 0.8, 1, 0.6, 1}},  // steps at a size that a family shares
  };
  return m;
}

// Sizes: m, n, k. Names: framework, element type.
KrigingModel products() {
  KrigingModel m = shaped(3, 2, 2e-3, 0.03);
  m.terms = {
      {0.1, {4, 5, 5}, {0.8, 0.7}},        // wide: what the roofline misses
      {0.03, {1.5, 1.5, 1.5}, {0.5, 0.3}}, // local: the kernel that the library picks
      {0.01, {2, 0, 0}, {0.5, 0.3}},       // one weight
      {0.005, {0, 2, 2}, {0.5, 0.3}},      // waves of one m
  };
  return m;
}

// Sizes: batch, length, heads, kv heads, head size, window. Names: kernel, whether there is a window.
KrigingModel attention() {
  KrigingModel m = shaped(6, 2, 2e-3, 0.05);
  m.terms = {
      {0.3, {4, 4, 4, 4, 2, 4}, {0.5, 0.5}},
      {0.1, {2, 2, 2, 2, 1, 2}, {0.2, 0.3}},
      {0.05, {2, 2, 0, 0, 0, 0}, {0, 0}},
      {0.02, {1, 1, 0, 0, 0, 0}, {0, 0}},
  };
  return m;
}

// Sizes: tokens, hidden, inter, topk, experts, tp, ep. Names: framework, kernel, element type, distribution.
KrigingModel experts() {
  KrigingModel m = shaped(7, 4, 2e-3, 0.05);
  m.terms = {
      {0.3, {4, 4, 4, 4, 4, 4, 4}, {0.5, 0.5, 0.6, 0.8}},
      {0.1, {2, 2, 2, 2, 2, 2, 2}, {0.3, 0.3, 0.3, 0.8}},
      {0.05, {2, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0.8}},
      {0.01, {1, 0, 0, 0, 0, 0, 0}, {0, 0, 0, 0}},
  };
  return m;
}

} // namespace

KrigingModel Measured::modelOf(RowKind kind) {
  switch (kind) {
  case RowKind::Collective:
    return collectives();
  case RowKind::Gemm:
    return products();
  case RowKind::Attention:
    return attention();
  case RowKind::Moe:
    return experts();
  }
  return products();
}

} // namespace comm::cost
