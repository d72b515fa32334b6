//===- ReadProto.cpp - protobuf messages to plain data --------------------===//
// The only file that sees protobuf. Built with exceptions; none leave it.
//===----------------------------------------------------------------------===//
#include "Read.h"
#include "Wire.h"
#include "commc_onnx.pb.h"
#include <cstring>
#include <exception>
#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

namespace mlir::comm::onnx {
namespace {
struct Reader {
  const std::string &fileName;
  uint64_t fileSize;
  Complaints &complaints;
  static constexpr size_t kMaxName = 1 << 16;

  void complain(const char *code, std::string what, std::string where = "") {
    complaints.push_back({code, std::move(what), std::move(where), ""});
  }

  std::string text(const std::string &value, const char *what) {
    if (value.size() > kMaxName || value.find('\0') != std::string::npos)
      complain("E301", std::string(what) + " is longer than 64 KiB or holds a NUL byte");
    return value.substr(0, kMaxName);
  }

  template <typename Values, typename Put> void decode(const Values &values, Tensor &tensor, unsigned width, Put put) {
    tensor.inlined.reserve(static_cast<size_t>(values.size()) * width);
    for (auto value : values) {
      auto element = put(value);
      tensor.inlined.append(reinterpret_cast<const char *>(&element), width);
    }
  }

  void payloadFromFields(const commc_onnx::TensorProto &proto, Tensor &tensor) {
    switch (tensor.dataType) {
    case Float:
      decode(proto.float_data(), tensor, 4, [](float value) { return value; });
      break;
    case Double:
      decode(proto.double_data(), tensor, 8, [](double value) { return value; });
      break;
    case Int64:
      decode(proto.int64_data(), tensor, 8, [](int64_t value) { return value; });
      break;
    case Uint64:
      decode(proto.uint64_data(), tensor, 8, [](uint64_t value) { return value; });
      break;
    case Uint32:
      decode(proto.uint64_data(), tensor, 4, [](uint64_t value) { return static_cast<uint32_t>(value); });
      break;
    default: // int32_data holds every other type: one element each, packed ones by their byte
      decode(proto.int32_data(), tensor,
             bitsOf(tensor.dataType) < 8 ? 1 : static_cast<unsigned>(bitsOf(tensor.dataType) / 8),
             [](int32_t value) { return value; });
    }
  }

  void external(const commc_onnx::TensorProto &proto, Tensor &tensor, const std::string &where) {
    auto number = [&](const std::string &value, int64_t &result) {
      bool good = !value.empty() && value.size() <= 19 && value.find_first_not_of("0123456789") == std::string::npos;
      uint64_t parsed = 0;
      for (char digit : value)
        parsed = good ? parsed * 10 + static_cast<uint64_t>(digit - '0') : 0;
      result = static_cast<int64_t>(parsed);
      return good && parsed <= INT64_MAX;
    };
    std::map<std::string, int> seen;
    for (const auto &entry : proto.external_data()) {
      const std::string &key = entry.key();
      if (key != "location" && key != "offset" && key != "length" && key != "checksum" && key != "basepath")
        complain("E303", "external data has the unknown key '" + key.substr(0, 64) + "'", where);
      if (seen[key]++)
        complain("E303", "external data gives '" + key.substr(0, 64) + "' twice", where);
      if (key == "location")
        tensor.file = entry.value();
      else if (key == "checksum")
        tensor.checksum = entry.value();
      else if ((key == "offset" && !number(entry.value(), tensor.offset)) ||
               (key == "length" && !number(entry.value(), tensor.length)))
        complain("E303",
                 "external data: " + key + " '" + entry.value().substr(0, 64) +
                     "' is not a decimal number in 0 .. 2^63 - 1",
                 where);
    }
    if (tensor.file.empty())
      complain("E303", "external data without a location", where);
    if (proto.has_raw_data() || proto.float_data_size() || proto.int32_data_size() || proto.int64_data_size() ||
        proto.double_data_size() || proto.uint64_data_size() || proto.string_data_size())
      complain("E303", "a tensor with external data also carries values", where);
    if (tensor.dataType == String)
      complain("E303", "strings cannot be external data", where);
    if (tensor.length >= 0 && tensor.length != tensor.bytes)
      complain("E303",
               "external data has length " + std::to_string(tensor.length) + ", the tensor needs " +
                   std::to_string(tensor.bytes) + " bytes",
               where);
  }

