//===- Npy.cpp - one array in numpy's format ------------------------------===//
#include "Npz.h"
#include <cstring>

namespace commrun {
namespace {
constexpr char npyMagic[] = "\x93NUMPY";

struct Descr {
  const char *text;
  comm_dtype dtype;
};
constexpr Descr descrs[] = {
    {"<f4", COMM_F32},  {"<f2", COMM_F16},  {"<f8", COMM_F64}, {"<i8", COMM_I64}, {"<i4", COMM_I32}, {"<i2", COMM_I16},
    {"|i1", COMM_I8},   {"<u8", COMM_U64},  {"<u4", COMM_U32}, {"<u2", COMM_U16}, {"|u1", COMM_U8},  {"|b1", COMM_BOOL},
    {"|V2", COMM_BF16}, {"<V2", COMM_BF16}, {"<i1", COMM_I8},  {"<u1", COMM_U8},  {"<b1", COMM_BOOL}};

/// The header is a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }. Keys come in any order,
/// once each.
class HeaderParser {
public:
  HeaderParser(const char *text, size_t size, const std::string &what) : at(text), end(text + size), what(what) {}

  void parse(comm_dtype &dtype, bool &fortran, std::vector<int64_t> &shape) {
    bool seen[3] = {};
    expect('{');
    while (!accept('}')) {
      std::string key = quoted();
      expect(':');
      int which = key == "descr" ? 0 : key == "fortran_order" ? 1 : key == "shape" ? 2 : 3;
      if (which == 3 || seen[which])
        fail("its header has an unexpected key");
      seen[which] = true;
      if (which == 0)
        dtype = dtypeOf(quoted());
      else if (which == 1)
        fortran = boolean();
      else
        shape = tuple();
      if (!accept(',')) {
        expect('}');
        break;
      }
    }
    skip();
    if (at != end || !seen[0] || !seen[1] || !seen[2])
      fail("its header is not that of an array");
  }

private:
  [[noreturn]] void fail(const std::string &why) const { throw Failure{2, "E202", what + ": " + why}; }
  void skip() {
    while (at != end && (*at == ' ' || *at == '\n' || *at == '\t'))
      ++at;
  }
  bool accept(char c) {
    skip();
    if (at == end || *at != c)
      return false;
    ++at;
    return true;
  }
  void expect(char c) {
    if (!accept(c))
      fail("its header is not that of an array");
  }
  std::string quoted() {
    skip();
    char quote = accept('\'') ? '\'' : '"';
    if (quote == '"')
      expect('"');
    const char *begin = at;
    while (at != end && *at != quote)
      ++at;
    std::string text(begin, at);
    expect(quote);
    return text;
  }
  bool word(const char *text) {
    size_t n = std::strlen(text);
    skip();
    if (static_cast<size_t>(end - at) < n || std::memcmp(at, text, n) != 0)
      return false;
    at += n;
    return true;
  }
  bool boolean() {
    if (word("True"))
      return true;
    if (!word("False"))
      fail("its header has no storage order");
    return false;
  }
  std::vector<int64_t> tuple() {
    std::vector<int64_t> dims;
    expect('(');
    while (!accept(')')) {
      skip();
      if (at == end || *at < '0' || *at > '9' || dims.size() == 32)
        fail("its shape is malformed");
      int64_t d = 0;
      for (; at != end && *at >= '0' && *at <= '9'; ++at)
        if (__builtin_mul_overflow(d, 10, &d) || __builtin_add_overflow(d, *at - '0', &d))
          fail("its shape is too large");
      dims.push_back(d);
      if (!accept(',')) {
        expect(')');
        break;
      }
    }
    return dims;
  }
  comm_dtype dtypeOf(const std::string &descr) const {
    for (const Descr &d : descrs)
      if (descr == d.text)
        return d.dtype;
    fail("element type '" + descr.substr(0, 40) + "' is not supported");
  }

