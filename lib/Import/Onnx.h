//===- Onnx.h - an ONNX model as plain data ---------------------*- C++ -*-===//
// What Read.cpp makes of the protobuf. No MLIR and no protobuf here: the two never meet.
//===----------------------------------------------------------------------===//
#ifndef COMM_LIB_IMPORT_ONNX_H
#define COMM_LIB_IMPORT_ONNX_H
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace mlir::comm::onnx {

enum DataType : int {
  Undefined = 0,
  Float = 1,
  Uint8 = 2,
  Int8 = 3,
  Uint16 = 4,
  Int16 = 5,
  Int32 = 6,
  Int64 = 7,
  String = 8,
  Bool = 9,
  Float16 = 10,
  Double = 11,
  Uint32 = 12,
  Uint64 = 13,
  BFloat16 = 16,
  Uint4 = 21,
  Int4 = 22,
  Uint2 = 25,
  Int2 = 26
};
/// "f32" and the like; "type 22" for what commc does not know.
std::string nameOf(int dataType);
/// Bits per element; 0 for strings and unknown types.
int64_t bitsOf(int dataType);

/// A tensor in the file. The bytes are little-endian and row-major.
struct Tensor {
  std::string name;
  int dataType = 0;
  std::vector<int64_t> dims;
  std::string file;     ///< empty: the bytes are in `inlined`; else the model's or an external file's name
  int64_t offset = 0;   ///< in `file`
  int64_t bytes = 0;    ///< exactly elements * width, checked
  std::string inlined;  ///< decoded from int32_data and the like
  std::string checksum; ///< SHA-1 from external_data; may be empty
  int64_t length = -1;  ///< external_data length; -1 when not given
  int64_t getNumElements() const;
};

struct Graph;
struct Attribute {
  enum Kind {
    None,
    FloatKind = 1,
    IntKind = 2,
    StringKind = 3,
    TensorKind = 4,
    GraphKind = 5,
    FloatsKind = 6,
    IntsKind = 7,
    StringsKind = 8,
    Other = 99
  };
  std::string name, refAttrName;
  int kind = None;
  float f = 0;
  int64_t i = 0;
  std::string s;
  std::shared_ptr<Tensor> tensor;
  std::shared_ptr<Graph> graph;
  std::vector<float> floats;
  std::vector<int64_t> ints;
  std::vector<std::string> strings;
};

struct Node {
  std::string name, op, domain, overload;
  int64_t opset = 0; ///< version of its domain
  std::vector<std::string> inputs, outputs;
  std::vector<Attribute> attributes;
  const Attribute *find(const std::string &attribute) const;
  /// "node 'name' (domain::Op-opset)"; the first output stands in for a missing name.
  std::string describe() const;
  std::string qualifiedOp() const; ///< "Op-20", "com.microsoft::Op-1"
};

/// If, Loop and Scan: their bodies are compiled with the graph around them.
bool isControl(const Node &node);

struct Dim {
  int64_t value = -1; ///< -1: not a number
  std::string param;  ///< name or expression; may be empty
};
struct ValueInfo {
  std::string name;
  int dataType = 0;
  bool isTensor = false, hasShape = false;
  std::vector<Dim> dims;
};
struct Graph {
  std::string name;
  std::vector<Node> nodes;
  std::vector<Tensor> initializers;
  std::vector<ValueInfo> inputs, outputs;
  int numSparse = 0;
};
struct Function {
  std::string name, domain, overload;
  std::vector<std::string> inputs, outputs, attributes;
  std::vector<Attribute> defaults;
  std::vector<Node> nodes;
  std::map<std::string, int64_t> opsets;
};
struct Model {
  int64_t irVersion = 0;
  std::string producer;
  std::map<std::string, int64_t> opsets; ///< domain -> version; "" is ai.onnx
  bool hasGraph = false;
  Graph graph;
  std::vector<Function> functions;
};

} // namespace mlir::comm::onnx
#endif