  Tensor tensor(const commc_onnx::TensorProto &proto) {
    Tensor tensor;
    tensor.name = text(proto.name(), "a tensor's name");
    tensor.dataType = proto.data_type();
    std::string where = "tensor '" + tensor.name + "'";
    __int128 elements = 1, room = 1;
    for (int64_t dim : proto.dims()) {
      if (dim < 0) {
        complain("E301", "a tensor has the negative size " + std::to_string(dim), where);
        dim = 0;
      }
      tensor.dims.push_back(dim);
      elements *= dim;
      room *= dim > 0 ? dim : 1; // the other sizes of an empty tensor count as well
      if (room * 16 > INT64_MAX) {
        complain("E304", "a tensor's size overflows 63 bits", where);
        tensor.dims.assign(1, 0);
        return tensor;
      }
    }
    if (proto.dims_size() > 64)
      complain("E301", "a tensor has " + std::to_string(proto.dims_size()) + " dimensions", where);
    if (proto.has_segment())
      complain("E301", "a tensor is stored in segments", where);
    int64_t bits = bitsOf(tensor.dataType);
    if (tensor.dataType <= 0 || tensor.dataType > 26)
      complain("E301", "a tensor has the unknown element type " + std::to_string(tensor.dataType), where);
    tensor.bytes = (static_cast<int64_t>(elements) * bits + 7) / 8;
    if (proto.data_location() == commc_onnx::TensorProto_DataLocation_EXTERNAL) {
      external(proto, tensor, where);
      return tensor;
    }
    if (proto.external_data_size())
      complain("E303", "a tensor lists external data but is not marked external", where);
    if (tensor.dataType == String)
      return tensor; // kept without data: refused where it is used
    bool hasFields = proto.float_data_size() || proto.int32_data_size() || proto.int64_data_size() ||
                     proto.double_data_size() || proto.uint64_data_size();
    int64_t actual;
    if (proto.has_raw_data()) {
      uint64_t offset = 0, size = 0;
      int field = 0;
      if (!readReference(proto.raw_data(), offset, size, field) || offset > fileSize || size > fileSize - offset) {
        complain("E301", "a tensor's data lies outside the file", where);
        return tensor;
      }
      if (hasFields || (field == 4 && tensor.dataType != Float) || (field == 10 && tensor.dataType != Double))
        complain("E301", "a tensor carries values in two fields, or in that of another type", where);
      tensor.file = fileName;
      tensor.offset = static_cast<int64_t>(offset);
      actual = static_cast<int64_t>(size);
    } else {
      payloadFromFields(proto, tensor);
      actual = static_cast<int64_t>(tensor.inlined.size());
    }
    if (actual != tensor.bytes && bits)
      complain("E301",
               "a tensor has " + std::to_string(actual) + " bytes of data, its shape needs " +
                   std::to_string(tensor.bytes),
               where);
    return tensor;
  }

  Attribute attribute(const commc_onnx::AttributeProto &proto, int depth) {
    Attribute result;
    result.name = text(proto.name(), "an attribute's name");
    result.refAttrName = proto.ref_attr_name();
    result.kind = proto.type();
    result.f = proto.f();
    result.i = proto.i();
    result.s = proto.s();
    result.floats.assign(proto.floats().begin(), proto.floats().end());
    result.ints.assign(proto.ints().begin(), proto.ints().end());
    result.strings.assign(proto.strings().begin(), proto.strings().end());
    if (proto.has_t())
      result.tensor = std::make_shared<Tensor>(tensor(proto.t()));
    if (proto.has_g())
      result.graph = std::make_shared<Graph>(graph(proto.g(), depth + 1));
    bool complete = (result.kind != Attribute::TensorKind || result.tensor) &&
                    (result.kind != Attribute::GraphKind || result.graph);
    if (!complete && result.refAttrName.empty())
      complain("E301", "attribute '" + result.name + "' lacks the value that its type promises");
    return result;
  }

  Node node(const commc_onnx::NodeProto &proto, int depth) {
    Node result;
    result.name = text(proto.name(), "a node's name");
    result.op = text(proto.op_type(), "an operator's name");
    result.domain = text(proto.domain(), "a domain");
    result.overload = proto.overload();
    if (result.domain == "ai.onnx")
      result.domain.clear();
    for (const std::string &input : proto.input())
      result.inputs.push_back(text(input, "an input's name"));
    for (const std::string &output : proto.output())
      result.outputs.push_back(text(output, "an output's name"));
    for (const auto &attr : proto.attribute()) {
      if (result.find(attr.name()))
        complain("E305", "attribute '" + attr.name() + "' stands twice", result.describe());
      result.attributes.push_back(attribute(attr, depth));
    }
    return result;
  }

