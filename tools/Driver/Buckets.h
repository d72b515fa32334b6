//===- Buckets.h - several sizes of a symbol, several entries ---*- C++ -*-===//
#ifndef TOOLS_DRIVER_BUCKETS_H
#define TOOLS_DRIVER_BUCKETS_H
#include "tools/Driver/Options.h"

namespace commc {
/// One entry to be made: `name` says the sizes that tell it from the others, "batch=1,seq=128".
struct EntrySizes {
  std::string name;
  std::map<std::string, int64_t> dims;
};
/// Every combination of the sizes of `--dim`, smaller ones first; "main" when there is only one.
std::vector<EntrySizes> listEntries(const Options &options);

/// False when `--dim` asks for too many entries, or beside other options that make some: said already.
bool checkEntryCount(const Options &options);
} // namespace commc
#endif
