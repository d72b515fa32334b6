//===- Tokenizer.cpp - text to tokens and back ----------------------------===//
#include "Tokenizer.h"
#include "Tensor.h"
#include <cerrno>
#include <climits>
#include <csignal>
#include <cstring>
#include <fcntl.h>
#include <nlohmann/json.hpp>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

namespace commrun {
namespace {
using Json = nlohmann::json;

std::string dumped(const Json &json) { return json.dump(-1, ' ', false, Json::error_handler_t::replace); }

/// The tree that this program was built in or installed to, when the package lies there; else empty.
std::string packageRoot() {
  char path[PATH_MAX];
  ssize_t n = ::readlink("/proc/self/exe", path, sizeof path - 1);
  std::string folder(path, n > 0 ? static_cast<size_t>(n) : 0);
  for (size_t slash = folder.rfind('/'); slash != std::string::npos && slash > 0; slash = folder.rfind('/')) {
    folder.resize(slash);
    if (::access((folder + "/python/commc/tokenizer.py").c_str(), R_OK) == 0)
      return folder;
  }
  return "";
}
} // namespace

Tokenizer::Tokenizer(const std::string &path, const std::string &given) {
  std::string root = packageRoot(), own = root + "/.venv/bin/python",
              python = !given.empty()                                      ? given
                       : !root.empty() && ::access(own.c_str(), X_OK) == 0 ? own
                                                                           : "python3";
  std::string packages = root.empty() ? "" : root + "/python";
  if (const char *before = std::getenv("PYTHONPATH"); before && *before)
    packages += (packages.empty() ? "" : ":") + std::string(before);
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
    throw Failure{1, "E101", std::string("the tokenizer cannot be started: ") + std::strerror(errno)};
  process = ::fork();
  if (process == 0) {
    std::signal(SIGINT, SIG_IGN); // an interrupt at the terminal is ours; the process ends with its input
    int nothing = ::open("/dev/null", O_WRONLY | O_CLOEXEC);
    ::dup2(pair[1], 0);
    ::dup2(pair[1], 1);
    ::dup2(nothing, 2);
    ::setenv("PYTHONPATH", packages.c_str(), 1);
    ::execlp(python.c_str(), python.c_str(), "-m", "commc.tokenizer", path.c_str(), static_cast<char *>(nullptr));
    ::_exit(127);
  }
  ::close(pair[1]);
  socket = pair[0];
  std::string line;
  Json hello;
  if (process > 0 && readLine(line))
    hello = Json::parse(line, nullptr, false);
  std::string why = !hello.is_object() ? python + " -m commc.tokenizer does not answer: is there a Python with the "
                                                  "package commc?"
                    : hello.contains("error") ? hello["error"].get<std::string>()
                                              : "";
  if (!why.empty()) {
    stop();
    throw Failure{2, "E205", "tokenizer " + path + ": " + why,
                  "pip install tokenizers, name the interpreter that has it with --python, or give --prompt-ids"};
  }
  for (const Json &id : hello.value("eos", Json::array()))
    if (id.is_number_integer())
      eos.push_back(id.get<int64_t>());
}

Tokenizer::~Tokenizer() { stop(); }

void Tokenizer::stop() {
  if (socket >= 0)
    ::close(socket);
  socket = -1;
  if (process > 0) {
    while (::waitpid(process, nullptr, 0) < 0 && errno == EINTR) {
    }
    process = -1;
  }
}

bool Tokenizer::readLine(std::string &line) {
  for (;;) {
    if (size_t end = pending.find('\n'); end != std::string::npos) {
      line = pending.substr(0, end);
      pending.erase(0, end + 1);
      return true;
    }
    char chunk[4096];
    ssize_t n = ::read(socket, chunk, sizeof chunk);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      return false;
    pending.append(chunk, static_cast<size_t>(n));
  }
}

std::string Tokenizer::ask(const std::string &request) {
  std::string line = request + "\n";
  for (size_t done = 0; done < line.size();) {
    ssize_t n = ::send(socket, line.data() + done, line.size() - done, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR)
      continue;
    if (n <= 0)
      throw Failure{1, "E101", "the tokenizer process has ended"};
    done += static_cast<size_t>(n);
  }
  if (!readLine(line))
    throw Failure{1, "E101", "the tokenizer process has ended"};
  Json answer = Json::parse(line, nullptr, false);
  if (!answer.is_object())
    throw Failure{1, "E101", "the tokenizer process gave an answer that cannot be read"};
  if (answer.contains("error"))
    throw Failure{2, "E205", "tokenizer: " + answer["error"].get<std::string>()};
  return line;
}

std::vector<int64_t> Tokenizer::encode(const std::string &text) {
  return Json::parse(ask(dumped({{"encode", text}}))).at("ids").get<std::vector<int64_t>>();
}
void Tokenizer::begin(const std::vector<int64_t> &prompt) { ask(dumped({{"begin", prompt}})); }
std::string Tokenizer::append(int64_t token) {
  return Json::parse(ask(dumped({{"append", token}}))).at("text").get<std::string>();
}
std::string Tokenizer::end() { return Json::parse(ask(dumped({{"end", true}}))).at("text").get<std::string>(); }

} // namespace commrun
