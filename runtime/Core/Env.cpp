//===- Env.cpp - every environment variable of the runtime ----------------===//
#include "runtime/Core/Env.h"
#include <cstdlib>
#include <cstring>

using namespace comm::rt;

Env Env::read() {
  Env env;
  if (const char *v = ::secure_getenv("COMM_RANK_PROGRAM"))
    env.rankProgram = v;
  if (const char *v = ::secure_getenv("COMM_SPIN_US")) {
    char *end = nullptr;
    long long us = std::strtoll(v, &end, 10);
    if (end != v && !*end && us >= 0 && us <= 1000000)
      env.spinUs = us;
  }
  if (const char *v = ::secure_getenv("COMM_MICRO_KERNEL"))
    env.microKernel = v;
  if (const char *v = ::secure_getenv("COMM_FILL"))
    env.poisonFill = std::strcmp(v, "nan") == 0;
  return env;
}
