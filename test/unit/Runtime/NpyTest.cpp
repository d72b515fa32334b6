//===- NpyTest.cpp - arrays that commrun reads and writes -----------------===//
#include "RuntimeTest.h"
#include "tools/commrun/Compare.h"
#include "tools/commrun/Npz.h"
#include <cmath>
#include <limits>

using namespace commrun;
using comm::test::TemporaryFolder;

namespace {
std::vector<uint8_t> npy(const std::string &header, size_t dataBytes, int version = 1) {
  std::vector<uint8_t> out = {0x93, 'N', 'U', 'M', 'P', 'Y', static_cast<uint8_t>(version), 0};
  for (int i = 0; i < (version == 1 ? 2 : 4); ++i)
    out.push_back(static_cast<uint8_t>(header.size() >> (8 * i)));
  out.insert(out.end(), header.begin(), header.end());
  out.resize(out.size() + dataBytes, 0);
  return out;
}
std::string header(const std::string &descr, const std::string &shape, const std::string &order = "False") {
  return "{'descr': '" + descr + "', 'fortran_order': " + order + ", 'shape': " + shape + ", }\n";
}
std::string errorOf(const std::vector<uint8_t> &bytes) {
  std::vector<uint8_t> exact(bytes.begin(), bytes.end());
  try {
    parseNpy(exact.data(), exact.size(), "a");
    return "";
  } catch (const Failure &f) {
    EXPECT_EQ(f.exit, 2);
    return f.text;
  }
}

TEST(Npy, RoundTrip) {
  for (int t = COMM_F32; t <= COMM_BOOL; ++t) {
    Tensor x(static_cast<comm_dtype>(t), {2, 3});
    for (size_t i = 0; i < x.bytes; ++i)
      x.data.get()[i] = static_cast<uint8_t>(t == COMM_BOOL ? i % 2 : i);
    std::vector<uint8_t> bytes = formatNpy(x);
    EXPECT_EQ((bytes.size() - static_cast<size_t>(6) * byteWidth(t == COMM_BF16 ? COMM_F32 : x.dtype)) % 64,
              0u); // data is aligned
    auto back = parseNpy(bytes.data(), bytes.size(), "x");
    EXPECT_EQ(back->dims, x.dims);
    EXPECT_EQ(back->dtype, t == COMM_BF16 ? COMM_F32 : t);
    for (int64_t i = 0; i < 6; ++i)
      EXPECT_EQ(back->at(i), x.at(i));
  }
}

TEST(Npy, HeadersAsNumpyWritesThem) {
  EXPECT_EQ(errorOf(npy(header("<f4", "(2, 3)"), 24)), "");
  EXPECT_EQ(errorOf(npy(header("<f4", "(2, 3)"), 24, 2)), "");
  EXPECT_EQ(errorOf(npy(header("<f4", "(2, 3)"), 24, 3)), "");
  EXPECT_EQ(errorOf(npy(header("<f4", "()"), 4)), "");
  EXPECT_EQ(errorOf(npy(header("<f4", "(7,)"), 28)), "");
  EXPECT_EQ(errorOf(npy(header("<f4", "(0, 9223372036854775807)"), 0)), "");
  EXPECT_EQ(errorOf(npy("{\"shape\": (1,), \"fortran_order\": True, \"descr\": \"|i1\"}", 1)), "");
}

TEST(Npy, Hostile) {
  std::vector<uint8_t> good = npy(header("<f4", "(2, 3)"), 24);
  for (size_t n = 0; n < good.size(); ++n)
    EXPECT_NE(errorOf({good.begin(), good.begin() + static_cast<long>(n)}), "") << n;
  good.push_back(0);
  EXPECT_NE(errorOf(good), "");
  for (const char *shape : {"(2, -3)", "(2 3)", "(2,,3)", "(2, 3", "2, 3", "(2, x)", "(2.0, 3)",
                            "(99999999999999999999,)", "(9223372036854775807, 2)", "(4611686018427387904, 4)",
                            "((2, 3))", "(1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1)"})
    EXPECT_NE(errorOf(npy(header("<f4", shape), 24)), "") << shape;
  for (const char *descr : {">f4", "<f3", "<c8", "|O", "<M8[ns]", "", "|S8", "<U4"})
    EXPECT_NE(errorOf(npy(header(descr, "(2, 3)"), 24)), "") << descr;
  for (const char *text : {"", "{", "{}", "[]", "{'descr': '<f4'}",
                           "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (6,)}",
                           "{'descr': '<f4', 'fortran_order': 0, 'shape': (6,)}",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (6,)} x",
                           "{'descr': '<f4', 'fortran_order': False, 'shape': (6,), 'x': (1,)}",
                           "{'descr': <f4, 'fortran_order': False, 'shape': (6,)}", "__import__('os').system('true')"})
    EXPECT_NE(errorOf(npy(text, 24)), "") << text;
  EXPECT_NE(errorOf(npy(header("<f4", "(2, 3)"), 24, 4)), "");
}

