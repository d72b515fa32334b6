//===- Container.cpp - the bytes of a .commx file -------------------------===//
// Layout, little-endian:   0  magic "COMMX\r\n\0"      8  u32 format version     12  u32 offset of the manifest (64)
//                         16  u64 total length         24  u64 length of the manifest
//                         32  SHA-256 of everything else: bytes [0, 32) and [64, total)
//   manifest, then each object, then data, every section at the next multiple of 4096; the gaps are zero.
//===----------------------------------------------------------------------===//
#include "Manifest.h"
#include <cstring>
#include <memory>
#include <openssl/evp.h>

namespace comm::exe {
namespace {
constexpr uint8_t magic[8] = {'C', 'O', 'M', 'M', 'X', '\r', '\n', 0}; // \r\n: a transfer in text mode shows at once
constexpr size_t headerBytes = 64, hashOffset = 32, hashBytes = 32, page = 4096;
constexpr uint64_t maxManifest = uint64_t(1) << 31, maxTotal = uint64_t(1) << 46;

uint64_t alignUp(uint64_t n) { return (n + page - 1) / page * page; }

void store(uint8_t *p, uint64_t v, int n) {
  for (int i = 0; i < n; ++i)
    p[i] = static_cast<uint8_t>(v >> (8 * i));
}
uint64_t load(const uint8_t *p, int n) {
  uint64_t v = 0;
  for (int i = 0; i < n; ++i)
    v |= uint64_t(p[i]) << (8 * i);
  return v;
}

bool contentHash(const uint8_t *bytes, size_t size, uint8_t (&out)[hashBytes]) {
  std::unique_ptr<EVP_MD_CTX, decltype(&EVP_MD_CTX_free)> context(EVP_MD_CTX_new(), EVP_MD_CTX_free);
  unsigned n = 0;
  return context && size >= headerBytes && EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) == 1 &&
         EVP_DigestUpdate(context.get(), bytes, hashOffset) == 1 &&
         EVP_DigestUpdate(context.get(), bytes + headerBytes, size - headerBytes) == 1 &&
         EVP_DigestFinal_ex(context.get(), out, &n) == 1 && n == hashBytes;
}

std::string hex(const uint8_t *bytes, size_t size) {
  static const char digits[] = "0123456789abcdef";
  std::string out;
  for (size_t i = 0; i < size; ++i)
    out += {digits[bytes[i] >> 4], digits[bytes[i] & 15]};
  return out;
}

/// Walks over the sections behind the manifest; refuses sizes that leave the file and gaps that are not zero.
struct SectionCursor {
  const uint8_t *bytes;
  uint64_t total, at;
  bool next(int64_t size, const uint8_t *&out, const char *what, std::string &error) {
    uint64_t begin = alignUp(at);
    if (size < 0 || begin > total || static_cast<uint64_t>(size) > total - begin) {
      // An empty section needs no room, not even its padding.
      if (size != 0) {
        error = std::string(what) + " section leaves the file";
        return false;
      }
      out = bytes + at;
      return true;
    }
    if (size == 0) {
      out = bytes + at;
      return true;
    }
    for (uint64_t i = at; i < begin; ++i)
      if (bytes[i] != 0) {
        error = std::string("padding before the ") + what + " section is not zero";
        return false;
      }
    out = bytes + begin;
    at = begin + static_cast<uint64_t>(size);
    return true;
  }
};

bool readHeader(const uint8_t *bytes, size_t size, uint64_t &manifest, std::string &error) {
  if (size < headerBytes) {
    error = "the file is " + std::to_string(size) + " bytes, shorter than the header of a .commx file";
    return false;
  }
  if (std::memcmp(bytes, magic, 5) != 0) {
    error = "this is not a .commx file (wrong magic number)";
    return false;
  }
  if (std::memcmp(bytes, magic, sizeof(magic)) != 0) {
    error = "the magic number is damaged: was the file transferred in text mode?";
    return false;
  }
  uint64_t version = load(bytes + 8, 4), offset = load(bytes + 12, 4), total = load(bytes + 16, 8);
  manifest = load(bytes + 24, 8);
  if (version != formatVersion)
    error = "format version " + std::to_string(version) + ", this program reads version " +
            std::to_string(formatVersion) + ": compile the model again";
  else if (total != size)
    error = "the file is " + std::to_string(size) + " bytes, its header says " + std::to_string(total) +
            ": truncated or damaged";
  else if (offset != headerBytes || total > maxTotal || manifest == 0 || manifest > maxManifest ||
           manifest > total - headerBytes)
    error = "the manifest leaves the file";
  return error.empty();
}
} // namespace

