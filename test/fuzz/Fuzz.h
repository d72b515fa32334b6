//===- Fuzz.h - what fuzz targets and their drivers agree on ----*- C++ -*-===//
// A target defines the first two functions. libFuzzer calls them (utils/fuzz.sh), or the driver of SmokeMain.cpp, which
// needs neither libFuzzer nor a sanitizer and does the same every time.
//===----------------------------------------------------------------------===//
#pragma once
#include "test/unit/Support/EdgeNumbers.h"
#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <vector>

extern "C" {
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed);
/// Given by the driver: changes some bytes, by the coverage and the dictionary that it knows.
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize);
}

namespace comm::fuzz {

/// Inputs that got all the way through a target; the driver wants some.
extern size_t throughCount;
using test::edgeNumbers;
using Random = std::minstd_rand;
inline size_t below(Random &random, size_t n) { return n ? random() % n : 0; }

/// A file that holds the input of the moment; the same path for the life of the process, gone with it.
class InputFile {
public:
  explicit InputFile(const std::string &name);
  ~InputFile();
  const std::string &write(const uint8_t *data, size_t size);

private:
  std::string folder, path;
};

} // namespace comm::fuzz
