//===- HostileBytesTest.cpp - damaged containers are refused --------------===//
#include "test/unit/Support/ProgramBuilder.h"
#include <gtest/gtest.h>

using namespace comm::test;

namespace {
std::vector<uint8_t> good() {
  Executable exe = makeRowParallelMatmul(2);
  exe.objects.push_back({"x86-64-v3", {1, 2, 3}});
  std::vector<uint8_t> bytes;
  std::string error;
  EXPECT_TRUE(writeExecutable(exe, bytes, error)) << error;
  return bytes;
}

/// Refused with a sentence, from memory of exactly this size so that a sanitizer sees every step beyond it.
void expectRefused(const std::vector<uint8_t> &bytes, const std::string &why) {
  Executable out;
  std::string error;
  std::vector<uint8_t> exact(bytes);
  exact.shrink_to_fit();
  EXPECT_FALSE(readExecutable(exact.data(), exact.size(), out, error)) << why;
  EXPECT_GT(error.size(), 10u) << why;
  EXPECT_EQ(error.find('\n'), std::string::npos) << error;
}

void put(std::vector<uint8_t> &bytes, size_t at, uint64_t v, int n) {
  for (int i = 0; i < n; ++i)
    bytes[at + i] = static_cast<uint8_t>(v >> (8 * i));
}

/// Makes the hash match again, so that the check behind it is reached.
std::vector<uint8_t> rehash(std::vector<uint8_t> bytes) {
  std::string hash = executableHash(bytes.data(), bytes.size());
  for (size_t i = 0; i < 32 && !hash.empty(); ++i)
    bytes[32 + i] = static_cast<uint8_t>(std::stoi(hash.substr(2 * i, 2), nullptr, 16));
  return bytes;
}

TEST(HostileBytes, TruncatedAtEveryOffset) {
  std::vector<uint8_t> bytes = good();
  for (size_t n = 0; n < bytes.size(); n += n < 200 || n + 64 > bytes.size() ? 1 : 37)
    expectRefused({bytes.begin(), bytes.begin() + n}, "first " + std::to_string(n) + " bytes");
}

// Truncated, but with a header that admits it and a hash that fits.
TEST(HostileBytes, TruncatedAndRehashed) {
  std::vector<uint8_t> bytes = good();
  for (size_t n = 64; n<bytes.size(); n += n + 64> bytes.size() ? 1 : 211) {
    std::vector<uint8_t> cut(bytes.begin(), bytes.begin() + n);
    put(cut, 16, n, 8);
    expectRefused(rehash(cut), "first " + std::to_string(n) + " bytes");
  }
}

TEST(HostileBytes, EverySingleByteFlip) {
  std::vector<uint8_t> bytes = good();
  for (size_t i = 0; i < bytes.size(); i += i < 200 ? 1 : 13) {
    std::vector<uint8_t> flipped = bytes;
    flipped[i] ^= 0x20;
    expectRefused(flipped, "byte " + std::to_string(i));
  }
}

// A flip in the manifest with a fitting hash may still be sound (a letter of a name), but never crashes.
TEST(HostileBytes, RehashedFlipsNeverCrash) {
  std::vector<uint8_t> bytes = good();
  size_t refused = 0, tried = 0;
  for (size_t i = 64; i < bytes.size(); i += 5)
    for (uint8_t mask : {0x01, 0x10, 0x80}) {
      std::vector<uint8_t> flipped = bytes;
      flipped[i] ^= mask;
      flipped = rehash(flipped);
      Executable out;
      std::string error;
      ++tried;
      if (!readExecutable(flipped.data(), flipped.size(), out, error)) {
        ++refused;
        EXPECT_FALSE(error.empty());
      }
    }
  EXPECT_GT(refused, tried / 4);
}

TEST(HostileBytes, WildHeaderNumbers) {
  const std::vector<uint8_t> bytes = good();
  struct Field {
    size_t at;
    int width;
  };
  for (Field f : {Field{8, 4}, Field{12, 4}, Field{16, 8}, Field{24, 8}})
    for (uint64_t v : {uint64_t(0), uint64_t(5), uint64_t(63), uint64_t(bytes.size()) + 1, uint64_t(bytes.size()) * 2,
                       uint64_t(0x7fffffff), uint64_t(0xffffffff), uint64_t(1) << 40, uint64_t(1) << 63, ~uint64_t(0),
                       ~uint64_t(0) - 63}) {
      std::vector<uint8_t> wild = bytes;
      put(wild, f.at, v, f.width);
      expectRefused(rehash(wild), "field at " + std::to_string(f.at) + " = " + std::to_string(v));
    }
}

TEST(HostileBytes, OtherFiles) {
  expectRefused({}, "empty");
  expectRefused({'C', 'O', 'M', 'M', 'X'}, "magic only");
  expectRefused(std::vector<uint8_t>(64, 0), "zeros");
  expectRefused(std::vector<uint8_t>(100000, 0xff), "ones");
  std::string elf = "\x7f"
                    "ELF and more than sixty-four bytes of something that is not an executable of ours";
  expectRefused({elf.begin(), elf.end()}, "ELF");
  std::vector<uint8_t> text = good();
  text.erase(text.begin() + 5); // \r\n became \n
  expectRefused(text, "text mode");
  std::vector<uint8_t> longer = good();
  longer.push_back(0);
  expectRefused(longer, "one byte more");
  put(longer, 16, longer.size(), 8);
  expectRefused(rehash(longer), "one byte more, admitted");
}

TEST(HostileBytes, PaddingMustBeZero) {
  std::vector<uint8_t> bytes = good();
  uint64_t manifest = 0;
  std::memcpy(&manifest, bytes.data() + 24, 8);
  bytes[64 + manifest + 1] = 1;
  expectRefused(rehash(bytes), "padding");
}
} // namespace