bool writeExecutable(const Executable &exe, std::vector<uint8_t> &out, std::string &error) {
  error.clear();
  if (auto problems = validate(exe); !problems.empty()) {
    error = problems.front();
    return false;
  }
  std::string manifest;
  if (!writeManifest(exe, manifest, error))
    return false;
  if (manifest.size() > maxManifest) {
    error = "the program is too large: its manifest has " + std::to_string(manifest.size()) + " bytes";
    return false;
  }
  out.assign(headerBytes, 0);
  out.insert(out.end(), manifest.begin(), manifest.end());
  auto section = [&](const std::vector<uint8_t> &bytes) {
    if (bytes.empty())
      return;
    out.resize(alignUp(out.size()), 0);
    out.insert(out.end(), bytes.begin(), bytes.end());
  };
  for (const NativeObject &o : exe.objects)
    section(o.bytes);
  section(exe.data);
  std::memcpy(out.data(), magic, sizeof(magic));
  store(out.data() + 8, formatVersion, 4);
  store(out.data() + 12, headerBytes, 4);
  store(out.data() + 16, out.size(), 8);
  store(out.data() + 24, manifest.size(), 8);
  uint8_t hash[hashBytes];
  if (!contentHash(out.data(), out.size(), hash)) {
    error = "SHA-256 is not available in libcrypto";
    return false;
  }
  std::memcpy(out.data() + hashOffset, hash, hashBytes);
  return true;
}

bool readExecutable(const uint8_t *bytes, size_t size, Executable &out, std::string &error, DataView *view) {
  error.clear();
  out = {};
  uint64_t manifestBytes = 0;
  if (!readHeader(bytes, size, manifestBytes, error))
    return false;
  uint8_t hash[hashBytes];
  if (!contentHash(bytes, size, hash) || std::memcmp(hash, bytes + hashOffset, hashBytes) != 0) {
    error = "the SHA-256 in the header does not match the content: the file is damaged";
    return false;
  }
  SectionSizes sizes;
  if (!readManifest(reinterpret_cast<const char *>(bytes) + headerBytes, manifestBytes, out, sizes, error))
    return false;
  SectionCursor cursor{bytes, size, headerBytes + manifestBytes};
  const uint8_t *at = nullptr;
  for (size_t i = 0; i < sizes.objects.size(); ++i) {
    if (!cursor.next(sizes.objects[i], at, "object", error))
      return false;
    out.objects[i].bytes.assign(at, at + sizes.objects[i]);
  }
  if (!cursor.next(sizes.data, at, "data", error))
    return false;
  if (cursor.at != size) {
    error = std::to_string(size - cursor.at) + " bytes follow the last section";
    return false;
  }
  if (view)
    *view = {at, static_cast<size_t>(sizes.data)};
  else
    out.data.assign(at, at + sizes.data);
  if (auto problems = validate(out, sizes.data); !problems.empty()) {
    error = problems.front();
    if (problems.size() > 1)
      error += " (and " + std::to_string(problems.size() - 1) + " more problems)";
    return false;
  }
  return true;
}

std::string executableHash(const uint8_t *bytes, size_t size) {
  uint8_t hash[hashBytes];
  return contentHash(bytes, size, hash) ? hex(hash, hashBytes) : "";
}

std::string storedHash(const uint8_t *bytes, size_t size) {
  return size >= headerBytes ? hex(bytes + hashOffset, hashBytes) : "";
}

std::string sha256(const uint8_t *bytes, size_t size) {
  uint8_t hash[hashBytes];
  unsigned n = 0;
  return EVP_Digest(bytes, size, hash, &n, EVP_sha256(), nullptr) == 1 && n == hashBytes ? hex(hash, hashBytes) : "";
}

} // namespace comm::exe
