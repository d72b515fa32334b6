//===- LoopCases.cpp - fused loops, each beside one by hand ---------------===//
#include "LoopCases.h"
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <random>

using namespace comm;
using namespace comm::bench;

namespace {
std::string tensor(std::initializer_list<int64_t> shape, const std::string &element = "f32") {
  std::string text = "tensor<";
  for (int64_t size : shape)
    text += std::to_string(size) + "x";
  return text + element + ">";
}

/// Lines of a function; every value gets the next name.
class Text {
public:
  std::string input(const std::string &type) {
    std::string name = "%a" + std::to_string(inputs++);
    arguments += (arguments.empty() ? "" : ", ") + name + ": " + type + " {comm.name = \"" + name.substr(1) + "\"}";
    return name;
  }
  std::string line(const std::string &op) {
    std::string name = "%v" + std::to_string(values++);
    body += "  " + name + " = " + op + "\n";
    return name;
  }
  /// A binary or unary op on one type.
  std::string on(const std::string &type, const std::string &op, const std::string &a, const std::string &b = "") {
    return line(op + " " + a + (b.empty() ? "" : ", " + b) + " : " + type);
  }
  std::string constant(const std::string &type, const std::string &number) {
    return line("arith.constant dense<" + number + "> : " + type);
  }
  std::string spread(const std::string &value, const std::string &from, const std::string &to,
                     const std::string &dimensions) {
    std::string empty = line("tensor.empty() : " + to);
    return line("linalg.broadcast ins(" + value + " : " + from + ") outs(" + empty + " : " + to + ") dimensions = [" +
                dimensions + "]");
  }
  std::string reduce(const std::string &op, const std::string &value, const std::string &from, const std::string &to,
                     const std::string &dimensions) {
    std::string start = constant(to, "0.0");
    return line("linalg.reduce { " + op + " } ins(" + value + " : " + from + ") outs(" + start + " : " + to +
                ") dimensions = [" + dimensions + "]");
  }
  void result(const std::string &value, const std::string &type) {
    results += (results.empty() ? "" : ", ") + value;
    types += (types.empty() ? "" : ", ") + type;
    resultTypes += (resultTypes.empty() ? "" : ", ") + type + " {comm.name = \"r" + std::to_string(outputs++) + "\"}";
  }
  std::string text() const {
    return "func.func @main(" + arguments + ") -> (" + resultTypes + ") attributes {comm.entry} {\n" + body +
           "  return " + results + " : " + types + "\n}\n";
  }

private:
  std::string arguments, body, results, types, resultTypes;
  int inputs = 0, values = 0, outputs = 0;
};

std::string named(const std::string &what, int64_t rows, int64_t n) {
  return what + " " + std::to_string(rows) + "x" + std::to_string(n);
}

const char *const kNarrow = ", bf16"; // ends the names of cases of 16 bits

LoopCase rmsNorm(int64_t rows, int64_t n, bool residual, const std::string &element = "f32") {
  Text t;
  std::string type = tensor({rows, n}, element), row = tensor({n}, element), x = t.input(type);
  if (residual) {
    x = t.on(type, "arith.addf", x, t.input(type));
    t.result(x, type);
  }
  t.result(t.line("comm.rms_norm " + x + ", " + t.input(row) + " epsilon 1.0e-5 : " + type + ", " + row), type);
  if (element != "f32")
    return {named("residual, RMSNorm", rows, n) + kNarrow, t.text(), handAddRmsNormNarrow, {n, 0, 0, 1e-5f}, rows};
  return {named(residual ? "residual, RMSNorm" : "RMSNorm", rows, n),
          t.text(),
          residual ? handAddRmsNorm : handRmsNorm,
          {n, 0, 0, 1e-5f},
          rows};
}

LoopCase layerNorm(int64_t rows, int64_t n, bool residual) {
  Text t;
  std::string type = tensor({rows, n}), row = tensor({n}), x = t.input(type);
  if (residual) {
    x = t.on(type, "arith.addf", x, t.spread(t.input(row), row, type, "0"));
    x = t.on(type, "arith.addf", x, t.input(type));
  }
  std::string weight = t.input(row), bias = t.input(row);
  t.result(t.line("comm.layer_norm " + x + ", " + weight + " bias " + bias + " : " + row + " epsilon 1.0e-5 : " + type +
                  ", " + row),
           type);
  return {named(residual ? "bias, residual, LayerNorm" : "LayerNorm", rows, n),
          t.text(),
          residual ? handBiasAddLayerNorm : handLayerNorm,
          {n, 0, 0, 1e-5f},
          rows};
}

LoopCase softmax(int64_t rows, int64_t n, const std::string &element = "f32") {
  Text t;
  std::string type = tensor({rows, n}, element);
  t.result(t.on(type, "comm.softmax", t.input(type)), type);
  if (element != "f32")
    return {named("softmax", rows, n) + kNarrow, t.text(), handSoftmaxNarrow, {n}, rows};
  return {named("softmax", rows, n), t.text(), handSoftmax, {n}, rows};
}

LoopCase maskedSoftmax(int64_t heads, int64_t tokens, int64_t n) {
  Text t;
  std::string type = tensor({heads, tokens, n}), one = tensor({tokens, n});
  std::string x = t.on(type, "arith.mulf", t.input(type), t.constant(type, "0.125"));
  x = t.on(type, "arith.addf", x, t.spread(t.input(one), one, type, "0"));
  t.result(t.on(type, "comm.softmax", x), type);
  return {named("scale, mask, softmax " + std::to_string(heads) + "x", tokens, n),
          t.text(),
          handMaskedSoftmax,
          {n, 0, tokens, 0, 0.125f},
          heads * tokens};
}

LoopCase rotary(int64_t heads, int64_t tokens, int64_t n) {
  Text t;
  std::string type = tensor({1, heads, tokens, n}), angles = tensor({1, tokens, n / 2});
  std::string x = t.input(type), cos = t.input(angles), sin = t.input(angles);
  t.result(t.line("comm.rotary " + x + ", " + cos + ", " + sin + " : " + type + ", " + angles), type);
  return {named("rotary " + std::to_string(heads) + "x", tokens, n), t.text(), handRotary, {n, heads, tokens}, heads};
}

LoopCase gelu(int64_t rows, int64_t n, bool erf) {
  Text t;
  std::string type = tensor({rows, n}), row = tensor({n}), x = t.input(type);
  if (erf)
    x = t.on(type, "arith.addf", x, t.spread(t.input(row), row, type, "0"));
  t.result(t.on(type, erf ? "comm.gelu erf" : "comm.gelu tanh", x), type);
  return {named(erf ? "bias, GELU (erf)" : "GELU (tanh)", rows, n),
          t.text(),
          erf ? handBiasGeluErf : handGeluTanh,
          {n},
          rows};
}

LoopCase siluMul(int64_t rows, int64_t n, const std::string &element = "f32") {
  Text t;
  std::string type = tensor({rows, n}, element), gate = t.input(type), up = t.input(type);
  t.result(t.on(type, "arith.mulf", t.on(type, "comm.silu", gate), up), type);
  if (element != "f32")
    return {named("SiLU * up", rows, n) + kNarrow, t.text(), handSiluMulNarrow, {n}, rows};
  return {named("SiLU * up", rows, n), t.text(), handSiluMul, {n}, rows};
}

LoopCase add(int64_t rows, int64_t n, bool bias) {
  Text t;
  std::string type = tensor({rows, n}), row = tensor({n}), x = t.input(type);
  if (bias)
    x = t.on(type, "arith.addf", x, t.spread(t.input(row), row, type, "0"));
  t.result(t.on(type, "arith.addf", x, t.input(type)), type);
  return {named(bias ? "bias, residual" : "residual", rows, n), t.text(), bias ? handBiasAdd : handAdd, {n}, rows};
}

/// Rounds, clamps and narrows to i8.
std::string toBytes(Text &t, const std::string &x, const std::string &type, const std::string &bytes,
                    const std::string &low, const std::string &high, bool isUnsigned) {
  std::string y =
      t.on(type, "arith.minimumf", t.on(type, "arith.maximumf", x, t.constant(type, low)), t.constant(type, high));
  return t.line((isUnsigned ? "arith.fptoui " : "arith.fptosi ") + y + " : " + type + " to " + bytes);
}

LoopCase quantiseRows(int64_t rows, int64_t n) {
  Text t;
  std::string type = tensor({rows, n}), row = tensor({rows}), bytes = tensor({rows, n}, "i8"), x = t.input(type);
  std::string top = t.reduce("arith.maximumf", t.on(type, "math.absf", x), type, row, "1");
  std::string factor = t.on(row, "arith.divf", t.constant(row, "127.0"), top);
  std::string y = t.on(type, "math.roundeven", t.on(type, "arith.mulf", x, t.spread(factor, row, type, "1")));
  t.result(toBytes(t, y, type, bytes, "-127.0", "127.0", false), bytes);
  t.result(t.on(row, "arith.mulf", top, t.constant(row, "0.00787401571869850158691")), row);
  return {named("quantise by row", rows, n), t.text(), handQuantiseRows, {n}, rows};
}

LoopCase quantiseLinear(int64_t rows, int64_t n) {
  Text t;
  std::string type = tensor({rows, n}), bytes = tensor({rows, n}, "i8"), x = t.input(type);
  std::string y = t.on(type, "math.roundeven",
                       t.on(type, "arith.divf", x, t.spread(t.input("tensor<f32>"), "tensor<f32>", type, "0, 1")));
  t.result(toBytes(t, y, type, bytes, "-128.0", "127.0", false), bytes);
  return {named("QuantizeLinear", rows, n), t.text(), handQuantiseLinear, {n}, rows};
}

/// As DynamicQuantizeLinear is imported.
LoopCase dynamicQuantise(int64_t n) {
  Text t;
  std::string type = tensor({1, n}), one = "tensor<f32>", bytes = tensor({1, n}, "i8"), x = t.input(type);
  std::string zero = t.constant(one, "0.0"), full = t.constant(one, "255.0");
  std::string top = t.reduce("arith.maximumf", x, type, one, "0, 1"),
              bottom = t.reduce("arith.minimumf", x, type, one, "0, 1");
  std::string flat = t.line("arith.cmpf oeq, " + top + ", " + bottom + " : " + one);
  std::string range = t.line("arith.select " + flat + ", " + t.constant(one, "1.0") + ", " +
                             t.on(one, "arith.subf", top, bottom) + " : tensor<i1>, " + one);
  std::string scale = t.on(one, "arith.divf", range, full);
  std::string point = t.on(one, "arith.subf", zero, t.on(one, "arith.divf", bottom, scale));
  point = t.on(one, "math.roundeven", t.on(one, "arith.minimumf", t.on(one, "arith.maximumf", point, zero), full));
  std::string y = t.on(type, "math.roundeven", t.on(type, "arith.divf", x, t.spread(scale, one, type, "0, 1")));
  y = t.on(type, "arith.addf", y, t.spread(point, one, type, "0, 1"));
  t.result(toBytes(t, y, type, bytes, "0.0", "255.0", true), bytes);
  t.result(scale, one);
  t.result(t.line("arith.fptoui " + point + " : " + one + " to tensor<i8>"), "tensor<i8>");
  return {named("DynamicQuantizeLinear", 1, n), t.text(), handDynamicQuantise, {n}, 1};
}

LoopCase dequantise8(int64_t rows, int64_t blocks) {
  Text t;
  std::string bytes = tensor({rows, blocks, 32}, "i8"), scales = tensor({rows, blocks}),
              type = tensor({rows, blocks, 32});
  std::string y = t.line("arith.sitofp " + t.input(bytes) + " : " + bytes + " to " + type);
  t.result(t.on(type, "arith.mulf", y, t.spread(t.input(scales), scales, type, "2")), type);
  return {named("dequantise int8 by 32", rows, blocks * 32), t.text(), handDequantise8, {blocks * 32}, rows};
}

/// Numbers of 4 bits are bytes by the time that DequantizeLinear sees them; zero points have been widened before.
LoopCase dequantise4(int64_t rows, int64_t blocks) {
  Text t;
  std::string bytes = tensor({rows, blocks, 32}, "i8"), scales = tensor({rows, blocks}),
              type = tensor({rows, blocks, 32});
  std::string y = t.line("arith.sitofp " + t.input(bytes) + " : " + bytes + " to " + type);
  y = t.on(type, "arith.subf", y, t.spread(t.input(scales), scales, type, "2"));
  t.result(t.on(type, "arith.mulf", y, t.spread(t.input(scales), scales, type, "2")), type);
  return {named("dequantise int4 by 32", rows, blocks * 32), t.text(), handDequantise4, {blocks * 32}, rows};
}

//===--- buffers ------------------------------------------------------------===//
void fill(void *to, const Port &port, bool isMask, std::mt19937 &random) {
  int64_t n = exe::numElements(port.shape);
  std::normal_distribution<float> normal;
  auto *floats = static_cast<float *>(to);
  auto *bytes = static_cast<uint8_t *>(to);
  for (int64_t i = 0; i < n; ++i)
    if (port.dtype == exe::DType::BF16) {
      float x = 3 * normal(random);
      std::memcpy(bytes + 2 * i, reinterpret_cast<const char *>(&x) + 2, 2);
    } else if (port.dtype != exe::DType::F32)
      bytes[i] = uint8_t(random());
    else if (isMask) // a causal one
      floats[i] = i % port.shape[1] > i / port.shape[1] ? -INFINITY : 0;
    else
      floats[i] = n == 1 ? 0.03f : 3 * normal(random);
}
} // namespace

