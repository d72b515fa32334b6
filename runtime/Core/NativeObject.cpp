//===- NativeObject.cpp - ELF ET_REL in, callable code out ----------------===//
#include "runtime/Core/NativeObject.h"
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <elf.h>
#include <sys/mman.h>
#include <unistd.h>

using namespace comm;
using namespace comm::rt;

namespace comm::rt {
/// One load. Sizes from the file are trusted only after a check against `size`; the image is bounded by `maxImage`.
class ElfLoader {
public:
  ElfLoader(const uint8_t *bytes, size_t size) : bytes(bytes), size(size) {}
  Status run(std::unique_ptr<NativeCode> &out);

private:
  static constexpr uint64_t maxImage = uint64_t(256) << 20;
  static constexpr uint64_t notLoaded = ~uint64_t(0);

  Status bad(const std::string &what) const { return {Code::BadExecutable, "native code: " + what}; }
  bool inFile(uint64_t offset, uint64_t length) const { return offset <= size && length <= size - offset; }
  template <typename T> T at(uint64_t offset) const {
    T value;
    std::memcpy(&value, bytes + offset, sizeof(T));
    return value;
  }
  Status readHeader();
  Status readSections();
  Status checkAllocated(const Elf64_Shdr &section) const;
  Status layout();
  Status readSymbols();
  Status checkSymbol(const Elf64_Sym &symbol, const std::string &name) const;
  Status map(NativeCode &code);
  Status relocate(NativeCode &code, const Elf64_Shdr &table) const;
  Status relocateOne(NativeCode &code, const Elf64_Rela &entry, const Elf64_Shdr &target, uint64_t targetAt) const;
  Status protect(NativeCode &code) const;
  std::string nameOf(uint64_t offset) const;

  const uint8_t *bytes;
  size_t size;
  Elf64_Ehdr header = {};
  std::vector<Elf64_Shdr> sections;
  std::vector<uint64_t> placed; ///< offset of each section in the image, or notLoaded
  std::vector<Elf64_Sym> symbols;
  std::map<std::string, size_t> functions;
  Elf64_Shdr strings = {};
  uint64_t codeBytes = 0, imageBytes = 0; ///< multiples of a page; constants lie after the code
};
} // namespace comm::rt

Status ElfLoader::readHeader() {
  if (size < sizeof(Elf64_Ehdr))
    return bad("the object is shorter than an ELF header");
  header = at<Elf64_Ehdr>(0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0)
    return bad("not an ELF object");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != EM_X86_64)
    return bad("not an object for x86-64");
  if (header.e_type != ET_REL)
    return bad("not a relocatable object");
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shnum == 0)
    return bad("has no section table of the expected form");
  if (!inFile(header.e_shoff, uint64_t(header.e_shnum) * sizeof(Elf64_Shdr)))
    return bad("the section table lies outside the object");
  return Status::ok();
}

/// A section that will be in memory.
Status ElfLoader::checkAllocated(const Elf64_Shdr &section) const {
  if (section.sh_flags & SHF_WRITE)
    return bad("has a writable section");
  if (section.sh_flags & (SHF_TLS | SHF_COMPRESSED))
    return bad("has a thread-local or compressed section");
  if (section.sh_type != SHT_PROGBITS && section.sh_type != SHT_NOTE && section.sh_type != SHT_X86_64_UNWIND)
    return bad("has an allocated section of type " + std::to_string(section.sh_type));
  uint64_t alignment = section.sh_addralign;
  if (alignment > 4096 || (alignment & (alignment - 1)) != 0)
    return bad("has a section aligned to " + std::to_string(alignment));
  return Status::ok();
}

Status ElfLoader::readSections() {
  for (uint64_t i = 0; i < header.e_shnum; ++i) {
    sections.push_back(at<Elf64_Shdr>(header.e_shoff + i * sizeof(Elf64_Shdr)));
    const Elf64_Shdr &section = sections.back();
    if (section.sh_type != SHT_NOBITS && section.sh_type != SHT_NULL && !inFile(section.sh_offset, section.sh_size))
      return bad("section " + std::to_string(i) + " lies outside the object");
    if (section.sh_type == SHT_SYMTAB_SHNDX)
      return bad("has extended section numbers");
    if ((section.sh_flags & SHF_ALLOC) && section.sh_size > 0)
      if (Status s = checkAllocated(section); !s)
        return s;
  }
  return Status::ok();
}

