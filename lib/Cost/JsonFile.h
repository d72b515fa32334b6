//===- JsonFile.h - reading JSON files of unknown origin (private) *- C++ -*-===//
#pragma once
#include <nlohmann/json.hpp>
#include <string>

namespace comm::cost {

using Json = nlohmann::json;
using OrderedJson = nlohmann::ordered_json;

/// The file as JSON; at most 64 MiB and 32 levels. False and what is wrong with it in `error`.
bool readJsonFile(const std::string &path, Json &out, std::string &error);
/// Printable, at most 80 bytes.
std::string shorten(const std::string &);
/// Six significant digits.
std::string numberText(double);

} // namespace comm::cost
