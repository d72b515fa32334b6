//===- NativeObjectTest.cpp - the loader of native code, friendly and hostile objects ===//
#include "runtime/Core/NativeObject.h"
#include <algorithm>
#include <cstring>
#include <elf.h>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <random>
#include <sstream>

using namespace comm;
using namespace comm::rt;

namespace {
std::vector<uint8_t> read(const std::string &name) {
  std::ifstream file(std::string(COMM_NATIVE_OBJECTS) + "/" + name + ".o", std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return std::vector<uint8_t>(std::istreambuf_iterator<char>(file), {});
}

Status load(const std::vector<uint8_t> &bytes, std::unique_ptr<NativeCode> &code) {
  return NativeCode::load(bytes.data(), bytes.size(), code);
}

void expectRefused(const std::vector<uint8_t> &bytes, const std::string &part) {
  std::unique_ptr<NativeCode> code;
  Status s = load(bytes, code);
  EXPECT_EQ(int(s.code), int(Code::BadExecutable));
  EXPECT_NE(s.text.find(part), std::string::npos) << s.text;
  EXPECT_EQ(code, nullptr);
}

template <typename T> T &field(std::vector<uint8_t> &bytes, size_t offset) {
  return *reinterpret_cast<T *>(bytes.data() + offset);
}

/// Offset of the header of the first section of this type, whose flags hold `flags`.
size_t sectionHeader(std::vector<uint8_t> &bytes, uint32_t type, uint64_t flags = 0, int skip = 0) {
  Elf64_Ehdr &header = field<Elf64_Ehdr>(bytes, 0);
  for (int i = 0; i < header.e_shnum; ++i) {
    size_t at = header.e_shoff + size_t(i) * sizeof(Elf64_Shdr);
    Elf64_Shdr &section = field<Elf64_Shdr>(bytes, at);
    if (section.sh_type == type && (section.sh_flags & flags) == flags && section.sh_size > 0 && skip-- == 0)
      return at;
  }
  ADD_FAILURE() << "no section of type " << type;
  return header.e_shoff;
}
} // namespace

TEST(NativeObject, RunsKernelsWithConstantsCallsAndTables) {
  std::unique_ptr<NativeCode> code;
  Status s = load(read("kernels"), code);
  ASSERT_TRUE(bool(s)) << s.text;
  EXPECT_EQ(code->symbols(), (std::vector<std::string>{"choose", "scale"}));
  EXPECT_EQ(code->find("pick"), nullptr) << "local functions are not exported";
  EXPECT_EQ(code->find(""), nullptr);
  float in[10] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1}, out[10] = {};
  void *buffers[] = {in, out};
  NativeFunction scale = code->find("scale");
  ASSERT_NE(scale, nullptr);
  scale(buffers, 0, 4);
  scale(buffers, 4, 9);
  for (int i = 0; i < 9; ++i)
    EXPECT_EQ(out[i], float(i % 8 + 1) + 0.5f);
  EXPECT_EQ(out[9], 0.0f);
  float x[3] = {5, 5, 5};
  void *one[] = {x};
  code->find("choose")(one, 0, 3);
  EXPECT_EQ(x[0], 6.0f);
  EXPECT_EQ(x[1], 10.0f);
  EXPECT_EQ(x[2], -5.0f);
}

TEST(NativeObject, NothingIsWritableAndExecutable) {
  std::unique_ptr<NativeCode> code;
  ASSERT_TRUE(bool(load(read("kernels"), code)));
  uintptr_t at = reinterpret_cast<uintptr_t>(code->find("scale"));
  std::ifstream maps("/proc/self/maps");
  bool found = false;
  for (std::string line; std::getline(maps, line);) {
    uintptr_t begin = 0, end = 0;
    char dash = 0;
    std::string permissions;
    std::istringstream(line) >> std::hex >> begin >> dash >> end >> permissions;
    if (at >= begin && at < end) {
      found = true;
      EXPECT_EQ(permissions, "r-xp");
    }
  }
  EXPECT_TRUE(found);
}

TEST(NativeObject, RefusesWhatItMustNotRun) {
  expectRefused(read("imports"), "imports 'expf'");
  expectRefused(read("writable"), "writable");
  expectRefused(read("tls"), "");
  expectRefused(read("ifunc"), "indirect function");
  expectRefused({}, "shorter than an ELF header");
  expectRefused(std::vector<uint8_t>(4096, 0), "not an ELF object");
}

