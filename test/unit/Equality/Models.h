//===- Models.h - the models of the first tier, compiled by commc ---------===//
#pragma once
#include "comm/Executable/Executable.h"
#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <iterator>
#include <unistd.h>

namespace comm::proof {

inline std::vector<std::string> firstTierModels() {
  return {"mlp",          "bert_dynamic", "bert_torchscript_op14", "gpt2_dynamic",
          "llama_static", "llama_cache",  "genai_llama_fp32",      "qwen2_cache_op23"};
}

/// The executable of a model of test/data/models; compiled once per process and option.
inline const exe::Executable &compiled(const std::string &model, int ranks, const std::string &flags = "") {
  static std::map<std::string, exe::Executable> known;
  std::string key = model + " " + std::to_string(ranks) + " " + flags;
  auto [it, isNew] = known.try_emplace(key);
  if (!isNew)
    return it->second;
  namespace fs = std::filesystem;
  fs::path folder = fs::path(TEST_MODELS) / model,
           file = fs::temp_directory_path() / ("proof-" + std::to_string(getpid()) + ".commx");
  std::string command = std::string(TEST_COMMC) + " '" + (folder / "model.onnx").string() +
                        "' --devices=cpu:" + std::to_string(ranks) + " " + flags;
  for (const char *name : {"inputs.npz", "inputs_0.npz", "inputs_1.npz", "inputs_2.npz"})
    if (fs::exists(folder / name))
      command += " '--shapes-from=@" + (folder / name).string() + "'";
  command += " -o '" + file.string() + "' > /dev/null 2>&1";
  EXPECT_EQ(std::system(command.c_str()), 0) << command;
  std::ifstream in(file, std::ios::binary);
  std::vector<uint8_t> bytes(std::istreambuf_iterator<char>(in), {});
  std::string error;
  EXPECT_TRUE(exe::readExecutable(bytes.data(), bytes.size(), it->second, error)) << key << ": " << error;
  fs::remove(file);
  return it->second;
}

} // namespace comm::proof
