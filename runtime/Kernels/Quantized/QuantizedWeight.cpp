//===- QuantizedWeight.cpp - integers as a model stores them, packed ------===//
#include "runtime/Kernels/Quantized/QuantizedWeight.h"
#include "comm/Executable/RankMemory.h"
#include "runtime/Kernels/Convert.h"

using namespace comm;
using namespace comm::rt;

QuantizedFormat QuantizedWeight::format() const {
  QuantizedFormat f;
  f.block = block;
  f.blocks = blocks;
  f.groups = block * bits / 32;
  f.hasOffsets = hasZeros;
  f.blockBytes = exe::quantizedBlockBytes(bits, block, hasZeros);
  return f;
}

namespace {
/// Four nibbles, lowest first, as bytes.
uint32_t spread(uint32_t x) {
  x &= 0xffff;
  x = (x | x << 8) & 0x00ff00ff;
  return (x | x << 4) & 0x0f0f0f0f;
}

class Packer {
public:
  explicit Packer(const QuantizedWeight &w)
      : w(w), f(w.format()), flip(w.isSigned ? (w.bits == 4 ? 0x88888888u : 0x80808080u) : 0) {}

  void panel(int64_t p, char *out) const {
    for (int64_t b = 0; b < w.blocks; ++b) {
      for (int64_t g = 0; g < f.groups; ++g)
        for (int64_t c = 0; c < quantizedColumns; ++c, out += 4) {
          int64_t column = p * quantizedColumns + c;
          uint32_t lane = column < w.n ? laneOf(column, b, g) : 0;
          std::memcpy(out, &lane, 4);
        }
      float behind[2][quantizedColumns] = {};
      for (int64_t c = 0; c < quantizedColumns && p * quantizedColumns + c < w.n; ++c)
        scaleAndOffset(p * quantizedColumns + c, b, behind[0][c], behind[1][c]);
      int64_t bytes = w.hasZeros ? 128 : 64;
      std::memcpy(out, behind, size_t(bytes));
      out += bytes;
    }
  }

private:
  /// The bytes of one column in group g of block b.
  uint32_t laneOf(int64_t column, int64_t b, int64_t g) const {
    uint32_t four = 0;
    if (!w.kMajor) {
      std::memcpy(&four, w.numbers + (column * w.blocks + b) * (w.block * w.bits / 8) + 4 * g, 4);
      four ^= flip;
      return w.bits == 8 ? four : spread(four) | spread(four >> 16) << 4;
    }
    int64_t rowBytes = w.n * w.bits / 8, inGroup = 32 / w.bits, row = b * w.block + g * inGroup;
    for (int64_t j = 0; j < inGroup; ++j) {
      uint32_t number = w.numbers[(row + j) * rowBytes + column * w.bits / 8];
      if (w.bits == 4)
        number = number >> (column % 2 * 4) & 15;
      four |= number << (w.bits == 8 ? 8 * j : j % 4 * 8 + j / 4 * 4);
    }
    return four ^ flip;
  }

  float scaleAt(int64_t i) const {
    float value;
    convertToF32(w.scaleType, static_cast<const char *>(w.scales) + i * exe::byteWidth(w.scaleType), &value, 1);
    return value;
  }
  float zeroAt(int64_t row, int64_t column) const {
    if (w.floatZeros) {
      float value;
      int64_t i = row * w.scaleShape[1] + column;
      convertToF32(w.scaleType, w.zeros + i * exe::byteWidth(w.scaleType), &value, 1);
      return value;
    }
    int64_t rowBytes = (w.scaleShape[1] * w.bits + 7) / 8;
    int32_t number = w.zeros[row * rowBytes + column * w.bits / 8];
    if (w.bits == 4)
      number = number >> (column % 2 * 4) & 15;
    return float(w.isSigned && number >> (w.bits - 1) ? number - (1 << w.bits) : number);
  }
  void scaleAndOffset(int64_t column, int64_t b, float &scale, float &offset) const {
    int64_t first = w.kMajor ? b : column, second = w.kMajor ? column : b;
    first = w.scaleShape[0] == 1 ? 0 : first, second = w.scaleShape[1] == 1 ? 0 : second;
    scale = scaleAt(first * w.scaleShape[1] + second);
    // A number q is stored as q, or, signed, as q + half; it is read as what is stored - half.
    if (w.hasZeros)
      offset = (w.isSigned ? 0.0f : float(1 << (w.bits - 1))) - zeroAt(first, second);
  }

  const QuantizedWeight &w;
  const QuantizedFormat f;
  const uint32_t flip;
};
} // namespace

void comm::rt::packQuantized(const QuantizedWeight &weight, int64_t begin, int64_t end, char *out) {
  Packer packer(weight);
  for (int64_t p = begin; p < end; ++p, out += weight.panelBytes())
    packer.panel(p, out);
}
