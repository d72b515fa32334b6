//===- StopText.h - text up to a stop word ----------------------*- C++ -*-===//
#pragma once
#include <string>
#include <vector>

namespace commrun {

/// Lets text through that comes in pieces, up to the first of some stop words, whatever pieces they are spread over.
/// What may become a stop word is held back.
class StopText {
public:
  explicit StopText(std::vector<std::string> words) : words(std::move(words)) {}
  /// What can be shown now. After a stop word nothing is.
  std::string append(const std::string &piece);
  /// The text has ended: what was held back.
  std::string end();
  bool stopped() const { return found; }

private:
  const std::vector<std::string> words;
  std::string held;
  bool found = false;
};

} // namespace commrun
