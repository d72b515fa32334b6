//===- TileAvx2.cpp - tile loops with AVX2 instructions --------------------===//
#if defined(__AVX2__) && defined(__FMA__)
#include "runtime/Kernels/Tile/TileBody.h"

const comm::rt::TileTable *comm::rt::tileTableAvx2() { return &table; }
#else
#include "runtime/Kernels/Tile/TileLoops.h"

const comm::rt::TileTable *comm::rt::tileTableAvx2() { return nullptr; }
#endif
