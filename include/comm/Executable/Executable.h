//===- Executable.h - the .commx program as plain data ----------*- C++ -*-===//
// What commc writes and every backend runs. One program for all ranks: whatever differs by rank is a
// function of the rank's grid coordinates, evaluated at load or run time (see Split). No LLVM, no MLIR.
//===----------------------------------------------------------------------===//
#pragma once
#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace comm::exe {

/// Of the file, in its header. 2: buffers, certificates, declarations of kernels; 3: equality; 4: smaller inputs.
inline constexpr uint32_t formatVersion = 4;

/// Element types; `Bool` is one byte, 0 or 1. Numbers are part of the file format.
enum class DType : uint8_t { F32 = 0, F16, BF16, F64, I64, I32, I16, I8, U64, U32, U16, U8, Bool };
int64_t byteWidth(DType);
const char *dtypeName(DType); // "f32", "bf16", "i64", "bool", ...
bool parseDType(const std::string &name, DType &out);

using Shape = std::vector<int64_t>;
/// Elements of a shape; -1 when a dimension is negative or the product overflows int64.
int64_t numElements(const Shape &);
/// Bytes of a tensor; -1 as numElements.
int64_t byteSize(DType, const Shape &);

/// Named axes, first is major: rank = ((c0 * size1) + c1) * size2 + ...
struct Axis {
  std::string name;
  int64_t size = 1;
};
struct Grid {
  std::vector<Axis> axes;
  int64_t ranks() const;
  /// Coordinate of `rank` on the named axes in mixed radix, first named is major. Unknown axes: -1.
  int64_t coordinate(int64_t rank, const std::vector<std::string> &axes) const;
  /// Number of shards over the named axes; axes that the grid does not have count 1.
  int64_t shards(const std::vector<std::string> &axes) const;
  /// Ranks that agree with `rank` on every other axis, in the order of their coordinate over `axes`.
  std::vector<int32_t> members(int64_t rank, const std::vector<std::string> &axes) const;
};

/// How one dimension is split: blocks of `grain` elements over the ranks of `axes` (major first). With b = size/grain
/// blocks on k shards: b < k and k % b == 0: shard i holds block i*b/k (replicated blocks); else each holds ceil(b/k)
/// blocks, the last ones zero-filled. `size` must be a multiple of `grain`. Empty `axes`: not split; axes that the grid
/// does not have split nothing.
struct Split {
  std::vector<std::string> axes;
  int64_t grain = 1;
};
struct ShardRange {
  int64_t start = 0; ///< first element in the whole dimension
  int64_t count = 0; ///< elements really there; the rest of the local size is zero fill
  int64_t local = 0; ///< local size, the same on every rank
};
ShardRange shardRange(int64_t size, const Split &, const Grid &, int64_t rank);

/// Layout of a whole tensor; an empty `dims` means replicated.
struct Layout {
  std::vector<Split> dims;
  bool replicated() const;
};
/// What one rank holds of a tensor of shape `whole`; equal on all ranks.
Shape localShape(const Shape &whole, const Layout &, const Grid &);

/// A window on a dimension of a stored weight, applied before the layout; in elements.
struct Slice {
  int64_t dim = 0, start = 0, size = 0;
};

/// A tensor outside the arena that does not change between runs. Bytes: little-endian, row-major, `shape` elements of
/// `stored`.
struct Weight {
  std::string name;
  int64_t file = -1;  ///< index in Executable::files; -1: the executable's own data section
  int64_t offset = 0; ///< bytes from the start of that file or of the data section
  DType dtype = DType::F32;
  Shape shape; ///< as stored
  std::vector<Slice> slices;
  Layout layout; ///< of the sliced tensor; each rank loads its part
};

/// Shape after the slices, before the layout.
Shape slicedShape(const Weight &);

/// External weight file. `path` is relative to the directory of the executable; `bytes` and `sha256` (of the whole
/// file, may be empty when hashing was declined) are checked before use.
struct WeightFile {
  std::string path;
  int64_t bytes = 0;
  std::string sha256;
};

