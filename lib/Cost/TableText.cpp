//===- TableText.cpp - the text of measured tables ------------------------===//
// "columns a b c" and "axis name v1 v2 ..." describe the lines below them: how many fields are those of the line
// before, the other fields, '|', and a time for each value of the axis. A time is 200 ln(us), rounded: the first as it
// is, the others as difference to the one before; empty where nothing was measured. A letter behind it says how far it
// disagrees with its surroundings (a, b, c).
//===----------------------------------------------------------------------===//
#include "Measured.h"
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>

namespace comm::cost {
namespace {

constexpr double perLog = 200;

std::vector<std::string> splitAt(const std::string &text, char separator) {
  std::vector<std::string> parts(1);
  for (char c : text)
    if (c == separator)
      parts.emplace_back();
    else
      parts.back() += c;
  return parts;
}

struct Series {
  std::string columns, axis;
};

/// `key` with its first fields replaced by their number where they are those of the line before.
std::string shorten(const std::string &before, const std::string &key) {
  std::vector<std::string> old = splitAt(before, ','), fields = splitAt(key, ',');
  size_t same = 0;
  while (same + 1 < fields.size() && same < old.size() && old[same] == fields[same])
    ++same;
  std::string text = std::to_string(same);
  for (size_t i = same; i < fields.size(); ++i)
    text += "," + fields[i];
  return text;
}

/// The other direction; empty when it is malformed.
std::string lengthen(const std::string &before, const std::string &text) {
  std::vector<std::string> old = splitAt(before, ','), fields = splitAt(text, ',');
  size_t same = static_cast<size_t>(std::max(0, std::atoi(fields[0].c_str())));
  if (same > old.size() || (same > 0 && before.empty()))
    return "";
  std::string key;
  for (size_t i = 0; i < same; ++i)
    key += (key.empty() ? "" : ",") + old[i];
  for (size_t i = 1; i < fields.size(); ++i)
    key += (key.empty() ? "" : ",") + fields[i];
  return key;
}

/// The columns of a kind's lines, with blanks between; the axis is the column that varies fastest.
Series seriesOf(RowKind kind, const Row &row) {
  switch (kind) {
  case RowKind::Collective:
    return {"system library library_version table op dtype ranks cuda_graph", "bytes"};
  case RowKind::Gemm:
    return {"system framework version dtype n k", "m"};
  case RowKind::Attention:
    return {"system framework version kernel phase dtype heads kv_heads head_dim window batch",
            row.attention.pastTokens > 0 ? "past_tokens" : "new_tokens"};
  case RowKind::Moe:
    return {"system framework version kernel dtype distribution hidden inter topk experts tp ep", "tokens"};
  }
  return {};
}

std::string join(std::initializer_list<std::string> fields) {
  std::string text;
  for (const std::string &field : fields)
    text += (text.empty() ? "" : ",") + field;
  return text;
}

std::string number(int64_t value) { return std::to_string(value); }

std::pair<std::string, int64_t> keyAndAxis(RowKind kind, const Row &row) {
  switch (kind) {
  case RowKind::Collective: {
    const CollectiveQuery &q = row.collective;
    return {join({row.system, q.library, q.version, q.table, q.op, q.dtype, number(q.ranks), number(q.graph)}),
            q.bytes};
  }
  case RowKind::Gemm: {
    const GemmQuery &q = row.gemm;
    return {join({row.system, q.framework, q.version, q.dtype, number(q.n), number(q.k)}), q.m};
  }
  case RowKind::Attention: {
    const AttentionQuery &q = row.attention;
    return {join({row.system, q.framework, q.version, q.kernel, q.pastTokens > 0 ? "generation" : "context", q.dtype,
                  number(q.heads), number(q.kvHeads), number(q.headDim), number(q.window), number(q.batch)}),
            q.pastTokens > 0 ? q.pastTokens : q.newTokens};
  }
  case RowKind::Moe: {
    const MoeQuery &q = row.moe;
    return {join({row.system, q.framework, q.version, q.kernel, q.dtype, q.distribution, number(q.hidden),
                  number(q.inter), number(q.topk), number(q.experts), number(q.tp), number(q.ep)}),
            q.tokens};
  }
  }
  return {};
}

const char *fileOf(RowKind kind) {
  switch (kind) {
  case RowKind::Collective:
    return "collectives";
  case RowKind::Gemm:
    return "gemm";
  case RowKind::Attention:
    return "attention";
  case RowKind::Moe:
    return "moe";
  }
  return "";
}

} // namespace

std::string writeTable(RowKind kind, const std::vector<Row> &rows, const std::vector<int> &levels,
                       const std::string &notice) {
  struct Cell {
    int time, level;
  };
  struct Block {
    std::map<int64_t, int> axis;
    std::map<std::string, std::map<int64_t, Cell>> lines;
  };
  std::map<std::pair<std::string, std::string>, Block> blocks; // by axis and columns
  for (size_t r = 0; r < rows.size(); ++r) {
    Series series = seriesOf(kind, rows[r]);
    auto [key, at] = keyAndAxis(kind, rows[r]);
    Block &block = blocks[{series.axis, series.columns}];
    block.axis[at] = 0;
    block.lines[key][at] = {static_cast<int>(std::lround(perLog * std::log(rows[r].latencyUs))), levels[r]};
  }
  std::string text;
  for (const std::string &line : splitAt(notice, '\n'))
    text += line.empty() ? "" : "# " + line + "\n";
  text += std::string("kind ") + fileOf(kind) + "\n";
  for (auto &[names, block] : blocks) {
    text += "columns " + names.second + "\naxis " + names.first;
    for (auto &[at, unused] : block.axis)
      text += " " + std::to_string(at);
    text += "\n";
    std::string lastKey;
    for (auto &[key, cells] : block.lines) {
      std::string line;
      int before = 0;
      for (auto &[at, unused] : block.axis) {
        line += line.empty() ? "|" : ",";
        auto it = cells.find(at);
        if (it == cells.end())
          continue;
        line += std::to_string(it->second.time - before);
        before = it->second.time;
        if (it->second.level > 0)
          line += static_cast<char>('a' + it->second.level - 1);
      }
      while (line.back() == ',')
        line.pop_back();
      text += shorten(lastKey, key) + line + "\n";
      lastKey = key;
    }
  }
  return text;
}

bool Measured::addTable(const std::string &text, const std::string &system, std::string &error) {
  std::string columns;
  std::vector<std::string> axis;
  std::string key;
  size_t number = 0;
  auto fail = [&](const std::string &what) {
    error = "measured table, line " + std::to_string(number) + ": " + what;
    return false;
  };
  for (const std::string &line : splitAt(text, '\n')) {
    ++number;
    if (line.empty() || line[0] == '#' || line.rfind("kind ", 0) == 0)
      continue;
    if (line.rfind("columns ", 0) == 0) {
      columns = line.substr(8);
      key.clear();
      for (char &c : columns)
        c = c == ' ' ? ',' : c;
      continue;
    }
    if (line.rfind("axis ", 0) == 0) {
      axis = splitAt(line.substr(5), ' ');
      continue;
    }
    size_t bar = line.find('|');
    if (bar == std::string::npos || axis.size() < 2)
      return fail("is neither a header nor a series");
    key = lengthen(key, line.substr(0, bar));
    if (key.empty())
      return fail("repeats fields that are not there");
    if (!system.empty() && key.compare(0, system.size() + 1, system + ",") != 0)
      continue;
    std::vector<std::string> cells = splitAt(line.substr(bar + 1), ',');
    if (cells.size() + 1 > axis.size())
      return fail("has more times than its axis has values");
    // The rows of the series as CSV, so that there is one reader of fields.
    std::string csv = columns + "," + axis[0] + "\n";
    std::vector<std::pair<int, int>> times;
    int time = 0;
    for (size_t i = 0; i < cells.size(); ++i) {
      if (cells[i].empty())
        continue;
      int level = cells[i].back() >= 'a' && cells[i].back() <= 'c' ? cells[i].back() - 'a' + 1 : 0;
      time += std::atoi(cells[i].c_str());
      times.emplace_back(time, level);
      csv += key + "," + axis[i + 1] + "\n";
    }
    RowTable table;
    std::vector<std::string> problems;
    if (!readRows(csv, table, problems))
      return fail(problems[0]);
    for (size_t i = 0; i < table.rows.size(); ++i) {
      table.rows[i].latencyUs = std::exp(times[i].first / perLog);
      add(table.kind, table.rows[i], times[i].second);
    }
  }
  return true;
}

} // namespace comm::cost
