//===- TilePortable.cpp - tile loops for any CPU --------------------------===//
#include "runtime/Kernels/Tile/TileBody.h"

const comm::rt::TileTable *comm::rt::tileTablePortable() { return &table; }
