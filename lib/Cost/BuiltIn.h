//===- BuiltIn.h - the tables in lib/Cost/tables (private) ------*- C++ -*-===//
#pragma once

namespace comm::cost {

class Measured;
enum class RowKind;

extern const char *const collectivesTable, *const gemmTable, *const attentionTable, *const moeTable;

} // namespace comm::cost