  const char *at, *end;
  const std::string &what;
};

/// Row-major copy of column-major elements.
void fromFortran(const uint8_t *from, Tensor &t) {
  size_t width = byteWidth(t.dtype), rank = t.dims.size();
  std::vector<int64_t> index(rank, 0), stride(rank, 1);
  for (size_t d = 1; d < rank; ++d)
    stride[d] = stride[d - 1] * t.dims[d - 1];
  for (int64_t i = 0; i < t.count; ++i) {
    int64_t source = 0;
    for (size_t d = 0; d < rank; ++d)
      source += index[d] * stride[d];
    std::memcpy(t.data.get() + static_cast<size_t>(i) * width, from + static_cast<size_t>(source) * width, width);
    for (size_t d = rank; d-- > 0;) {
      if (++index[d] < t.dims[d])
        break;
      index[d] = 0;
    }
  }
}
} // namespace

std::shared_ptr<const Tensor> parseNpy(const uint8_t *bytes, size_t size, const std::string &what) {
  auto fail = [&](const std::string &why) { throw Failure{2, "E202", what + ": " + why}; };
  if (size < 10 || std::memcmp(bytes, npyMagic, 6) != 0)
    fail("it is not a .npy array");
  size_t lengthBytes = bytes[6] == 1 ? 2 : 4, header = 0;
  if (bytes[6] < 1 || bytes[6] > 3)
    fail("version " + std::to_string(bytes[6]) + " of the .npy format is not known");
  if (size < 8 + lengthBytes)
    fail("it is truncated");
  for (size_t i = 0; i < lengthBytes; ++i)
    header |= static_cast<size_t>(bytes[8 + i]) << (8 * i);
  if (header > size - 8 - lengthBytes)
    fail("it is truncated");
  comm_dtype dtype = COMM_F32;
  bool fortran = false;
  std::vector<int64_t> dims;
  HeaderParser(reinterpret_cast<const char *>(bytes) + 8 + lengthBytes, header, what).parse(dtype, fortran, dims);
  const uint8_t *data = bytes + 8 + lengthBytes + header;
  size_t available = size - 8 - lengthBytes - header;
  if (static_cast<size_t>(numElements(dims)) * byteWidth(dtype) != available)
    fail("shape " + shapeText(dims) + " of " + dtypeName(dtype) + " does not fit its " + std::to_string(available) +
         " bytes");
  auto t = std::make_shared<Tensor>(dtype, dims);
  if (fortran && dims.size() > 1)
    fromFortran(data, *t);
  else
    std::memcpy(t->data.get(), data, available);
  return t;
}

std::vector<uint8_t> formatNpy(const Tensor &t) {
  comm_dtype stored = t.dtype == COMM_BF16 ? COMM_F32 : t.dtype;
  std::string header = "{'descr': '";
  for (const Descr &d : descrs)
    if (d.dtype == stored) {
      header += d.text;
      break;
    }
  header += "', 'fortran_order': False, 'shape': (";
  for (size_t i = 0; i < t.dims.size(); ++i)
    header += std::to_string(t.dims[i]) + (t.dims.size() == 1 ? "," : i + 1 < t.dims.size() ? ", " : "");
  header += "), }";
  while ((10 + header.size() + 1) % 64 != 0)
    header += ' ';
  header += '\n';
  std::vector<uint8_t> out(npyMagic, npyMagic + 6);
  out.insert(out.end(), {1, 0, static_cast<uint8_t>(header.size() & 255), static_cast<uint8_t>(header.size() >> 8)});
  out.insert(out.end(), header.begin(), header.end());
  size_t begin = out.size(), width = byteWidth(stored);
  out.resize(begin + static_cast<size_t>(t.count) * width);
  if (stored == t.dtype)
    std::memcpy(out.data() + begin, t.data.get(), t.bytes);
  else
    for (int64_t i = 0; i < t.count; ++i) {
      auto f = static_cast<float>(t.at(i));
      std::memcpy(out.data() + begin + static_cast<size_t>(i) * width, &f, width);
    }
  return out;
}

} // namespace commrun
