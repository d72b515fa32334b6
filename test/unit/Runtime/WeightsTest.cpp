//===- WeightsTest.cpp - slices, layouts and files of weights -------------===//
#include "runtime/Core/Weights.h"
#include "RuntimeTest.h"
#include "runtime/Core/PortTransfer.h"
#include <algorithm>
#include <sys/stat.h>

using namespace comm::test;
using comm::rt::Code;
using comm::rt::PortTransfer;
using comm::rt::Status;
using comm::rt::WeightFiles;
using comm::rt::WeightStore;

namespace {
// Every element of every local weight, against the definition: slice, shard, zero fill.
TEST(WeightStore, LocalPartsByDefinition) {
  Grid grid{{{"dp", 2}, {"tp", 3}}};
  std::vector<float> data;
  for (int i = 0; i < 6 * 10; ++i)
    data.push_back(static_cast<float>(i + 1));
  struct Case {
    std::vector<Slice> slices;
    std::vector<Split> dims;
  };
  for (const Case &c :
       {Case{{}, {}}, Case{{}, {{{"tp"}, 1}, {}}}, Case{{}, {{}, {{"tp"}, 1}}}, Case{{}, {{}, {{"tp"}, 5}}},
        Case{{{0, 1, 4}}, {{{"tp"}, 1}, {}}}, Case{{{1, 2, 6}, {1, 1, 4}}, {{{"dp"}, 2}, {{"tp"}, 2}}},
        Case{{{0, 2, 1}}, {}}, Case{{{0, 2, 1}}, {{}, {{"dp", "tp"}, 1}}}, Case{{{0, 3, 0}}, {}},
        Case{{{1, 0, 1}}, {{{"tp"}, 2}, {}}}}) {
    Executable exe = makeRowParallelMatmul(1);
    exe.data.insert(exe.data.begin(), 2, 0); // weights at odd offsets are not aligned
    exe.weights.clear();
    int64_t index = addWeight(exe, "w", {6, 10}, data);
    exe.weights[0].slices = c.slices;
    exe.weights[0].layout.dims = c.dims;
    WeightStore store(exe, {exe.data.data(), exe.data.size()}, nullptr);
    Shape sliced = slicedShape(exe.weights[0]);
    std::vector<int64_t> first(2, 0);
    for (const Slice &s : c.slices)
      first[static_cast<size_t>(s.dim)] += s.start;
    for (int64_t rank = 0; rank < 6; ++rank) {
      WeightStore own(exe, {exe.data.data(), exe.data.size()}, nullptr);
      const uint8_t *bytes = nullptr;
      ASSERT_TRUE(bool(own.local(index, grid, rank, bytes)));
      ShardRange r0{0, sliced[0], sliced[0]}, r1{0, sliced[1], sliced[1]};
      if (!c.dims.empty()) {
        r0 = shardRange(sliced[0], c.dims[0], grid, rank);
        r1 = shardRange(sliced[1], c.dims[1], grid, rank);
      }
      for (int64_t i = 0; i < r0.local; ++i)
        for (int64_t j = 0; j < r1.local; ++j) {
          float expected = i < r0.count && j < r1.count
                               ? data[static_cast<size_t>((first[0] + r0.start + i) * 10 + first[1] + r1.start + j)]
                               : 0;
          float got;
          std::memcpy(&got, bytes + (i * r1.local + j) * 4, 4);
          ASSERT_EQ(got, expected) << "rank " << rank << " at " << i << ", " << j;
        }
    }
  }
}

TEST(WeightStore, ReleasesWhatNobodyReads) {
  Executable exe = makeRowParallelMatmul(2);
  WeightStore store(exe, {exe.data.data(), exe.data.size()}, nullptr);
  const uint8_t *bytes = nullptr;
  const Grid &grid = exe.entries[0].split.grid;
  ASSERT_TRUE(bool(store.local(0, grid, 0, bytes)));
  EXPECT_EQ(store.keptBytes(), 0);
  store.release(0, grid);
  store.keep(0, grid); // gone
  EXPECT_EQ(store.keptBytes(), 0);
  ASSERT_TRUE(bool(store.local(0, grid, 0, bytes)));
  store.keep(0, grid);
  store.release(0, grid);
  EXPECT_EQ(store.keptBytes(), 4 * 5 * 4);
  EXPECT_EQ(store.contentKey(0, grid, 0), store.contentKey(0, grid, 0));
  EXPECT_NE(store.contentKey(0, grid, 0), store.contentKey(0, grid, 4));
  EXPECT_NE(store.contentKey(0, grid, 0), store.contentKey(0, Grid{}, 0)); // the reference program's whole weight
}

// Shards of an input put together again are the input, for every layout; fill does not leak.
TEST(PortTransfer, ThereAndBack) {
  Grid grid{{{"dp", 2}, {"tp", 3}}};
  Shape whole{4, 5, 6};
  std::vector<float> data(120);
  for (size_t i = 0; i < data.size(); ++i)
    data[i] = static_cast<float>(i);
  std::vector<Split> choices{{}, {{"tp"}, 1}, {{"dp"}, 1}, {{"tp", "dp"}, 1}, {{"tp"}, 2}};
  int pieces = 0;
  for (const Split &a : choices)
    for (const Split &b : choices)
      for (const Split &c : choices) {
        Port port{"p", DType::F32, whole, {{a, b, c}}, -1};
        std::vector<std::string> used;
        bool valid = true;
        for (size_t d = 0; d < 3; ++d) {
          for (const std::string &axis : port.layout.dims[d].axes) {
            valid &= std::find(used.begin(), used.end(), axis) == used.end();
            used.push_back(axis);
          }
          valid &= whole[d] % port.layout.dims[d].grain == 0;
        }
        if (!valid)
          continue;
        std::vector<float> back(120, -1);
        std::vector<int> writes(120, 0);
        for (int64_t rank = 0; rank < 6; ++rank) {
          PortTransfer transfer(port, grid, rank);
          std::vector<float> local(static_cast<size_t>(transfer.localBytes() / 4), -7);
          transfer.toLocal(reinterpret_cast<uint8_t *>(data.data()), reinterpret_cast<uint8_t *>(local.data()));
          for (float v : local)
            EXPECT_NE(v, -7);
          if (int64_t piece = transfer.piece(); piece >= 0) {
            ++pieces;
            EXPECT_EQ(std::memcmp(data.data() + piece / 4, local.data(), local.size() * 4), 0);
          }
          if (!transfer.writes())
            continue;
          std::vector<float> mine(120, -1);
          transfer.toWhole(reinterpret_cast<uint8_t *>(local.data()), reinterpret_cast<uint8_t *>(mine.data()));
          for (size_t i = 0; i < 120; ++i)
            if (mine[i] >= 0) {
              back[i] = mine[i];
              ++writes[i];
            }
        }
        EXPECT_EQ(back, data);
        EXPECT_EQ(writes, std::vector<int>(120, 1)); // exactly one writer
      }
  EXPECT_GT(pieces, 12); // more than whole tensors and halves of the first dimension
}

//===--- files ------------------------------------------------------------===//
struct Files : testing::Test {
  TemporaryFolder folder;
  std::vector<float> data = std::vector<float>(40, 1.5f);
  Executable exe = makeRowParallelMatmul(1);
  std::string path = folder / "model/m.commx";

