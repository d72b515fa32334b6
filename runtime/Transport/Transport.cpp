//===- Transport.cpp - names ----------------------------------------------===//
#include "runtime/Transport/Transport.h"

using namespace comm;

const char *rt::collectiveName(CollectiveKind kind) {
  switch (kind) {
  case CollectiveKind::AllReduce:
    return "all_reduce";
  case CollectiveKind::ReduceScatter:
    return "reduce_scatter";
  case CollectiveKind::AllGather:
    return "all_gather";
  case CollectiveKind::AllToAll:
    return "all_to_all";
  case CollectiveKind::AllToAllV:
    return "all_to_all_v";
  case CollectiveKind::Broadcast:
    return "broadcast";
  case CollectiveKind::Permute:
    return "permute";
  case CollectiveKind::Send:
    return "send";
  case CollectiveKind::Recv:
    return "recv";
  case CollectiveKind::Barrier:
    return "barrier";
  }
  return "unknown operation";
}

const char *rt::reduceName(ReduceKind kind) {
  switch (kind) {
  case ReduceKind::Sum:
    return "sum";
  case ReduceKind::Max:
    return "max";
  case ReduceKind::Min:
    return "min";
  case ReduceKind::Prod:
    return "prod";
  }
  return "unknown reduction";
}