std::vector<LoopCase> comm::bench::loopCases() {
  std::vector<LoopCase> cases;
  for (int64_t rows : {128, 1})
    for (bool residual : {false, true})
      cases.push_back(rmsNorm(rows, 1024, residual));
  for (int64_t rows : {1024, 128, 1})
    for (bool residual : {false, true})
      cases.push_back(layerNorm(rows, 384, residual));
  for (int64_t rows : {1536, 12})
    cases.push_back(softmax(rows, 128));
  for (int64_t rows : {128, 1})
    cases.push_back(softmax(rows, 1024));
  cases.push_back(maskedSoftmax(12, 128, 128));
  cases.push_back(maskedSoftmax(16, 128, 1024));
  cases.push_back(maskedSoftmax(16, 1, 1024));
  for (int64_t tokens : {128, 1})
    cases.push_back(rotary(16, tokens, 64));
  for (int64_t rows : {1024, 128, 1})
    cases.push_back(gelu(rows, 1536, true));
  for (int64_t rows : {128, 1})
    cases.push_back(gelu(rows, 1536, false));
  for (int64_t rows : {128, 1})
    cases.push_back(siluMul(rows, 2816));
  for (int64_t rows : {1024, 1})
    cases.push_back(add(rows, 384, true));
  for (int64_t rows : {128, 1})
    cases.push_back(add(rows, 1024, false));
  for (int64_t rows : {128, 1})
    cases.push_back(quantiseRows(rows, 1024));
  for (int64_t rows : {128, 1})
    cases.push_back(quantiseLinear(rows, 1024));
  cases.push_back(dynamicQuantise(1024));
  for (int64_t rows : {128, 1}) {
    cases.push_back(rmsNorm(rows, 1024, true, "bf16"));
    cases.push_back(softmax(rows, 1024, "bf16"));
    cases.push_back(siluMul(rows, 2816, "bf16"));
  }
  for (int64_t rows : {1024, 1}) {
    cases.push_back(dequantise8(rows, 32));
    cases.push_back(dequantise4(rows, 32));
  }
  return cases;
}