TEST(NativeObject, RefusesAlteredFields) {
  const std::vector<uint8_t> good = read("kernels");
  auto altered = [&](auto change, const std::string &part) {
    std::vector<uint8_t> bytes = good;
    change(bytes);
    expectRefused(bytes, part);
  };
  using Bytes = std::vector<uint8_t>;
  altered([](Bytes &b) { field<Elf64_Ehdr>(b, 0).e_machine = EM_AARCH64; }, "x86-64");
  altered([](Bytes &b) { field<Elf64_Ehdr>(b, 0).e_type = ET_DYN; }, "not a relocatable");
  altered([](Bytes &b) { field<Elf64_Ehdr>(b, 0).e_shoff = ~uint64_t(0) - 10; }, "section table");
  altered([](Bytes &b) { field<Elf64_Ehdr>(b, 0).e_shnum = 0xffff; }, "section table");
  altered([](Bytes &b) { field<Elf64_Ehdr>(b, 0).e_shentsize = 32; }, "section table");
  auto section = [](Bytes &b, uint32_t type, uint64_t flags = 0) -> Elf64_Shdr & {
    return field<Elf64_Shdr>(b, sectionHeader(b, type, flags));
  };
  altered([&](Bytes &b) { section(b, SHT_PROGBITS, SHF_EXECINSTR).sh_size = ~uint64_t(0); }, "outside the object");
  altered([&](Bytes &b) { section(b, SHT_PROGBITS, SHF_EXECINSTR).sh_offset = ~uint64_t(0) - 8; },
          "outside the object");
  altered([&](Bytes &b) { section(b, SHT_PROGBITS, SHF_EXECINSTR).sh_flags |= SHF_WRITE; }, "writable");
  altered([&](Bytes &b) { section(b, SHT_PROGBITS, SHF_EXECINSTR).sh_flags |= SHF_TLS; }, "thread-local");
  altered([&](Bytes &b) { section(b, SHT_PROGBITS, SHF_EXECINSTR).sh_addralign = 3; }, "aligned to 3");
  altered([&](Bytes &b) { section(b, SHT_PROGBITS, SHF_EXECINSTR).sh_addralign = uint64_t(1) << 40; }, "aligned to");
  altered([&](Bytes &b) { section(b, SHT_PROGBITS, SHF_EXECINSTR).sh_type = SHT_INIT_ARRAY; }, "of type 14");
  altered([&](Bytes &b) { section(b, SHT_SYMTAB).sh_link = 0xffff; }, "no strings");
  altered([&](Bytes &b) { section(b, SHT_SYMTAB).sh_entsize = 8; }, "symbol table");
  altered([&](Bytes &b) { section(b, SHT_SYMTAB).sh_type = SHT_PROGBITS; }, "symbol table");
  altered([&](Bytes &b) { section(b, SHT_RELA).sh_info = 0xffff; }, "names no section");
  altered([&](Bytes &b) { section(b, SHT_RELA).sh_entsize = 16; }, "unexpected form");
  altered([&](Bytes &b) { section(b, SHT_RELA).sh_type = SHT_REL; }, "unexpected form");
  auto relocation = [&](Bytes &b) -> Elf64_Rela & { return field<Elf64_Rela>(b, section(b, SHT_RELA).sh_offset); };
  altered([&](Bytes &b) { relocation(b).r_offset = ~uint64_t(0) - 1; }, "outside its section");
  altered(
      [&](Bytes &b) {
        relocation(b).r_offset = field<Elf64_Shdr>(b, sectionHeader(b, SHT_PROGBITS, SHF_EXECINSTR)).sh_size - 3;
      },
      "outside its section");
  altered([&](Bytes &b) { relocation(b).r_info = ELF64_R_INFO(0xffffff, R_X86_64_PC32); }, "names no symbol");
  altered([&](Bytes &b) { relocation(b).r_info = ELF64_R_INFO(0, R_X86_64_PC32); }, "names no symbol");
  altered([&](Bytes &b) { relocation(b).r_info = ELF64_R_INFO(1, R_X86_64_PC32); }, "not in memory"); // the file symbol
  altered([&](Bytes &b) { relocation(b).r_info = ELF64_R_INFO(2, R_X86_64_GOTPCREL); }, "relocation of type 9");
  altered([&](Bytes &b) { relocation(b).r_addend = int64_t(1) << 40; }, "32 bits");
  auto symbol = [&](Bytes &b, unsigned type) -> Elf64_Sym & {
    Elf64_Shdr &table = section(b, SHT_SYMTAB);
    for (uint64_t o = sizeof(Elf64_Sym); o < table.sh_size; o += sizeof(Elf64_Sym)) {
      Elf64_Sym &s = field<Elf64_Sym>(b, table.sh_offset + o);
      if (ELF64_ST_TYPE(s.st_info) == type && ELF64_ST_BIND(s.st_info) == STB_GLOBAL)
        return s;
    }
    ADD_FAILURE() << "no such symbol";
    return field<Elf64_Sym>(b, table.sh_offset);
  };
  altered([&](Bytes &b) { symbol(b, STT_FUNC).st_shndx = SHN_UNDEF; }, "imports '");
  altered([&](Bytes &b) { symbol(b, STT_FUNC).st_shndx = SHN_COMMON; }, "in no section");
  altered([&](Bytes &b) { symbol(b, STT_FUNC).st_shndx = 500; }, "in no section");
  altered([&](Bytes &b) { symbol(b, STT_FUNC).st_value = ~uint64_t(0); }, "outside its section");
  altered([&](Bytes &b) { symbol(b, STT_FUNC).st_info = ELF64_ST_INFO(STB_GLOBAL, STT_GNU_IFUNC); },
          "indirect function");
  altered([&](Bytes &b) { symbol(b, STT_FUNC).st_info = ELF64_ST_INFO(STB_GLOBAL, STT_TLS); }, "thread-local");
}

