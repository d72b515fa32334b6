//===- MutationTest.cpp - hostile programs end to end ---------------------===//
// Changes numbers and names in the manifests of sound executables, makes the hash fit, and takes whatever is accepted
// all the way through a session. Under sanitizers this is the test that nothing an executable says is believed.
//===----------------------------------------------------------------------===//
#include "RuntimeTest.h"
#include "test/unit/Support/EdgeNumbers.h"
#include <nlohmann/json.hpp>
#include <random>

using namespace comm::test;
using Json = nlohmann::json;

namespace {
void collect(Json &json, std::vector<Json *> &leaves) {
  if (json.is_structured())
    for (Json &child : json)
      collect(child, leaves);
  else if (json.is_number_integer() || json.is_string())
    leaves.push_back(&json);
}

struct Parts {
  Json manifest;
  std::vector<uint8_t> sections;
};

Parts take(const Executable &exe) {
  std::vector<uint8_t> bytes;
  std::string error;
  EXPECT_TRUE(writeExecutable(exe, bytes, error)) << error;
  uint64_t size = 0;
  std::memcpy(&size, bytes.data() + 24, 8);
  Parts parts{Json::parse(bytes.begin() + 64, bytes.begin() + 64 + static_cast<long>(size)), {}};
  if (size_t at = (64 + size + 4095) / 4096 * 4096; at < bytes.size())
    parts.sections.assign(bytes.begin() + static_cast<long>(at), bytes.end());
  return parts;
}

std::vector<uint8_t> pack(const Parts &parts) {
  std::string manifest = parts.manifest.dump();
  std::vector<uint8_t> out = {'C', 'O', 'M', 'M', 'X', '\r', '\n', 0, formatVersion, 0, 0, 0, 64, 0, 0, 0};
  out.resize(64);
  out.insert(out.end(), manifest.begin(), manifest.end());
  if (!parts.sections.empty()) {
    out.resize((out.size() + 4095) / 4096 * 4096);
    out.insert(out.end(), parts.sections.begin(), parts.sections.end());
  }
  uint64_t total = out.size(), size = manifest.size();
  std::memcpy(out.data() + 16, &total, 8);
  std::memcpy(out.data() + 24, &size, 8);
  std::string hash = executableHash(out.data(), out.size());
  for (size_t i = 0; i < 32; ++i)
    out[32 + i] = static_cast<uint8_t>(std::stoi(hash.substr(2 * i, 2), nullptr, 16));
  return out;
}

/// Runs every entry that is small enough to hold, with zeros and ones as inputs.
void runAll(const ExecutableHandle &e, comm_session *session) {
  for (int32_t entry = 0; entry < comm_executable_entry_count(e.get()); ++entry) {
    std::vector<comm_tensor> ports[2];
    std::vector<std::vector<uint8_t>> memory;
    size_t total = 0;
    for (int32_t outputs : {0, 1})
      for (int32_t i = 0; i < comm_executable_port_count(e.get(), entry, outputs); ++i) {
        comm_tensor t;
        ASSERT_EQ(comm_executable_port(e.get(), entry, outputs, i, &t), COMM_OK);
        total += t.bytes;
        ports[outputs].push_back(t);
      }
    if (total > (8 << 20))
      continue;
    for (auto &list : ports)
      for (comm_tensor &t : list) {
        memory.emplace_back(t.bytes, uint8_t(t.bytes % 2));
        t.data = memory.back().data();
      }
    comm_status status = comm_session_run(session, entry, ports[0].data(), static_cast<int32_t>(ports[0].size()),
                                          ports[1].data(), static_cast<int32_t>(ports[1].size()));
    EXPECT_NE(status, COMM_INTERNAL) << comm_last_error();
  }
}

TEST(Mutation, NothingIsBelieved) {
  TemporaryFolder folder;
  std::mt19937_64 random(42); // fixed: a failure repeats
  const std::string words[] = {"",           "tp",         "x",      "y",         "f16",       "i64",    "bool",
                               "matmul",     "copy",       "gather", "attention", "embedding", "fill",   "kernel",
                               "all_reduce", "all_gather", "start",  "wait",      "arena",     "weight", "input",
                               "output",     "is",         "i",      "\n\x01"};
  int accepted = 0, created = 0;
  for (const Executable &exe : {makeRowParallelMatmul(1, 3, 8, 5, true), makeDecoder(1)}) {
    const Parts good = take(exe);
    for (int round = 0; round < 1500; ++round) {
      Parts parts = good;
      std::vector<Json *> leaves;
      collect(parts.manifest["entries"], leaves);
      collect(parts.manifest["weights"], leaves);
      for (uint64_t edits = 1 + random() % 3; edits > 0; --edits) {
        Json &leaf = *leaves[random() % leaves.size()];
        if (leaf.is_string())
          leaf = words[random() % std::size(words)];
        else if (random() % 2)
          leaf = static_cast<int64_t>(leaf.get<uint64_t>() + random() % 5 - 2); // nearly right is the dangerous kind
        else
          leaf = edgeNumbers[random() % std::size(edgeNumbers)];
      }
      std::vector<uint8_t> bytes = pack(parts);
      // Whoever forges a program can forge its certificate, and what it is compared with.
      Executable changed;
      std::string ignored;
      if (readExecutable(bytes.data(), bytes.size(), changed, ignored) && comm::proof::certifyAll(changed).empty()) {
        if (!comm::proof::verifyAll(changed).empty())
          for (Entry &entry : changed.entries)
            entry.reference = entry.split;
        ASSERT_TRUE(writeExecutable(changed, bytes, ignored)) << ignored;
      }
      writeFile(folder / "m.commx", bytes.data(), bytes.size());
      comm_executable *raw = nullptr;
      if (comm_executable_load((folder / "m.commx").c_str(), &raw) != COMM_OK) {
        EXPECT_STRNE(comm_last_error(), "");
        continue;
      }
      ++accepted;
      ExecutableHandle e(raw);
      comm_session_options o = defaults();
      o.reference = round % 2; // the split program may have become one for many ranks
      comm_session *session = nullptr;
      if (o.reference == 0 &&
          parts.manifest["entries"][0]["split"]["grid"] != good.manifest["entries"][0]["split"]["grid"])
        continue;
      comm_status status = comm_session_create(e.get(), &o, &session);
      EXPECT_NE(status, COMM_INTERNAL) << comm_last_error();
      if (status != COMM_OK)
        continue;
      ++created;
      SessionHandle s(session);
      runAll(e, session);
    }
  }
  EXPECT_GT(accepted, 100); // else the mutations never reach the runtime
  EXPECT_GT(created, 50);
}
} // namespace
