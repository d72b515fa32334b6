//===- Tokenizer.h - text to tokens and back --------------------*- C++ -*-===//
#pragma once
#include <cstdint>
#include <string>
#include <sys/types.h>
#include <vector>

namespace commrun {

/// A process of Hugging Face's tokenizers library (`python -m commc.tokenizer`) that is asked in lines of JSON. It ends
/// with this object. Every call throws Failure with one sentence.
class Tokenizer {
public:
  /// `path`: tokenizer.json or its folder. `python`: the interpreter; empty: that of the project's environment beside
  /// this program, else python3.
  Tokenizer(const std::string &path, const std::string &python);
  ~Tokenizer();
  Tokenizer(const Tokenizer &) = delete;

  std::vector<int64_t> encode(const std::string &text);
  /// Text that generated tokens follow on these.
  void begin(const std::vector<int64_t> &prompt);
  /// What is certain now that this token has come; empty within a character of several tokens.
  std::string append(int64_t token);
  /// What is left: bytes that are no whole character.
  std::string end();
  /// Tokens that end a text, by the files beside the tokenizer.
  const std::vector<int64_t> &endTokens() const { return eos; }

private:
  /// One line there, one line back.
  std::string ask(const std::string &request);
  void stop();
  bool readLine(std::string &line);
  pid_t process = -1;
  int socket = -1;
  std::string pending;
  std::vector<int64_t> eos;
};

} // namespace commrun