TEST(Npz, RoundTripAndDamage) {
  TemporaryFolder folder;
  auto x = std::make_shared<Tensor>(COMM_F32, std::vector<int64_t>{2});
  float values[] = {1, -2};
  std::memcpy(x->data.get(), values, 8);
  writeNpz(folder / "a.npz", {{"x/y", x}, {"z", x}});
  TensorMap back = readNpz(folder / "a.npz");
  ASSERT_EQ(back.size(), 2u);
  EXPECT_EQ(back.at("x/y")->at(1), -2);
  std::ifstream in(folder / "a.npz", std::ios::binary);
  std::string bytes((std::istreambuf_iterator<char>(in)), {});
  writeNpz(folder / "b.npz", {{"x/y", x}, {"z", x}});
  std::ifstream in2(folder / "b.npz", std::ios::binary);
  EXPECT_EQ(bytes, std::string((std::istreambuf_iterator<char>(in2)), {})); // equal tensors, equal bytes
  for (size_t n = 0; n < bytes.size(); n += 7) {
    comm::test::writeFile(folder / "t.npz", bytes.data(), n);
    EXPECT_THROW(readNpz(folder / "t.npz"), Failure) << n;
  }
  size_t refused = 0;
  for (size_t i = 0; i < bytes.size(); i += 3) {
    std::string flipped = bytes;
    flipped[i] = static_cast<char>(flipped[i] ^ 0x11);
    comm::test::writeFile(folder / "f.npz", flipped.data(), flipped.size());
    try {
      readNpz(folder / "f.npz");
    } catch (const Failure &f) {
      ++refused;
      EXPECT_FALSE(f.text.empty());
    }
  }
  EXPECT_GT(refused, bytes.size() / 3 / 4);
  EXPECT_THROW(readNpz(folder / "none.npz"), Failure);
  EXPECT_THROW(writeNpz(folder / "no/such/dir.npz", {{"x", x}}), Failure);
}

std::shared_ptr<Tensor> f64(std::vector<double> v) {
  auto t = std::make_shared<Tensor>(COMM_F64, std::vector<int64_t>{static_cast<int64_t>(v.size())});
  std::memcpy(t->data.get(), v.data(), v.size() * 8);
  return t;
}

TEST(Convert, HalvesRoundToNearestEven) {
  // Every f16 survives f16 -> f32 -> f16; the middle between two goes to the even one.
  for (uint32_t h = 0; h < 65536; ++h) {
    float f = halfToFloat(static_cast<uint16_t>(h));
    if (!std::isnan(f))
      EXPECT_EQ(floatToHalf(f), h);
    float b = bfloatToFloat(static_cast<uint16_t>(h));
    if (!std::isnan(b))
      EXPECT_EQ(floatToBfloat(b), h);
  }
  for (uint32_t h = 0; h < 0x7bff; ++h) {
    float middle = (halfToFloat(static_cast<uint16_t>(h)) + halfToFloat(static_cast<uint16_t>(h + 1))) / 2;
    EXPECT_EQ(floatToHalf(middle), h + (h & 1)) << h;
  }
  EXPECT_EQ(floatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(floatToHalf(65520.0f), 0x7c00);
  EXPECT_TRUE(std::isnan(halfToFloat(floatToHalf(NAN))));
  EXPECT_TRUE(std::isnan(bfloatToFloat(floatToBfloat(NAN))));
}

TEST(Convert, RefusesToChangeValues) {
  auto wide = std::make_shared<Tensor>(COMM_I64, std::vector<int64_t>{2});
  int64_t values[] = {-1, 300};
  std::memcpy(wide->data.get(), values, 16);
  EXPECT_EQ(convert(wide, COMM_I32, "x")->at(0), -1);
  EXPECT_EQ(convert(wide, COMM_I16, "x")->at(1), 300);
  for (comm_dtype t : {COMM_I8, COMM_U8, COMM_U16, COMM_U32, COMM_U64, COMM_BOOL, COMM_F32})
    EXPECT_THROW(convert(wide, t, "x"), Failure) << t;
  EXPECT_THROW(convert(f64({1}), COMM_I32, "x"), Failure);
  EXPECT_EQ(convert(f64({0.5}), COMM_BF16, "x")->at(0), 0.5);
}

TEST(Compare, NamesTheWorstElement) {
  auto expected = f64({1, 2, 4, 0}), got = f64({1, 2.5, 4.2, 0});
  Difference d = compare("y", *got, *expected, COMM_F32, {});
  EXPECT_FALSE(d.ok);
  EXPECT_NE(d.worst.find("tensor 'y' at [1]: expected 2, got 2.5"), std::string::npos) << d.worst;
  EXPECT_DOUBLE_EQ(d.maxAbs, 0.5);
  EXPECT_DOUBLE_EQ(d.maxRel, 0.125);
  EXPECT_TRUE(compare("y", *got, *expected, COMM_F32, {0.125, 0}).ok); // relative to the largest expected value
  EXPECT_TRUE(compare("y", *got, *expected, COMM_F32, {0, 0.5}).ok);
  EXPECT_FALSE(compare("y", *got, *expected, COMM_F32, {0, 0.49}).ok);
}

TEST(Compare, SpecialValues) {
  const double nan = NAN, inf = INFINITY;
  EXPECT_TRUE(compare("y", *f64({nan, inf, -inf, 1}), *f64({nan, inf, -inf, 1}), COMM_F32, {}).ok);
  Tolerance loose{1e9, 1e9};
  EXPECT_FALSE(compare("y", *f64({nan}), *f64({0}), COMM_F32, loose).ok);
  EXPECT_FALSE(compare("y", *f64({0}), *f64({nan}), COMM_F32, loose).ok);
  EXPECT_FALSE(compare("y", *f64({inf}), *f64({-inf}), COMM_F32, loose).ok);
  EXPECT_FALSE(compare("y", *f64({1}), *f64({inf}), COMM_F32, loose).ok);
  EXPECT_FALSE(compare("y", *f64({1, 2}), *f64({1}), COMM_F32, loose).ok); // shapes
  EXPECT_FALSE(compare("y", *f64({1}), *f64({2}), COMM_I64, {}).ok);       // integers are exact
}
} // namespace