/// Code first, then constants, each part on pages of its own.
Status ElfLoader::layout() {
  const uint64_t page = uint64_t(sysconf(_SC_PAGESIZE));
  placed.assign(sections.size(), notLoaded);
  imageBytes = 16; // sanitizers read a prefix of functions that they call
  for (bool code : {true, false}) {
    for (size_t i = 0; i < sections.size(); ++i) {
      const Elf64_Shdr &section = sections[i];
      if (!(section.sh_flags & SHF_ALLOC) || section.sh_size == 0 || bool(section.sh_flags & SHF_EXECINSTR) != code)
        continue;
      uint64_t alignment = std::max<uint64_t>(section.sh_addralign, 16);
      placed[i] = (imageBytes + alignment - 1) / alignment * alignment;
      imageBytes = placed[i] + section.sh_size;
      if (section.sh_size > maxImage || imageBytes > maxImage)
        return bad("is larger than " + std::to_string(maxImage >> 20) + " MiB in memory");
    }
    if (code && imageBytes == 16)
      return bad("has no code");
    imageBytes = (imageBytes + page - 1) / page * page;
    if (code)
      codeBytes = imageBytes;
  }
  return Status::ok();
}

std::string ElfLoader::nameOf(uint64_t offset) const {
  if (offset >= strings.sh_size)
    return {};
  const char *name = reinterpret_cast<const char *>(bytes + strings.sh_offset + offset);
  return std::string(name, strnlen(name, strings.sh_size - offset));
}

Status ElfLoader::checkSymbol(const Elf64_Sym &symbol, const std::string &name) const {
  unsigned type = ELF64_ST_TYPE(symbol.st_info);
  if (symbol.st_shndx == SHN_UNDEF)
    return bad("imports '" + name + "'");
  if (type == STT_GNU_IFUNC || type == STT_TLS)
    return bad("symbol '" + name + "' is an indirect function or thread-local");
  if (symbol.st_shndx == SHN_ABS && type == STT_FILE)
    return Status::ok();
  if (symbol.st_shndx >= sections.size())
    return bad("symbol '" + name + "' lies in no section");
  if (symbol.st_value > sections[symbol.st_shndx].sh_size)
    return bad("symbol '" + name + "' lies outside its section");
  return Status::ok();
}

Status ElfLoader::readSymbols() {
  const Elf64_Shdr *table = nullptr;
  for (const Elf64_Shdr &section : sections)
    if (section.sh_type == SHT_SYMTAB) {
      if (table)
        return bad("has two symbol tables");
      table = &section;
    }
  if (!table || table->sh_entsize != sizeof(Elf64_Sym) || table->sh_size % sizeof(Elf64_Sym) != 0)
    return bad("has no symbol table of the expected form");
  if (table->sh_link >= sections.size() || sections[table->sh_link].sh_type != SHT_STRTAB)
    return bad("the symbol table has no strings");
  strings = sections[table->sh_link];
  for (uint64_t offset = 0; offset < table->sh_size; offset += sizeof(Elf64_Sym)) {
    symbols.push_back(at<Elf64_Sym>(table->sh_offset + offset));
    if (offset == 0)
      continue; // the null symbol
    const Elf64_Sym &symbol = symbols.back();
    std::string name = nameOf(symbol.st_name);
    if (Status s = checkSymbol(symbol, name); !s)
      return s;
    if (ELF64_ST_TYPE(symbol.st_info) != STT_FUNC || ELF64_ST_BIND(symbol.st_info) == STB_LOCAL)
      continue;
    uint64_t at = placed[symbol.st_shndx];
    if (at == notLoaded || !(sections[symbol.st_shndx].sh_flags & SHF_EXECINSTR) ||
        symbol.st_value >= sections[symbol.st_shndx].sh_size)
      return bad("function '" + name + "' lies outside the code");
    functions[name] = at + symbol.st_value;
  }
  return Status::ok();
}

Status ElfLoader::map(NativeCode &code) {
  void *memory = mmap(nullptr, imageBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED)
    return {Code::OutOfMemory, "native code: no memory for " + std::to_string(imageBytes) + " bytes"};
  code.memory = memory;
  code.size = imageBytes;
  std::memset(memory, 0xcc, codeBytes); // int3 between functions
  for (size_t i = 0; i < sections.size(); ++i)
    if (placed[i] != notLoaded)
      std::memcpy(static_cast<uint8_t *>(memory) + placed[i], bytes + sections[i].sh_offset, sections[i].sh_size);
  return Status::ok();
}