TEST(NativeObject, EveryTruncationIsAnAnswer) {
  const std::vector<uint8_t> good = read("kernels");
  for (size_t size = 0; size < good.size(); ++size) {
    std::vector<uint8_t> bytes(good.begin(),
                               good.begin() + long(size)); // its own block: a sanitizer sees every byte beyond
    bytes.shrink_to_fit();
    std::unique_ptr<NativeCode> code;
    if (Status s = load(bytes, code); s) {
      EXPECT_GT(size, good.size() - 64) << "a truncated object loads";
    }
  }
}

TEST(NativeObject, AlteredBytesNeverCrash) {
  const std::vector<uint8_t> good = read("kernels");
  std::mt19937 random(1);
  std::vector<uint8_t> bytes = good;
  int loaded = 0, refused = 0;
  for (size_t at = 0; at < good.size(); ++at)
    for (uint8_t value : {uint8_t(0), uint8_t(1), uint8_t(0x7f), uint8_t(0xff), uint8_t(random())}) {
      bytes[at] = value;
      std::unique_ptr<NativeCode> code;
      load(bytes, code) ? ++loaded : ++refused;
      bytes[at] = good[at];
    }
  for (int round = 0; round < 5000; ++round) {
    for (int i = 0; i < 4; ++i)
      bytes[random() % bytes.size()] = uint8_t(random());
    std::unique_ptr<NativeCode> code;
    load(bytes, code) ? ++loaded : ++refused;
    bytes = good;
  }
  EXPECT_GT(loaded, 0);
  EXPECT_GT(refused, 0);
}

TEST(NativeObject, ChoosesTheHighestLevelThatRuns) {
  std::vector<exe::NativeObject> objects(3);
  objects[0].isa = "x86-64-v4";
  objects[1].isa = "x86-64-v3";
  objects[2].isa = "x86-64-v9";
  CpuFeatures cpu;
  size_t index = 9;
  Status s = chooseNativeObject(objects, index, cpu);
  EXPECT_EQ(int(s.code), int(Code::DeviceMissing));
  EXPECT_NE(s.text.find("not x86-64"), std::string::npos) << s.text;
  cpu.x86_64 = true;
  s = chooseNativeObject(objects, index, cpu);
  EXPECT_EQ(int(s.code), int(Code::DeviceMissing));
  EXPECT_NE(s.text.find("AVX2"), std::string::npos) << s.text;
  cpu.v3 = true;
  EXPECT_TRUE(bool(chooseNativeObject(objects, index, cpu)));
  EXPECT_EQ(index, 1u);
  cpu.v4 = true;
  EXPECT_TRUE(bool(chooseNativeObject(objects, index, cpu)));
  EXPECT_EQ(index, 0u);
  objects.erase(objects.begin(), objects.begin() + 2);
  s = chooseNativeObject(objects, index, cpu);
  EXPECT_EQ(int(s.code), int(Code::DeviceMissing));
  EXPECT_NE(s.text.find("x86-64-v9"), std::string::npos) << s.text;
  objects.clear();
  EXPECT_EQ(int(chooseNativeObject(objects, index, cpu).code), int(Code::BadExecutable));
}

TEST(Cpu, AgreesWithTheCompilersDetection) {
  __builtin_cpu_init();
  const CpuFeatures &cpu = cpuFeatures();
  EXPECT_TRUE(cpu.x86_64);
  EXPECT_EQ(cpu.v3, __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2"));
  EXPECT_EQ(cpu.v4, __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
                        __builtin_cpu_supports("avx512cd"));
  EXPECT_FALSE(supportsIsa(cpu, "no-such-isa"));
}