  Files() {
    EXPECT_EQ(std::system(("mkdir -p " + folder / "model/sub " + folder.path + "/blobs").c_str()), 0);
    exe.weights[0].file = 0;
    exe.files.push_back({"sub/w.bin", 160, sha256(reinterpret_cast<uint8_t *>(data.data()), 160)});
    writeWeights(folder / "model/sub/w.bin");
  }
  void writeWeights(const std::string &to) { writeFile(to, data.data(), data.size() * 4); }
  Status openFiles() {
    std::unique_ptr<WeightFiles> files;
    return WeightFiles::open(exe, path, true, files);
  }
  void expectRefused(const std::string &part) {
    Status s = openFiles();
    EXPECT_EQ(s.code, Code::BadExecutable) << part;
    EXPECT_NE(s.text.find(part), std::string::npos) << s.text;
    EXPECT_NE(s.text.find("sub/w.bin"), std::string::npos) << s.text;
  }
  void sh(const std::string &command) {
    EXPECT_EQ(std::system(("cd " + folder.path + "/model && " + command).c_str()), 0);
  }
};

TEST_F(Files, RunsFromAFileBeside) {
  ExecutableHandle e = load(saveExecutable(exe, path));
  SessionHandle s = open(e);
  Floats x = floats("x", {3, 8}, 1, 0), y = floats("y", {3, 5});
  comm_tensor in = x.view(), out = y.view();
  ASSERT_EQ(comm_session_run(s.get(), 0, &in, 1, &out, 1), COMM_OK) << comm_last_error();
  EXPECT_EQ(y.data, std::vector<float>(15, 12.0f));
}

TEST_F(Files, Missing) {
  sh("rm sub/w.bin");
  expectRefused("No such file");
  comm_session *s = nullptr;
  ExecutableHandle e = load(saveExecutable(exe, path));
  EXPECT_EQ(comm_session_create(e.get(), nullptr, &s), COMM_BAD_EXECUTABLE);
}

TEST_F(Files, LengthMustBeExact) {
  sh("truncate -s 159 sub/w.bin");
  expectRefused("has 159 bytes, the executable expects 160");
  sh("truncate -s 161 sub/w.bin");
  expectRefused("161");
  sh("truncate -s 0 sub/w.bin");
  expectRefused("has 0 bytes");
}

TEST_F(Files, ChangedContent) {
  EXPECT_TRUE(bool(openFiles())); // remembers the right hash
  data[7] = 2;
  sh("rm sub/w.bin");
  writeWeights(folder / "model/sub/w.bin");
  expectRefused("SHA-256");
  exe.files[0].sha256.clear(); // declined when compiled
  EXPECT_TRUE(bool(openFiles()));
}

TEST_F(Files, NotRegular) {
  sh("rm sub/w.bin && mkdir sub/w.bin");
  expectRefused("not a regular file");
  sh("rmdir sub/w.bin && mkfifo sub/w.bin");
  expectRefused("not a regular file");
  sh("rm sub/w.bin && ln -s /dev/zero sub/w.bin");
  expectRefused("leads out of");
}

TEST_F(Files, LinksThatLeaveTheFolder) {
  writeWeights(folder / "outside.bin");
  sh("ln -sf ../../outside.bin sub/w.bin");
  expectRefused("leads out of");
  sh("rm -rf sub && ln -s .. sub && cp ../outside.bin ../w.bin");
  expectRefused("leads out of");
  sh("rm sub && mkdir sub && ln -s w.bin sub/w.bin"); // a link to itself
  expectRefused("");
}

// A download cache: the model and its weights are links into one folder of blobs.
TEST_F(Files, LinksIntoTheRealFolderOfTheExecutable) {
  saveExecutable(exe, folder / "blobs/aaa");
  writeWeights(folder / "blobs/bbb");
  sh("ln -s ../blobs/aaa m.commx && ln -sf ../../blobs/bbb sub/w.bin");
  Status s = openFiles();
  EXPECT_TRUE(bool(s)) << s.text;
  sh("mv sub/w.bin sub/real.bin && ln -s real.bin sub/w.bin"); // inside the folder
  EXPECT_TRUE(bool(openFiles()));
}
} // namespace
