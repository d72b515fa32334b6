//===- Rows.h - rows of measurements and questions --------------*- C++ -*-===//
// CSV rows with the columns of the measured tables: collectives (op, ranks, bytes), products (m, n, k), attention
// (phase, heads) and expert layers (experts, tokens). The kind is recognised by its columns. Standard library only.
//===----------------------------------------------------------------------===//
#pragma once
#include "comm/Cost/CostModel.h"

namespace comm::cost {

enum class RowKind { Collective, Gemm, Attention, Moe };

struct Row {
  std::string system;
  CollectiveQuery collective; ///< the one of the table's kind is set
  GemmQuery gemm;
  AttentionQuery attention;
  MoeQuery moe;
  double latencyUs = 0; ///< measured; 0 where the column is missing
};

struct RowTable {
  RowKind kind = RowKind::Collective;
  std::string header;             ///< first line as it stood
  std::vector<std::string> lines; ///< the others as they stood
  std::vector<Row> rows;          ///< one per line
};

/// All problems of the text at once, a sentence each with its line; at most 50.
bool readRows(const std::string &csv, RowTable &out, std::vector<std::string> &problems);
/// With the model of the row's system.
double predictUs(const CostModel &, RowKind, const Row &);

} // namespace comm::cost
