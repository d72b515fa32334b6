//===- StopText.cpp - text up to a stop word ------------------------------===//
#include "StopText.h"
#include <algorithm>

namespace commrun {

std::string StopText::append(const std::string &piece) {
  if (found)
    return "";
  held += piece;
  size_t first = std::string::npos, keep = 0;
  for (const std::string &word : words) {
    first = std::min(first, held.find(word));
    for (size_t n = std::min(held.size(), word.size()); n > keep; --n)
      if (held.compare(held.size() - n, n, word, 0, n) == 0)
        keep = n;
  }
  found = first != std::string::npos;
  std::string out = held.substr(0, found ? first : held.size() - keep);
  held.erase(0, found ? held.size() : out.size());
  return out;
}

std::string StopText::end() {
  std::string out;
  out.swap(held);
  return out;
}

} // namespace commrun