void LoopBuffers::Free::operator()(void *p) const { std::free(p); }

void *LoopBuffers::allocate(const Port &port, int filling) {
  auto bytes = size_t(exe::byteSize(port.dtype, port.shape) + 63) / 64 * 64;
  memory.emplace_back(std::aligned_alloc(64, bytes));
  std::memset(memory.back().get(), filling, bytes);
  return memory.back().get();
}

LoopBuffers::LoopBuffers(const CompiledLoop &loop) : loop(loop) {
  std::mt19937 random(3);
  // Only a mask is an input of fewer dimensions than the result that has more than one.
  for (const Port &port : loop.inputs()) {
    bool isMask = port.dtype == exe::DType::F32 && port.shape.size() == 2 && loop.outputs()[0].shape.size() == 3 &&
                  loop.inputs()[0].dtype == exe::DType::F32;
    mine.push_back(allocate(port, 0));
    other.push_back(mine.back());
    fill(mine.back(), port, isMask, random);
  }
  for (const Port &port : loop.outputs()) {
    mine.push_back(allocate(port, 0xAB)); // what is not written differs
    other.push_back(allocate(port, 0xCD));
  }
}

static double numberAt(const void *from, exe::DType type, int64_t i) {
  if (type == exe::DType::F32)
    return static_cast<const float *>(from)[i];
  if (type != exe::DType::BF16)
    return static_cast<const int8_t *>(from)[i];
  uint32_t bits = uint32_t(static_cast<const uint16_t *>(from)[i]) << 16;
  float x;
  std::memcpy(&x, &bits, 4);
  return x;
}

std::string LoopBuffers::difference() const {
  for (size_t i = 0; i < loop.outputs().size(); ++i) {
    const Port &port = loop.outputs()[i];
    double tolerance = port.dtype == exe::DType::F32 ? 4e-6 : port.dtype == exe::DType::BF16 ? 8e-3 : 0;
    for (int64_t e = 0; e < exe::numElements(port.shape); ++e) {
      double got = numberAt(mine[loop.inputs().size() + i], port.dtype, e),
             want = numberAt(other[loop.inputs().size() + i], port.dtype, e);
      if (!(std::fabs(got - want) <= tolerance * (1 + std::fabs(want))))
        return "result " + std::to_string(i) + ", element " + std::to_string(e) + ": " + std::to_string(got) +
               ", by hand " + std::to_string(want);
    }
  }
  return "";
}
