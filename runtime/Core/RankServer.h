//===- RankServer.h - the loop of a rank ------------------------*- C++ -*-===//
#pragma once
#include "runtime/Core/Control.h"
#include "runtime/Core/Launcher.h"
#include "runtime/Transport/Shm/Segment.h"

namespace comm::rt {

/// How long a wait may spin while so many threads wait: only when each of them has a core.
int64_t spinNsFor(int64_t waiting);

/// Answers requests from `control` until its end; runs the rank's whole life on this thread.
void serveRank(int32_t rank, int control, shm::Segment &segment, const std::vector<int> &fds,
               const RankMainFactory &factory);

} // namespace comm::rt