Status ElfLoader::relocateOne(NativeCode &code, const Elf64_Rela &entry, const Elf64_Shdr &target,
                              uint64_t targetAt) const {
  uint64_t type = ELF64_R_TYPE(entry.r_info), index = ELF64_R_SYM(entry.r_info);
  if (type == R_X86_64_NONE)
    return Status::ok();
  if (type != R_X86_64_PC32 && type != R_X86_64_PLT32 && type != R_X86_64_64)
    return bad("has a relocation of type " + std::to_string(type));
  uint64_t width = type == R_X86_64_64 ? 8 : 4;
  if (entry.r_offset > target.sh_size || width > target.sh_size - entry.r_offset)
    return bad("a relocation lies outside its section");
  if (index == 0 || index >= symbols.size())
    return bad("a relocation names no symbol");
  const Elf64_Sym &symbol = symbols[index];
  if (symbol.st_shndx >= sections.size() || placed[symbol.st_shndx] == notLoaded)
    return bad("a relocation names symbol '" + nameOf(symbol.st_name) + "', which is not in memory");
  uint64_t base = uint64_t(reinterpret_cast<uintptr_t>(code.memory));
  uint64_t place = targetAt + entry.r_offset;
  uint64_t value = base + placed[symbol.st_shndx] + symbol.st_value + uint64_t(entry.r_addend);
  uint8_t *to = static_cast<uint8_t *>(code.memory) + place;
  if (type == R_X86_64_64) {
    std::memcpy(to, &value, 8);
    return Status::ok();
  }
  int64_t distance = int64_t(value - (base + place));
  if (distance != int64_t(int32_t(distance)))
    return bad("a relocation does not fit 32 bits");
  int32_t narrow = int32_t(distance);
  std::memcpy(to, &narrow, 4);
  return Status::ok();
}

Status ElfLoader::relocate(NativeCode &code, const Elf64_Shdr &table) const {
  if (table.sh_info >= sections.size())
    return bad("a relocation table names no section");
  uint64_t targetAt = placed[table.sh_info];
  if (targetAt == notLoaded)
    return Status::ok(); // debug information
  if (table.sh_type == SHT_REL || table.sh_entsize != sizeof(Elf64_Rela) || table.sh_size % sizeof(Elf64_Rela) != 0)
    return bad("has a relocation table of an unexpected form");
  for (uint64_t offset = 0; offset < table.sh_size; offset += sizeof(Elf64_Rela))
    if (Status s = relocateOne(code, at<Elf64_Rela>(table.sh_offset + offset), sections[table.sh_info], targetAt); !s)
      return s;
  return Status::ok();
}

Status ElfLoader::protect(NativeCode &code) const {
  if (mprotect(code.memory, codeBytes, PROT_READ | PROT_EXEC) != 0 ||
      (imageBytes > codeBytes &&
       mprotect(static_cast<uint8_t *>(code.memory) + codeBytes, imageBytes - codeBytes, PROT_READ) != 0))
    return {Code::Internal, std::string("native code: the system refuses executable memory: ") + std::strerror(errno)};
  return Status::ok();
}

Status ElfLoader::run(std::unique_ptr<NativeCode> &out) {
  for (auto step : {&ElfLoader::readHeader, &ElfLoader::readSections, &ElfLoader::layout, &ElfLoader::readSymbols})
    if (Status s = (this->*step)(); !s)
      return s;
  std::unique_ptr<NativeCode> code(new NativeCode);
  if (Status s = map(*code); !s)
    return s;
  for (const Elf64_Shdr &section : sections)
    if (section.sh_type == SHT_RELA || section.sh_type == SHT_REL)
      if (Status s = relocate(*code, section); !s)
        return s;
  if (Status s = protect(*code); !s)
    return s;
  code->functions = std::move(functions);
  out = std::move(code);
  return Status::ok();
}

Status NativeCode::load(const uint8_t *bytes, size_t size, std::unique_ptr<NativeCode> &out) {
  out.reset();
  return ElfLoader(bytes, size).run(out);
}

NativeCode::~NativeCode() {
  if (memory)
    munmap(memory, size);
}

uintptr_t NativeCode::addressOf(const std::string &symbol) const {
  auto it = functions.find(symbol);
  return it == functions.end() ? 0 : reinterpret_cast<uintptr_t>(memory) + it->second;
}

NativeFunction NativeCode::find(const std::string &symbol) const {
  return reinterpret_cast<NativeFunction>(addressOf(symbol));
}

NativeColumns NativeCode::findColumns(const std::string &symbol) const {
  return reinterpret_cast<NativeColumns>(addressOf(symbol + exe::columnsSuffix));
}

std::vector<std::string> NativeCode::symbols() const {
  std::vector<std::string> names;
  for (const auto &entry : functions)
    names.push_back(entry.first);
  return names;
}

Status comm::rt::chooseNativeObject(const std::vector<exe::NativeObject> &objects, size_t &index,
                                    const CpuFeatures &cpu) {
  if (Status s = requireSupportedCpu(cpu); !s)
    return s;
  std::string levels;
  for (const char *isa : {"x86-64-v4+avx512bf16", "x86-64-v4", "x86-64-v3"})
    for (size_t i = 0; i < objects.size(); ++i)
      if (objects[i].isa == isa && supportsIsa(cpu, isa)) {
        index = i;
        return Status::ok();
      }
  for (const exe::NativeObject &object : objects)
    levels += (levels.empty() ? "" : ", ") + object.isa;
  if (levels.empty())
    return {Code::BadExecutable, "the program has no native code, and its commands need some"};
  return {Code::DeviceMissing, "this CPU runs none of the program's native code (" + levels + ")"};
}