enum class Storage : uint8_t { Arena = 0, Weight, Input, Output };

/// A tensor view: contiguous, row-major, at `offset` bytes in its storage.
struct Value {
  Storage storage = Storage::Arena;
  int64_t index = 0;  ///< number of the weight, input or output; in the arena, of the buffer that it is a view of: what
                      ///< a command reads through a buffer was last written through the same buffer
  int64_t offset = 0; ///< bytes
  DType dtype = DType::F32;
  Shape shape;      ///< this rank's shape
  std::string name; ///< for messages and traces; may be empty
};

using Attr = std::variant<int64_t, double, std::string, std::vector<int64_t>, std::vector<std::string>>;
using Attrs = std::map<std::string, Attr>;

/// One step of the program. Commands are issued in order on the compute queue; `start` hands a collective to the
/// communication queue (collectives run there in the order of issue) and returns; `wait` blocks compute until that
/// collective is done. A collective named directly in `op` is synchronous.
///   op       "matmul" "attention" "copy" "gather" ... (see docs/reference/commands.md), "kernel" (native, attribute
///   "symbol"),
///            "start" (attribute "collective" + those of the collective + "token"), "wait" (attribute "token"), or a
///            collective.
struct Command {
  std::string op;
  std::vector<int32_t> inputs, outputs; ///< indices in Program::values
  Attrs attrs;
  std::string label; ///< source node, for traces and errors
};

/// True for the collectives of docs/reference/commands.md.
bool isCollective(const std::string &op);
/// The collective that a command issues, itself or through `start`; empty for every other command.
const std::string &collectiveOf(const Command &);

/// A dimension of an input or output that may be smaller in a call: the size of the symbol there, plus `offset`.
struct PadDim {
  int64_t dim = 0, symbol = 0, offset = 0; ///< symbol: number in Entry::pads
};
/// A symbol whose size may be smaller in a call than in the entry. Inputs are then filled up with zeros on the right,
/// outputs cut; the program keeps the fill from what is left.
struct PadSymbol {
  std::string name;
  int64_t size = 0, least = 0; ///< of the entry; smallest of a call
  int64_t input = -1;          ///< number of the input that takes the size (i64 [1]); -1: the program does not need it
};

/// A graph input or output, in whole-tensor terms. `value` is this rank's part: dtype and shape as `layout` says. An
/// input's value is in Input storage under its own number, or in the arena (copied there before the first command), or
/// -1 when nothing reads it. An output's value may be anywhere; what is not in Output storage under its own number is
/// copied after the last command.
struct Port {
  std::string name;
  DType dtype = DType::F32;
  Shape shape;   ///< whole
  Layout layout; ///< how ranks hold it
  int32_t value = -1;
  std::string fixed; ///< inputs: the only bytes that the program is made for, in hexadecimal; empty: any
  std::vector<PadDim> pads;
};

/// One SPMD program over `grid`.
struct Program {
  Grid grid;
  int64_t arenaBytes = 0;
  int64_t commBytes =
      0; ///< part of the arena at [0, commBytes): operands and results of collectives, at equal offsets on all ranks
  std::vector<Value> values;
  std::vector<Command> commands;
  std::vector<Port> inputs, outputs;
};

/// Cache pair: the output of one call is the input of the next.
struct StatePair {
  std::string input, output;
};

/// What commc has shown about the split program of an entry, for the loader to check again (docs/proof.md). `order` is
/// a topological order of its steps as runs (first, how many): command i is i, the n-th collective is commands + n.
/// `matching` has five numbers per collective in the order of issue: number in the plan, command, command that waits
/// for it (-1: itself), number of groups, members of each.
struct Certificate {
  int64_t version = 0; ///< 0: none
  std::vector<int64_t> order, matching;
  int64_t peakBytes = 0; ///< most bytes of the arena that are alive at one time
  int64_t equal = 0; ///< operations of the split program that were followed to outputs equal to the unsplit program's;
                     ///< 0: this was not shown
};

