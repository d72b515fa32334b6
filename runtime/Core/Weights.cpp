//===- Weights.cpp - one rank's part of every weight ----------------------===//
#include "runtime/Core/Weights.h"
#include "runtime/Core/UserList.h"
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <fcntl.h>
#include <set>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace comm::rt {
namespace {

std::string folderOf(const std::string &path) {
  size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

std::string realPath(const std::string &path) {
  std::unique_ptr<char, void (*)(void *)> real(::realpath(path.c_str(), nullptr), std::free);
  return real ? real.get() : "";
}

bool inside(const std::string &path, const std::string &folder) {
  return !folder.empty() &&
         (folder == "/" ||
          (path.size() > folder.size() && path.compare(0, folder.size(), folder) == 0 && path[folder.size()] == '/'));
}

/// Copies the window [start, start + count) of every dimension of `stored` to the front of `local`, both row-major.
struct WindowCopy {
  std::vector<int64_t> start, count;
  exe::Shape stored, local;
  int64_t width;
  void copy(const uint8_t *from, uint8_t *to, size_t dim) const {
    if (dim == stored.size()) {
      std::memcpy(to, from, static_cast<size_t>(width));
      return;
    }
    int64_t fromStride = width, toStride = width;
    bool whole = true; // the dimensions behind this one are copied whole: one memcpy
    for (size_t d = dim + 1; d < stored.size(); ++d) {
      fromStride *= stored[d];
      toStride *= local[d];
      whole &= count[d] == stored[d] && local[d] == stored[d];
    }
    from += start[dim] * fromStride;
    if (whole) {
      std::memcpy(to, from, static_cast<size_t>(count[dim] * fromStride));
      return;
    }
    for (int64_t i = 0; i < count[dim]; ++i)
      copy(from + i * fromStride, to + i * toStride, dim + 1);
  }
};
} // namespace

//===--- files ------------------------------------------------------------===//

WeightFiles::~WeightFiles() {
  for (const Map &m : maps)
    if (m.bytes)
      ::munmap(const_cast<uint8_t *>(m.bytes), m.size);
}

void WeightFiles::dropPages() const {
  for (const Map &m : maps)
    if (m.bytes)
      ::madvise(const_cast<uint8_t *>(m.bytes), m.size, MADV_DONTNEED);
}

Status WeightFiles::open(const exe::Executable &exe, const std::string &executablePath, bool checkHashes,
                         std::unique_ptr<WeightFiles> &out) {
  out = std::make_unique<WeightFiles>();
  for (const exe::WeightFile &file : exe.files)
    if (Status s = out->openOne(file, executablePath, checkHashes); !s)
      return s;
  return Status::ok();
}

Status WeightFiles::openOne(const exe::WeightFile &file, const std::string &executablePath, bool checkHashes) {
  auto bad = [&](const std::string &what) {
    return Status{Code::BadExecutable, "weight file '" + file.path + "': " + what};
  };
  // validate() has refused absolute paths and '..'; what remains can leave the folder through links only.
  std::string joined = folderOf(executablePath) + "/" + file.path, real = realPath(joined);
  if (real.empty())
    return bad(std::string(std::strerror(errno)) + "; it belongs beside the executable, at " + joined);
  if (!inside(real, realPath(folderOf(executablePath))) && !inside(real, folderOf(realPath(executablePath))))
    return bad("it leads out of the executable's folder, to " + real);
  int fd = ::open(real.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0)
    return bad(std::strerror(errno));
  struct stat st;
  if (::fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
    ::close(fd);
    return bad("it is not a regular file");
  }
  if (st.st_size != file.bytes) {
    ::close(fd);
    return bad("it has " + std::to_string(st.st_size) + " bytes, the executable expects " + std::to_string(file.bytes));
  }
  Map map{nullptr, static_cast<size_t>(st.st_size)};
  if (map.size > 0) {
    void *p = ::mmap(nullptr, map.size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (p == MAP_FAILED) {
      ::close(fd);
      return {Code::OutOfMemory, "weight file '" + file.path + "' cannot be mapped: " + std::strerror(errno)};
    }
    map.bytes = static_cast<const uint8_t *>(p);
  }
  ::close(fd);
  maps.push_back(map);
  if (!checkHashes || file.sha256.empty())
    return Status::ok();
  std::string stamp = file.sha256 + " " + std::to_string(st.st_dev) + " " + std::to_string(st.st_ino) + " " +
                      std::to_string(st.st_size) + " " + std::to_string(st.st_mtim.tv_sec) + "." +
                      std::to_string(st.st_mtim.tv_nsec);
  if (verifiedFiles().contains(stamp))
    return Status::ok();
  if (exe::sha256(map.bytes, map.size) != file.sha256)
    return bad(
        "its SHA-256 is not the one that the executable was compiled with: the weights have changed, compile again");
  Status remembered = verifiedFiles().add(stamp);
  (void)remembered; // a list that cannot be kept only costs time
  return Status::ok();
}

//===--- local parts ------------------------------------------------------===//

void WeightStore::Unmap::operator()(uint8_t *p) const { ::munmap(p, bytes); }

WeightStore::Key WeightStore::keyOf(int64_t index, const exe::Grid &grid) const {
  // Grids agree on a weight when they agree on the axes of its layout, in size and place.
  std::string text;
  if (!exe.weights[index].layout.replicated())
    for (const exe::Axis &a : grid.axes)
      text += a.name + "=" + std::to_string(a.size) + ";";
  return {index, text};
}

WeightStore::Window WeightStore::windowOf(int64_t index, const exe::Grid &grid, int64_t rank) const {
  const exe::Weight &w = exe.weights[index];
  Window out;
  out.start.assign(w.shape.size(), 0);
  out.count = w.shape;
  for (const exe::Slice &s : w.slices) {
    out.start[s.dim] += s.start;
    out.count[s.dim] = s.size;
  }
  out.shape = out.count;
  for (size_t d = 0; d < w.layout.dims.size(); ++d) {
    exe::ShardRange range = exe::shardRange(out.count[d], w.layout.dims[d], grid, rank);
    out.start[d] += range.start;
    out.count[d] = range.count;
    out.shape[d] = range.local;
    out.filled |= range.count != range.local;
  }
  return out;
}

std::string WeightStore::name(int64_t index, const exe::Grid &grid, int64_t rank, int64_t offset) const {
  Window w = windowOf(index, grid, rank);
  std::string text = "weight " + std::to_string(index) + " at " + std::to_string(offset) + " of";
  for (size_t d = 0; d < w.shape.size(); ++d)
    text += " " + std::to_string(w.start[d]) + "+" + std::to_string(w.count[d]) + "/" + std::to_string(w.shape[d]);
  return text;
}

int64_t WeightStore::sharers(int64_t index, const exe::Grid &grid) const {
  int64_t ranks = grid.ranks();
  std::set<std::string> split;
  for (const exe::Split &s : exe.weights[index].layout.dims)
    split.insert(s.axes.begin(), s.axes.end());
  for (const exe::Axis &a : grid.axes)
    ranks /= split.count(a.name) ? a.size : 1;
  return ranks;
}

Status WeightStore::local(int64_t index, const exe::Grid &grid, int64_t rank, const uint8_t *&out, bool later) {
  Key key = keyOf(index, grid);
  if (auto it = locals.find(key); it != locals.end()) {
    out = it->second.bytes;
    if (!later)
      load(index, grid);
    return Status::ok();
  }
  const exe::Weight &w = exe.weights[index];
  size_t dims = w.shape.size();
  int64_t width = exe::byteWidth(w.dtype);
  Window window = windowOf(index, grid, rank);
  const auto &[start, count, shape, filled] = window;
  Local local;
  local.size = exe::byteSize(w.dtype, shape);
  const uint8_t *stored = (w.file < 0 ? data.bytes : files->bytes(static_cast<size_t>(w.file))) + w.offset;
  // In place when only the outermost dimension with more than one element is cut.
  size_t first = 0;
  while (first < dims && shape[first] == 1)
    ++first;
  bool contiguous = !filled;
  for (size_t d = first + 1; d < dims; ++d)
    contiguous &= count[d] == w.shape[d];
  int64_t offset = 0, stride = width;
  for (size_t d = dims; d-- > 0; stride *= w.shape[d])
    offset += start[d] * stride;
  if (local.size == 0 ||
      (contiguous && reinterpret_cast<uintptr_t>(stored + offset) % static_cast<uintptr_t>(width) == 0)) {
    local.bytes = local.size == 0 ? reinterpret_cast<const uint8_t *>("") : stored + offset;
  } else {
    size_t bytes = (static_cast<size_t>(local.size) + 63) / 64 * 64;
    void *memory = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); // zeros
    if (memory == MAP_FAILED)
      return {Code::OutOfMemory, "no memory for weight '" + w.name + "' (" + std::to_string(bytes) + " bytes)"};
    local.owned = std::unique_ptr<uint8_t, Unmap>(static_cast<uint8_t *>(memory), Unmap{bytes});
    local.bytes = local.owned.get();
    local.copy = [copy = WindowCopy{start, count, w.shape, shape, width}, stored, to = local.owned.get()] {
      copy.copy(stored, to, 0);
    };
  }
  out = local.bytes;
  locals.emplace(std::move(key), std::move(local));
  if (!later)
    load(index, grid);
  return Status::ok();
}

void WeightStore::load(int64_t index, const exe::Grid &grid) {
  auto it = locals.find(keyOf(index, grid));
  if (it == locals.end() || !it->second.copy)
    return;
  it->second.copy();
  it->second.copy = nullptr;
}

uint64_t WeightStore::contentKey(int64_t index, const exe::Grid &grid, int64_t offset) {
  return contentKeys.emplace(std::make_pair(keyOf(index, grid), offset), contentKeys.size() + 1).first->second;
}

void WeightStore::keep(int64_t index, const exe::Grid &grid) {
  load(index, grid);
  if (auto it = locals.find(keyOf(index, grid)); it != locals.end())
    it->second.kept = true;
}

void WeightStore::release(int64_t index, const exe::Grid &grid) {
  if (auto it = locals.find(keyOf(index, grid)); it != locals.end() && !it->second.kept)
    locals.erase(it);
}

int64_t WeightStore::keptBytes() const {
  int64_t bytes = 0;
  for (const auto &[key, local] : locals)
    bytes += local.kept ? local.size : 0;
  return bytes;
}

} // namespace comm::rt
