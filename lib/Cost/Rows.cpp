//===- Rows.cpp - CSV rows of measurements and questions ------------------===//
#include "comm/Cost/Rows.h"
#include <algorithm>
#include <charconv>
#include <cmath>

namespace comm::cost {
namespace {

std::vector<std::string> split(const std::string &line) {
  std::vector<std::string> fields(1);
  for (char c : line)
    if (c == ',')
      fields.emplace_back();
    else
      fields.back() += c;
  return fields;
}

std::string shown(const std::string &text) {
  std::string out;
  for (char c : text.substr(0, 40))
    out += c >= ' ' && c < 127 ? c : '?';
  return "'" + out + "'";
}

class LineReader {
public:
  LineReader(const std::vector<std::string> &header, const std::vector<std::string> &fields, std::string &problem)
      : header(header), fields(fields), problem(problem) {}

  std::string text(const char *name, const char *missing = nullptr) {
    const std::string *field = find(name);
    if (!field)
      return missing ? missing : "";
    if (field->size() > 100 || (field->empty() && !missing))
      fail(std::string(name) + (field->empty() ? " is empty" : " is longer than 100 bytes"));
    return *field;
  }
  int64_t integer(const char *name, int64_t least, int64_t missing = -1) {
    const std::string *field = find(name);
    if (!field)
      return missing;
    int64_t value = 0;
    auto [end, error] = std::from_chars(field->data(), field->data() + field->size(), value);
    if (error != std::errc() || end != field->data() + field->size() || value < least || value > (int64_t(1) << 50))
      fail(std::string(name) + " is " + shown(*field) + ", not a whole number of at least " + std::to_string(least));
    return value;
  }
  double latency() {
    const std::string *field = find("latency_us");
    if (!field)
      return 0;
    double value = 0;
    auto [end, error] = std::from_chars(field->data(), field->data() + field->size(), value);
    if (error != std::errc() || end != field->data() + field->size() || !(value > 0) || !std::isfinite(value))
      fail("latency_us is " + shown(*field) + ", not a time");
    return value;
  }
  void fail(const std::string &what) {
    if (problem.empty())
      problem = what;
  }

private:
  const std::string *find(const char *name) const {
    auto it = std::find(header.begin(), header.end(), name);
    return it == header.end() ? nullptr : &fields[static_cast<size_t>(it - header.begin())];
  }
  const std::vector<std::string> &header, &fields;
  std::string &problem;
};

Row readRow(RowKind kind, LineReader &in) {
  Row row;
  row.system = in.text("system");
  row.latencyUs = in.latency();
  switch (kind) {
  case RowKind::Collective: {
    CollectiveQuery &q = row.collective;
    q.library = in.text("library", "");
    q.version = in.text("library_version", "");
    q.table = in.text("table", "");
    q.op = in.text("op");
    static const char *const ops[] = {"all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast",
                                      "permute",    "send"};
    if (std::find(std::begin(ops), std::end(ops), q.op) == std::end(ops))
      in.fail("op is " + shown(q.op) +
              ", not all_reduce, all_gather, reduce_scatter, all_to_all, broadcast, permute, send");
    q.dtype = in.text("dtype", "f16");
    q.ranks = in.integer("ranks", 1);
    q.bytes = in.integer("bytes", 1);
    int64_t graph = in.integer("cuda_graph", 0, 0);
    if (graph > 1)
      in.fail("cuda_graph is neither 0 nor 1");
    q.graph = graph == 1;
    break;
  }
  case RowKind::Gemm: {
    GemmQuery &q = row.gemm;
    q.framework = in.text("framework", "");
    q.version = in.text("version", "");
    q.dtype = in.text("dtype", "bf16");
    q.m = in.integer("m", 1);
    q.n = in.integer("n", 1);
    q.k = in.integer("k", 1);
    break;
  }
  case RowKind::Attention: {
    AttentionQuery &q = row.attention;
    q.framework = in.text("framework", "");
    q.version = in.text("version", "");
    q.kernel = in.text("kernel", "");
    q.dtype = in.text("dtype", "bf16");
    std::string phase = in.text("phase");
    if (phase != "context" && phase != "generation")
      in.fail("phase is " + shown(phase) + ", not context or generation");
    q.batch = in.integer("batch", 1, 1);
    q.newTokens = in.integer("new_tokens", 1, 1);
    q.pastTokens = in.integer("past_tokens", 0, 0);
    q.heads = in.integer("heads", 1, 1);
    q.kvHeads = in.integer("kv_heads", 1, q.heads);
    q.headDim = in.integer("head_dim", 1, 1);
    q.window = in.integer("window", 0, 0);
    break;
  }
  case RowKind::Moe: {
    MoeQuery &q = row.moe;
    q.framework = in.text("framework", "");
    q.version = in.text("version", "");
    q.kernel = in.text("kernel", "");
    q.dtype = in.text("dtype", "bf16");
    q.distribution = in.text("distribution", "balanced");
    q.hidden = in.integer("hidden", 1);
    q.inter = in.integer("inter", 1);
    q.topk = in.integer("topk", 1, 1);
    q.experts = in.integer("experts", 1);
    q.tp = in.integer("tp", 1, 1);
    q.ep = in.integer("ep", 1, 1);
    q.tokens = in.integer("tokens", 1);
    break;
  }
  }
  return row;
}

/// Columns that make a kind, and the others that its rows may have are not asked for.
bool recognise(const std::vector<std::string> &header, RowKind &kind) {
  auto has = [&](std::initializer_list<const char *> names) {
    return std::all_of(names.begin(), names.end(),
                       [&](const char *name) { return std::find(header.begin(), header.end(), name) != header.end(); });
  };
  if (!has({"system"}))
    return false;
  if (has({"op", "ranks", "bytes"}))
    kind = RowKind::Collective;
  else if (has({"phase", "heads", "kv_heads", "head_dim"}))
    kind = RowKind::Attention;
  else if (has({"hidden", "inter", "topk", "experts", "tokens"}))
    kind = RowKind::Moe;
  else if (has({"m", "n", "k"}))
    kind = RowKind::Gemm;
  else
    return false;
  return true;
}

} // namespace

bool readRows(const std::string &csv, RowTable &out, std::vector<std::string> &problems) {
  constexpr size_t limit = 50;
  RowTable table;
  std::vector<std::string> header;
  size_t number = 0;
  for (size_t at = 0; at < csv.size() && problems.size() < limit;) {
    size_t end = std::min(csv.find('\n', at), csv.size());
    std::string line = csv.substr(at, end - at);
    at = end + 1;
    ++number;
    if (!line.empty() && line.back() == '\r')
      line.pop_back();
    if (header.empty()) {
      table.header = line;
      header = split(line);
      std::vector<std::string> sorted = header;
      std::sort(sorted.begin(), sorted.end());
      if (std::adjacent_find(sorted.begin(), sorted.end()) != sorted.end() || !recognise(header, table.kind)) {
        problems.push_back("line 1: the columns are not those of collectives (system, op, ranks, bytes), products "
                           "(system, m, n, k), attention (system, phase, batch, new_tokens, past_tokens, heads, "
                           "kv_heads, head_dim) or expert layers (system, hidden, inter, topk, experts, tokens)");
        return false;
      }
      continue;
    }
    if (line.empty())
      continue;
    std::vector<std::string> fields = split(line);
    std::string problem;
    if (fields.size() != header.size()) {
      problem = "has " + std::to_string(fields.size()) + " fields, the header " + std::to_string(header.size());
    } else {
      LineReader reader(header, fields, problem);
      table.rows.push_back(readRow(table.kind, reader));
      table.lines.push_back(line);
    }
    if (!problem.empty())
      problems.push_back("line " + std::to_string(number) + ": " + problem);
  }
  if (header.empty())
    problems.push_back("there is no header line");
  if (!problems.empty())
    return false;
  out = std::move(table);
  return true;
}

double predictUs(const CostModel &model, RowKind kind, const Row &row) {
  switch (kind) {
  case RowKind::Collective:
    return model.collectiveUs(row.collective);
  case RowKind::Gemm:
    return model.gemmUs(row.gemm);
  case RowKind::Attention:
    return model.attentionUs(row.attention);
  case RowKind::Moe:
    return model.moeUs(row.moe);
  }
  return 0;
}

} // namespace comm::cost
