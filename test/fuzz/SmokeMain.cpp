//===- SmokeMain.cpp - a fuzz target without libFuzzer --------------------===//
// fuzz-x-smoke ROUNDS PATH...: every file (of folders: models and executables below, up to 64 KiB) as it is, then
// ROUNDS changed ones in all. The same files give the same inputs, so that a failure repeats; it names the file and the
// round.
//===----------------------------------------------------------------------===//
#include "Fuzz.h"
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>

namespace fs = std::filesystem;

namespace {
constexpr size_t largest = 64 << 10;
comm::fuzz::Random bytesRandom(1);
} // namespace

/// Without coverage to follow: a bit, a byte, a piece removed or repeated.
extern "C" size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t maxSize) {
  if (size == 0)
    return 0;
  size_t at = comm::fuzz::below(bytesRandom, size),
         some = 1 + comm::fuzz::below(bytesRandom, std::min<size_t>(16, size - at));
  switch (bytesRandom() % 4) {
  case 0:
    data[at] ^= static_cast<uint8_t>(1 << bytesRandom() % 8);
    return size;
  case 1:
    data[at] = static_cast<uint8_t>(bytesRandom());
    return size;
  case 2:
    std::memmove(data + at, data + at + some, size - at - some);
    return size - some;
  default:
    if (size + some > maxSize)
      return size;
    std::memmove(data + at + some, data + at, size - at);
    return size + some;
  }
}

int main(int argc, char **argv) {
  if (argc < 3)
    return 2;
  std::vector<std::string> files;
  for (int i = 2; i < argc; ++i) {
    std::error_code none;
    if (fs::is_directory(argv[i], none)) {
      for (const auto &entry : fs::recursive_directory_iterator(argv[i], none))
        if (entry.is_regular_file(none) && entry.file_size(none) <= largest &&
            (entry.path().extension() == ".onnx" || entry.path().extension() == ".commx"))
          files.push_back(entry.path().string());
    } else
      files.push_back(argv[i]);
  }
  std::sort(files.begin(), files.end());
  if (files.empty()) {
    std::fprintf(stderr, "no file to begin with\n");
    return 2;
  }
  auto rounds = static_cast<size_t>(std::atoll(argv[1]));
  size_t inputs = 0;
  for (size_t f = 0; f < files.size(); ++f) {
    std::ifstream in(files[f], std::ios::binary);
    std::vector<uint8_t> seed((std::istreambuf_iterator<char>(in)), {});
    size_t share = rounds / files.size() + (f < rounds % files.size());
    for (size_t round = 0; round <= share; ++round, ++inputs) {
      std::vector<uint8_t> input = seed;
      input.resize(std::max(seed.size() * 2, seed.size() + 4096));
      size_t size = seed.size();
      for (size_t edits = round == 0 ? 0 : 1 + round % 3, e = 0; e < edits; ++e)
        size = LLVMFuzzerCustomMutator(input.data(), size, input.size(),
                                       static_cast<unsigned>(round * 16 + e + f * 65536));
      if (std::getenv("COMM_FUZZ_TRACE"))
        std::fprintf(stderr, "%s, round %zu\n", files[f].c_str(), round);
      LLVMFuzzerTestOneInput(input.data(), size);
    }
  }
  std::printf("%zu inputs from %zu files, %zu got all the way through\n", inputs, files.size(),
              comm::fuzz::throughCount);
  return comm::fuzz::throughCount * 50 > inputs ? 0 : 1; // else changes never reach what is behind the first checks
}