  ValueInfo value(const commc_onnx::ValueInfoProto &proto) {
    ValueInfo result;
    result.name = text(proto.name(), "a value's name");
    if (!proto.has_type() || !proto.type().has_tensor_type())
      return result;
    const auto &type = proto.type().tensor_type();
    result.isTensor = true;
    result.dataType = type.elem_type();
    result.hasShape = type.has_shape();
    for (const auto &dim : type.shape().dim()) {
      Dim out;
      if (dim.has_dim_value()) {
        out.value = dim.dim_value();
        if (out.value < 0)
          complain("E301", "a dimension has the negative size " + std::to_string(out.value),
                   "tensor '" + result.name + "'");
        out.value = std::max<int64_t>(out.value, 0);
      } else {
        out.param = text(dim.dim_param(), "a dimension's name");
      }
      result.dims.push_back(out);
    }
    return result;
  }

  Graph graph(const commc_onnx::GraphProto &proto, int depth) {
    Graph result;
    result.name = proto.name();
    result.numSparse = proto.sparse_initializer_size();
    for (const auto &entry : proto.initializer())
      result.initializers.push_back(tensor(entry));
    for (const auto &entry : proto.node())
      result.nodes.push_back(node(entry, depth));
    for (const auto &entry : proto.input())
      result.inputs.push_back(value(entry));
    for (const auto &entry : proto.output())
      result.outputs.push_back(value(entry));
    return result;
  }

  void opsets(const google::protobuf::RepeatedPtrField<commc_onnx::OperatorSetIdProto> &protos,
              std::map<std::string, int64_t> &result) {
    for (const auto &proto : protos) {
      std::string domain = proto.domain() == "ai.onnx" ? "" : proto.domain();
      if (!result.emplace(domain, proto.version()).second)
        complain("E301", "the opset of domain '" + domain.substr(0, 64) + "' is imported twice");
    }
  }

  Function function(const commc_onnx::FunctionProto &proto) {
    Function result;
    result.name = text(proto.name(), "a function's name");
    result.domain = proto.domain() == "ai.onnx" ? "" : text(proto.domain(), "a domain");
    result.overload = proto.overload();
    result.inputs.assign(proto.input().begin(), proto.input().end());
    result.outputs.assign(proto.output().begin(), proto.output().end());
    result.attributes.assign(proto.attribute().begin(), proto.attribute().end());
    for (const auto &entry : proto.attribute_proto())
      result.defaults.push_back(attribute(entry, 0));
    for (const auto &entry : proto.node())
      result.nodes.push_back(node(entry, 0));
    opsets(proto.opset_import(), result.opsets);
    return result;
  }
};

bool parse(const std::string &skeleton, const std::string &fileName, uint64_t fileSize, Model &model,
           Complaints &complaints) {
  Reader reader{fileName, fileSize, complaints};
  commc_onnx::ModelProto proto;
  google::protobuf::io::ArrayInputStream stream(skeleton.data(), static_cast<int>(skeleton.size()));
  google::protobuf::io::CodedInputStream in(&stream);
  in.SetRecursionLimit(100);
  if (!proto.ParseFromCodedStream(&in) || !in.ConsumedEntireMessage()) {
    reader.complain("E301", "not an ONNX model: protobuf cannot parse it, or it nests deeper than 100 messages");
    return false;
  }
  model.irVersion = proto.ir_version();
  model.producer = proto.producer_name().substr(0, 256) + " " + proto.producer_version().substr(0, 64);
  model.hasGraph = proto.has_graph();
  reader.opsets(proto.opset_import(), model.opsets);
  model.graph = reader.graph(proto.graph(), 0);
  for (const auto &function : proto.functions())
    model.functions.push_back(reader.function(function));
  return !hasErrors(complaints);
}
} // namespace

bool hasErrors(const Complaints &complaints) {
  for (const Complaint &complaint : complaints)
    if (!complaint.warning)
      return true;
  return false;
}

bool parseSkeleton(const std::string &skeleton, const std::string &fileName, uint64_t fileSize, Model &model,
                   Complaints &complaints) {
  try {
    return parse(skeleton, fileName, fileSize, model, complaints);
  } catch (const std::exception &exception) {
    complaints.push_back({"E301", std::string("the model cannot be read: ") + exception.what(), "", ""});
    return false;
  }
}

} // namespace mlir::comm::onnx
