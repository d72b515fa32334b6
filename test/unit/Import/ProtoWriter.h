//===- ProtoWriter.h - ONNX bytes for tests, valid or not -------*- C++ -*-===//
#ifndef COMM_TEST_UNIT_IMPORT_PROTOWRITER_H
#define COMM_TEST_UNIT_IMPORT_PROTOWRITER_H
#include <cstdint>
#include <string>
#include <vector>

namespace proto {
inline std::string varint(uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7)
    out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
  return out;
}
inline std::string number(int field, int64_t value) {
  return varint(uint64_t(field) << 3) + varint(static_cast<uint64_t>(value));
}
inline std::string bytes(int field, const std::string &value) {
  return varint(uint64_t(field) << 3 | 2) + varint(value.size()) + value;
}

inline std::string value(const std::string &name, std::vector<int64_t> dims, int type = 1) {
  std::string shape;
  for (int64_t dim : dims)
    shape += bytes(1, number(1, dim));
  return bytes(1, name) + bytes(2, bytes(1, number(1, type) + bytes(2, shape)));
}
inline std::string symbolic(const std::string &name, std::vector<std::string> dims, int type = 1) {
  std::string shape;
  for (const std::string &dim : dims)
    shape += bytes(1, bytes(2, dim));
  return bytes(1, name) + bytes(2, bytes(1, number(1, type) + bytes(2, shape)));
}
/// A tensor with raw data.
inline std::string tensor(const std::string &name, std::vector<int64_t> dims, int type, const std::string &raw) {
  std::string out;
  for (int64_t dim : dims)
    out += number(1, dim);
  return out + number(2, type) + bytes(8, name) + bytes(9, raw);
}
inline std::string ints(const std::string &name, std::vector<int64_t> values) {
  return tensor(name, {static_cast<int64_t>(values.size())}, 7,
                std::string(reinterpret_cast<const char *>(values.data()), values.size() * 8));
}
/// A tensor with external data; `entries` are key, value, key, value ...
inline std::string external(const std::string &name, std::vector<int64_t> dims, int type,
                            std::vector<std::string> entries) {
  std::string out;
  for (int64_t dim : dims)
    out += number(1, dim);
  out += number(2, type) + bytes(8, name) + number(14, 1);
  for (size_t i = 0; i + 1 < entries.size(); i += 2)
    out += bytes(13, bytes(1, entries[i]) + bytes(2, entries[i + 1]));
  return out;
}
inline std::string intAttr(const std::string &name, int64_t value) {
  return bytes(5, bytes(1, name) + number(3, value) + number(20, 2));
}
inline std::string node(const std::string &op, std::vector<std::string> inputs, std::vector<std::string> outputs,
                        const std::string &attributes = "", const std::string &domain = "") {
  std::string out;
  for (const std::string &input : inputs)
    out += bytes(1, input);
  for (const std::string &output : outputs)
    out += bytes(2, output);
  return out + bytes(4, op) + (domain.empty() ? "" : bytes(7, domain)) + attributes;
}
struct Graph {
  std::vector<std::string> nodes, initializers, inputs, outputs;
  std::string str() const {
    std::string out;
    for (const std::string &entry : nodes)
      out += bytes(1, entry);
    for (const std::string &entry : initializers)
      out += bytes(5, entry);
    for (const std::string &entry : inputs)
      out += bytes(11, entry);
    for (const std::string &entry : outputs)
      out += bytes(12, entry);
    return out;
  }
};
inline std::string model(const std::string &graph, int64_t ir = 10, int64_t opset = 20) {
  return number(1, ir) + bytes(8, number(2, opset)) + bytes(8, bytes(1, "com.microsoft") + number(2, 1)) +
         bytes(7, graph);
}
/// y = op(x) with x f32 [2, 3].
inline Graph small(const std::string &op = "Relu") {
  Graph graph;
  graph.nodes = {node(op, {"x"}, {"y"})};
  graph.inputs = {value("x", {2, 3})};
  graph.outputs = {value("y", {2, 3})};
  return graph;
}
} // namespace proto
#endif