/// One set of static shapes.
struct Entry {
  std::string name;
  Program split;     ///< over N ranks
  Program reference; ///< the unsplit model on one rank, for --verify; equal to `split` when N is 1
  std::vector<StatePair> states;
  std::vector<PadSymbol> pads; ///< those with an input have the last inputs, in order: callers do not give them
  Certificate certificate;     ///< of `split`
};

/// Native code for one ISA level ("x86-64-v3", "x86-64-v4", ...): a relocatable ELF object without imports. Kernels
/// have the C type
///   void k(void *const *buffers, int64_t begin, int64_t end)
/// and process iterations [begin, end) of their outermost loop; buffers are inputs, then outputs.
struct NativeObject {
  std::string isa;
  std::vector<uint8_t> bytes;
};

/// One value of a kernel's declaration.
struct KernelStep {
  std::string op;                ///< see docs/reference/commands.md, "Kernels"
  std::vector<int32_t> operands; ///< values: the kernel's inputs first, then the steps in order
  Attrs attrs;
  DType dtype = DType::F32; ///< of the value; floats narrower than f32 are f32 until a result is stored
  Shape shape;
};
struct TensorType {
  DType dtype = DType::F32;
  Shape shape;
};
/// What a native function computes, in whole tensors of one rank: the meaning that a proof relies on, and all that an
/// interpreter needs. A native symbol without a declaration runs, but nothing is known about it.
struct Kernel {
  std::string symbol;
  std::vector<TensorType> inputs;
  std::vector<KernelStep> steps;
  std::vector<int32_t> outputs; ///< values, in the order of the results
};
/// Operands of an elementwise step; 0 for other steps and unknown names.
size_t elementwiseArity(const std::string &op);

struct Executable {
  std::string compilerVersion, options, modelName, modelSha256;
  std::vector<WeightFile> files;
  std::vector<Weight> weights;
  std::vector<Entry> entries;
  std::vector<NativeObject> objects;
  std::vector<Kernel> kernels;               ///< declarations of the symbols in `objects`
  std::string finalIR;                       ///< text of the command form, for inspect
  std::vector<std::string> explain;          ///< remarks of the compiler
  std::map<std::string, double> predictions; ///< e.g. "peak_bytes_per_rank"
  std::vector<uint8_t> data;                 ///< embedded weights and constants
};

/// Structural check of everything a loader relies on: indices, bounds, shapes, overflow, the tokens, order and buffers
/// of collectives, that nothing is written while it is read. What depends on a compute op is checked when a runtime
/// prepares it. Empty when sound, else one sentence per problem (at most 20). `dataBytes`: size of the data section,
/// -1: that of `data`.
std::vector<std::string> validate(const Executable &, int64_t dataBytes = -1);

/// Serialises; deterministic bytes. Returns false and a sentence in `error` when the executable is not sound.
bool writeExecutable(const Executable &, std::vector<uint8_t> &out, std::string &error);
/// The data section inside the bytes that were read.
struct DataView {
  const uint8_t *bytes = nullptr;
  size_t size = 0;
};
/// Parses untrusted bytes: magic, version, lengths, SHA-256 of the whole, then validate(). Never crashes. With `view`
/// the data section is not copied: `out.data` stays empty and `view` points into `bytes`.
bool readExecutable(const uint8_t *bytes, size_t size, Executable &out, std::string &error, DataView *view = nullptr);
/// SHA-256 of a written executable, lower-case hex: the identity that ranks compare and users trust. Covers everything
/// but the field of the header that holds it.
std::string executableHash(const uint8_t *bytes, size_t size);
/// The same as the header has it, without computing: right for bytes that readExecutable accepted.
std::string storedHash(const uint8_t *bytes, size_t size);
/// Plain SHA-256 of bytes, lower-case hex; for WeightFile::sha256.
std::string sha256(const uint8_t *bytes, size_t size);
/// Text for `commc inspect`. `dataBytes` as in validate.
std::string printExecutable(const Executable &, bool commands, int64_t dataBytes = -1);

} // namespace comm::exe
