//===- PackedStore.cpp - where packed weights come from -------------------===//
#include "runtime/Core/PackedStore.h"

namespace comm::rt {

/// From the file, or packed and written to the file.
void PackedStore::read(const std::string &name, char *out, int64_t bytes, const PackFunction &fill) {
  if (files && files->read(name, out, bytes)) {
    sums.read += bytes;
    return;
  }
  fill(out);
  constexpr int64_t worthLooking = 1 << 20;
  if (bytes >= worthLooking)
    watch.look(); // what it was packed from may be a copy that goes now
  sums.packed += bytes;
  if (files && files->write(name, out, bytes))
    sums.kept += bytes;
}

PackedBytes PackedStore::provide(const ConstantName &constant, const std::string &form, int64_t bytes,
                                 const PackFunction &fill) {
  std::string name = constant.text + " as " + form;
  auto fillOrRead = [&](char *out) { read(name, out, bytes, fill); };
  if (shared && constant.sharers > 1)
    if (PackedBytes packed = shared->provide(name, bytes, fillOrRead))
      return packed;
  PackedBytes packed = memory.allocate(bytes);
  fillOrRead(packed.data());
  return packed;
}

std::string packedFolder(const std::string &where, const std::string &path) {
  if (where == "off")
    return "";
  if (where.empty() || where == "beside")
    return path + ".packed";
  size_t slash = path.rfind('/');
  return where + "/" + path.substr(slash == std::string::npos ? 0 : slash + 1) + ".packed";
}

} // namespace comm::rt
