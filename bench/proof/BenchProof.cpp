//===- BenchProof.cpp - what proving costs at load ------------------------===//
// bench-proof [rounds] model.commx...: per executable, best and median of reading it (hash, JSON, validate), of
// checking the schedules' certificates, of showing again that outputs are equal and of proving the schedules anew; in
// turn, so that other load meets all four.
//===----------------------------------------------------------------------===//
#include "comm/Proof/Certificate.h"
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <iterator>

using namespace comm;

namespace {
template <class Fn> double milliseconds(Fn fn) {
  auto begin = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - begin).count();
}

bool measure(const char *path, int rounds) {
  std::ifstream in(path, std::ios::binary);
  std::vector<uint8_t> bytes((std::istreambuf_iterator<char>(in)), {});
  exe::Executable executable;
  std::string error, wrong;
  std::vector<std::string> problems;
  std::vector<double> times[4];
  for (int r = 0; r < rounds; ++r) {
    bool read = true;
    times[0].push_back(
        milliseconds([&] { read = exe::readExecutable(bytes.data(), bytes.size(), executable, error); }));
    if (!read) {
      std::fprintf(stderr, "%s: %s\n", path, error.c_str());
      return false;
    }
    proof::Facts facts;
    proof::EqualityResult equal;
    auto check = [&](auto holds) {
      for (exe::Entry &entry : executable.entries)
        if (std::string found = holds(entry); !found.empty())
          wrong = found;
    };
    times[1].push_back(milliseconds(
        [&] { check([&](exe::Entry &entry) { return proof::verify(entry.split, entry.certificate, facts); }); }));
    times[2].push_back(
        milliseconds([&] { check([&](exe::Entry &entry) { return proof::verifyEqual(executable, entry, equal); }); }));
    times[3].push_back(milliseconds([&] { problems = proof::certifyAll(executable); }));
    if (!wrong.empty() || !problems.empty()) {
      std::fprintf(stderr, "%s: %s\n", path, wrong.empty() ? problems[0].c_str() : wrong.c_str());
      return false;
    }
  }
  size_t commands = 0, numbers = 0;
  for (const exe::Entry &e : executable.entries) {
    commands += e.split.commands.size() + e.reference.commands.size();
    numbers += e.certificate.order.size() + e.certificate.matching.size();
  }
  std::printf("%s: %.2f MB, %zu commands, certificates of %zu numbers\n", path, static_cast<double>(bytes.size()) / 1e6,
              commands, numbers);
  static const char *const names[] = {"read", "check certificates", "check equality", "prove anew"};
  for (int k = 0; k < 4; ++k) {
    std::sort(times[k].begin(), times[k].end());
    std::printf("  %-20s best %8.2f ms   median %8.2f ms\n", names[k], times[k].front(), times[k][times[k].size() / 2]);
  }
  return true;
}
} // namespace

int main(int argc, char **argv) {
  int first = argc > 2 && std::atoi(argv[1]) > 0 ? 2 : 1, rounds = first == 2 ? std::atoi(argv[1]) : 21;
  if (argc <= first) {
    std::fprintf(stderr, "usage: bench-proof [rounds] model.commx...\n");
    return 2;
  }
  for (int i = first; i < argc; ++i)
    if (!measure(argv[i], rounds))
      return 1;
  return 0;
}
