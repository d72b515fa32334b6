//===- Generate.cpp - text from a language model --------------------------===//
#include "Generate.h"
#include "Decoder.h"
#include "StopText.h"
#include "Tokenizer.h"
#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <unistd.h>

namespace commrun {
namespace {
volatile std::sig_atomic_t interrupts = 0;
bool interrupted() { return interrupts > 0; }

/// The first interrupt ends the text, the second the program.
void onInterrupt(int) {
  interrupts = interrupts + 1;
  if (interrupts > 1)
    ::_exit(130);
}

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

/// Where tokens go: text through the tokenizer and the stop words, or numbers.
class Output {
public:
  Output(Tokenizer *tokenizer, const GenerateOptions &o, bool show) : tokenizer(tokenizer), stop(o.stop), show(show) {}
  void token(int64_t id) {
    ids.push_back(id);
    if (tokenizer)
      add(stop.append(tokenizer->append(id)));
    else
      add((ids.size() > 1 ? "," : "") + std::to_string(id));
  }
  void end() {
    if (tokenizer && !stop.stopped()) {
      add(stop.append(tokenizer->end()));
      add(stop.end());
    }
    if (show)
      std::printf("\n");
  }
  bool stopped() const { return stop.stopped(); }
  std::vector<int64_t> ids;
  std::string text;

private:
  void add(const std::string &piece) {
    text += piece;
    if (!show || piece.empty())
      return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  }
  Tokenizer *tokenizer;
  StopText stop;
  const bool show;
};

/// What happened, in seconds.
struct Story {
  size_t prompt = 0, generated = 0;
  double first = 0, rest = 0; ///< until the first token; from there to the last
  std::string reason;
  double promptRate() const { return first > 0 ? static_cast<double>(prompt) / first : 0; }
  double rate() const { return rest > 0 ? static_cast<double>(generated - 1) / rest : 0; }
};

Story write(Decoder &decoder, const std::vector<int64_t> &prompt, const std::vector<int64_t> &eos,
            const GenerateOptions &o, Output &output) {
  Story story;
  story.prompt = prompt.size();
  Sampler sampler(o.sampling);
  double begin = now(), last = begin;
  const std::vector<float> *logits = &decoder.feed(prompt, interrupted);
  while (story.reason.empty()) {
    if (interrupted()) {
      story.reason = "interrupted";
      break;
    }
    int64_t token = sampler.next(*logits);
    last = now();
    if (++story.generated == 1)
      story.first = last - begin;
    story.rest = last - begin - story.first;
    if (std::find(eos.begin(), eos.end(), token) != eos.end()) {
      story.reason = "end token " + std::to_string(token);
      break;
    }
    output.token(token);
    if (output.stopped())
      story.reason = "stop text";
    else if (static_cast<int64_t>(output.ids.size()) >= o.maxTokens)
      story.reason = "max tokens";
    else if (!decoder.fits(1))
      story.reason = !decoder.full() ? "no entry takes a single token" : "cache full";
    else
      logits = &decoder.feed({token}, interrupted);
  }
  output.end();
  return story;
}

std::string jsonText(const Story &s, const Output &output, bool hasText, const std::vector<int64_t> &prompt,
                     const comm_session_stats &stats) {
  nlohmann::ordered_json out;
  if (hasText)
    out["text"] = output.text;
  out["ids"] = output.ids;
  out["prompt_ids"] = prompt;
  out["stopped_by"] = s.reason;
  out["time_to_first_token_ms"] = s.first * 1e3;
  out["prompt_tokens_per_s"] = s.promptRate();
  out["tokens_per_s"] = s.rate();
  out["ranks"] = stats.ranks;
  out["arena_bytes"] = stats.arena_bytes;
  out["weight_bytes"] = stats.weight_bytes;
  return out.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

std::vector<int64_t> promptOf(const GenerateOptions &o, Tokenizer *tokenizer) {
  std::vector<int64_t> prompt = o.prompt ? tokenizer->encode(*o.prompt) : o.promptIds;
  if (prompt.empty())
    throw Failure{2, "E201", "the prompt is empty: there is nothing to continue", "--prompt 'Once upon a time'"};
  if (tokenizer)
    tokenizer->begin(prompt);
  return prompt;
}
} // namespace

int generate(Options o) {
  const GenerateOptions &g = *o.generate;
  std::unique_ptr<Tokenizer> tokenizer;
  if (!g.tokenizer.empty())
    tokenizer = std::make_unique<Tokenizer>(g.tokenizer, g.python);
  std::vector<int64_t> prompt = promptOf(g, tokenizer.get());
  std::vector<int64_t> eos = g.ignoreEos || !g.eos.empty() || !tokenizer ? g.eos : tokenizer->endTokens();
  Executable exe(o.executable);
  Session session(exe, o, false);
  if (session.stats().rank != 0) // the first rank speaks for all
    o.quiet = true, o.json = false;
  Decoder decoder(exe, session, prompt);
  if (!decoder.fits(prompt.size()))
    throw Failure{2, "E206",
                  "the prompt has " + std::to_string(prompt.size()) +
                      " tokens, which the entries of the executable do "
                      "not take: there is room for " +
                      std::to_string(decoder.capacity()),
                  "compile entries with a longer past, and one that takes a single token"};
  std::signal(SIGINT, onInterrupt);
  Output output(tokenizer.get(), g, !o.json && session.stats().rank == 0);
  Story story = write(decoder, prompt, eos, g, output);
  if (o.json)
    std::printf("%s\n", jsonText(story, output, tokenizer != nullptr, prompt, session.stats()).c_str());
  else if (!o.quiet)
    std::fprintf(
        stderr, "%zu + %zu tokens  first after %.1f ms (prompt %.1f tokens/s)  then %.1f tokens/s  ended: %s\n",
        prompt.size(), output.ids.size(), story.first * 1e3, story.promptRate(), story.rate(), story.reason.c_str());
  if (story.reason == "cache full" && !o.quiet)
    std::fprintf(stderr, "note: the cache is full with %lld tokens: compile entries with a longer past to go on\n",
                 static_cast<long long>(decoder.used()));
  return interrupted() ? 130 : 0;
}

} // namespace commrun
