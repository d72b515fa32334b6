//===- TileAvx512.cpp - tile loops with AVX512 instructions ----------------===//
#if defined(__AVX512F__) && defined(__AVX512VL__)
#include "runtime/Kernels/Tile/TileBody.h"

const comm::rt::TileTable *comm::rt::tileTableAvx512() { return &table; }
#else
#include "runtime/Kernels/Tile/TileLoops.h"

const comm::rt::TileTable *comm::rt::tileTableAvx512() { return nullptr; }
#endif
