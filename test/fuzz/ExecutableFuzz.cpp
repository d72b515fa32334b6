//===- ExecutableFuzz.cpp - .commx bytes through the runtime --------------===//
// Reads, validates, proves, prepares and runs. What is stopped only by its certificate is certified anew: whoever
// forges a program can forge that too. The mutator changes the manifest as JSON and makes sizes and hash fit, since
// nothing else gets past the header.
//===----------------------------------------------------------------------===//
#include "Fuzz.h"
#include "comm-c/runtime.h"
#include "comm/Proof/Certificate.h"
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>

using namespace comm;
using namespace comm::fuzz;
using Json = nlohmann::json;

namespace {
constexpr size_t headerBytes = 64, alignment = 4096;
constexpr size_t largestPorts = 1 << 20;
constexpr int64_t largestArena = int64_t(64) << 20, mostRanks = 3, mostWork = int64_t(1) << 26;

//===--- the target -------------------------------------------------------===//
/// Products, copies and kernels whose loops are short enough to run.
bool isCheap(const exe::Executable &exe) {
  for (const exe::Entry &entry : exe.entries)
    for (const exe::Program *p : {&entry.split, &entry.reference}) {
      int64_t work = 0;
      if (p->grid.ranks() > mostRanks || p->arenaBytes > largestArena || p->commands.size() > 2000)
        return false;
      for (const exe::Command &c : p->commands) {
        int64_t product = 1;
        for (const auto *list : {&c.inputs, &c.outputs})
          for (int32_t v : *list)
            if (__builtin_mul_overflow(product, std::max<int64_t>(1, exe::numElements(p->values[v].shape)), &product) ||
                product > mostWork)
              return false;
        work += product;
      }
      if (work > mostWork)
        return false;
    }
  return true;
}

void runEntries(const comm_executable *e, comm_session *session) {
  for (int32_t entry = 0; entry < comm_executable_entry_count(e); ++entry) {
    std::vector<comm_tensor> ports[2];
    std::vector<std::vector<uint8_t>> memory;
    size_t total = 0;
    for (int32_t outputs : {0, 1})
      for (int32_t i = 0; i < comm_executable_port_count(e, entry, outputs); ++i) {
        comm_tensor t;
        if (comm_executable_port(e, entry, outputs, i, &t) != COMM_OK)
          return;
        total += t.bytes;
        ports[outputs].push_back(t);
      }
    if (total > largestPorts)
      continue;
    for (auto &list : ports)
      for (comm_tensor &t : list) {
        memory.emplace_back(t.bytes, uint8_t(t.bytes % 2));
        t.data = memory.back().data();
      }
    (void)comm_session_run(session, entry, ports[0].data(), static_cast<int32_t>(ports[0].size()), ports[1].data(),
                           static_cast<int32_t>(ports[1].size()));
  }
}

void expectSentence(comm_status status) {
  if (status == COMM_OK || (status != COMM_INTERNAL && *comm_last_error()))
    return;
  std::fprintf(stderr, "an internal error, or none that is told: %s\n", comm_last_error());
  std::abort();
}

void loadAndRun(const std::string &path) {
  comm_executable *e = nullptr;
  comm_status status = comm_executable_load(path.c_str(), &e);
  expectSentence(status);
  for (int32_t reference = 0; e && reference < 2; ++reference) {
    comm_session_options o = {};
    o.struct_size = sizeof(o);
    o.reference = reference;
    o.ranks_as = COMM_RANKS_THREADS;
    o.native_code = COMM_NATIVE_NEVER;
    o.timeout_ms = 2000;
    o.packed_cache = "off";
    comm_session *session = nullptr;
    status = comm_session_create(e, &o, &session);
    expectSentence(status);
    if (session) {
      runEntries(e, session);
      ++throughCount;
    }
    comm_session_free(session);
  }
  comm_executable_free(e);
}

//===--- the mutator ------------------------------------------------------===//
void collect(Json &json, std::vector<Json *> &all) {
  all.push_back(&json);
  if (json.is_structured())
    for (Json &child : json)
      collect(child, all);
}

/// One change of the tree.
void change(Json &manifest, Random &random) {
  std::vector<Json *> all;
  collect(manifest, all);
  Json &node = *all[below(random, all.size())];
  const Json &other = *all[below(random, all.size())];
  if (node.is_number_integer() && random() % 2) {
    node = static_cast<int64_t>(static_cast<uint64_t>(node.get<int64_t>()) + random() % 5 - 2);
  } else if (node.is_number()) {
    node = edgeNumbers[below(random, std::size(edgeNumbers))];
  } else if (node.is_array() && !node.empty() && random() % 4) {
    size_t i = below(random, node.size()), j = below(random, node.size());
    if (random() % 3 == 0)
      node.erase(i);
    else if (random() % 2)
      std::swap(node[i], node[j]);
    else
      node.insert(node.begin() + static_cast<std::ptrdiff_t>(i), Json(node[j]));
  } else if (node.is_object() && !node.empty() && random() % 4) {
    auto it = node.begin();
    std::advance(it, static_cast<std::ptrdiff_t>(below(random, node.size())));
    node.erase(it);
  } else if (&node != &manifest && other.dump().size() < 4096) {
    node = Json(other);
  }
}

std::vector<uint8_t> assemble(const std::string &manifest, const uint8_t *sections, size_t sectionBytes) {
  std::vector<uint8_t> out = {'C', 'O', 'M', 'M',         'X', '\r', '\n', 0, comm::exe::formatVersion,
                              0,   0,   0,   headerBytes, 0,   0,    0};
  out.resize(headerBytes);
  out.insert(out.end(), manifest.begin(), manifest.end());
  if (sectionBytes > 0) {
    out.resize((out.size() + alignment - 1) / alignment * alignment);
    out.insert(out.end(), sections, sections + sectionBytes);
  }
  uint64_t total = out.size(), size = manifest.size();
  std::memcpy(out.data() + 16, &total, 8);
  std::memcpy(out.data() + 24, &size, 8);
  std::string hash = exe::executableHash(out.data(), out.size());
  for (size_t i = 0; i < 32; ++i)
    out[32 + i] = static_cast<uint8_t>(std::stoi(hash.substr(2 * i, 2), nullptr, 16));
  return out;
}
} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static InputFile file("m.commx");
  exe::Executable exe;
  std::string error;
  if (!exe::readExecutable(data, size, exe, error)) {
    if (error.empty())
      std::abort();
    return 0;
  }
  (void)exe::printExecutable(exe, true);
  if (!isCheap(exe))
    return 0;
  if (!proof::verifyAll(exe).empty() && proof::certifyAll(exe).empty()) {
    if (!proof::verifyAll(exe).empty())
      for (exe::Entry &entry : exe.entries)
        entry.reference = entry.split;
    std::vector<uint8_t> bytes;
    if (!exe::writeExecutable(exe, bytes, error))
      return 0;
    loadAndRun(file.write(bytes.data(), bytes.size()));
    return 0;
  }
  loadAndRun(file.write(data, size));
  return 0;
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t maxSize, unsigned seed) {
  Random random(seed);
  uint64_t manifestBytes = 0;
  if (size >= headerBytes)
    std::memcpy(&manifestBytes, data + 24, 8);
  Json manifest;
  if (size > headerBytes && manifestBytes <= size - headerBytes)
    manifest = Json::parse(data + headerBytes, data + headerBytes + manifestBytes, nullptr, false);
  if (!manifest.is_object() || random() % 16 == 0)
    return LLVMFuzzerMutate(data, size, maxSize);
  size_t begin = (headerBytes + manifestBytes + alignment - 1) / alignment * alignment;
  std::vector<uint8_t> sections;
  if (begin < size)
    sections.assign(data + begin, data + size);
  std::string text;
  if (random() % 8 == 0) {
    text = manifest.dump();
    size_t before = text.size();
    text.resize(before + 64);
    text.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t *>(&text[0]), before, text.size()));
  } else if (!sections.empty() && random() % 8 == 0) {
    sections.resize(LLVMFuzzerMutate(sections.data(), sections.size(), sections.size()));
    text = manifest.dump();
  } else {
    for (unsigned edits = 1 + random() % 3; edits > 0; --edits)
      change(manifest, random);
    text = manifest.dump(-1, ' ', false, Json::error_handler_t::replace);
  }
  std::vector<uint8_t> out = assemble(text, sections.data(), sections.size());
  if (out.size() > maxSize)
    return LLVMFuzzerMutate(data, size, maxSize);
  std::memcpy(data, out.data(), out.size());
  return out.size();
}
