//===- GenerateFlags.cpp - the flags of --generate ------------------------===//
#include "GenerateFlags.h"
#include "Tensor.h"
#include <climits>

namespace commrun {
namespace {
const char *const own[] = {"--prompt", "--prompt-ids", "--tokenizer", "--python", "--max-tokens", "--temperature",
                           "--top-k",  "--top-p",      "--seed",      "--eos",    "--ignore-eos", "--stop"};
const char *const foreign[] = {"--input",  "--no-chain", "--chain", "--random-seed", "--entry",  "--save-outputs",
                               "--expect", "--verify",   "--bench", "--iterations",  "--warmup", "--trace"};

[[noreturn]] void usage(const std::string &text, const std::string &advice) { throw Failure{2, "E201", text, advice}; }
} // namespace

GenerateFlags::GenerateFlags(CLI::App &app) {
  auto add = [&](const char *name, auto &target, const char *text, const char *type) {
    return app.add_option(name, target, text)->type_name(type)->group("Generating");
  };
  app.add_flag("--generate", on, "continue a prompt with a language model that has a cache")->group("Generating");
  add("--prompt", prompt, "text to continue; needs --tokenizer", "TEXT");
  add("--prompt-ids", options.promptIds, "tokens to continue, as numbers", "N,N,...")
      ->delimiter(',')
      ->check(CLI::Range(int64_t(0), int64_t(INT_MAX)));
  add("--tokenizer", options.tokenizer, "tokenizer.json of Hugging Face's tokenizers, or its folder", "PATH");
  add("--python", options.python, "interpreter that has the package tokenizers (default: found)", "PATH");
  add("--max-tokens", options.maxTokens, "most tokens to generate", "N")
      ->check(CLI::Range(int64_t(1), int64_t(INT_MAX)));
  add("--temperature", options.sampling.temperature, "0: always the most likely token; else how evenly to choose", "T")
      ->check(CLI::Range(0.0, 1000.0));
  add("--top-k", options.sampling.topK, "choose among so many of the most likely tokens; 0: all", "K")
      ->check(CLI::Range(int64_t(0), int64_t(INT_MAX)));
  add("--top-p", options.sampling.topP, "of these only the most likely ones with this share of the probability", "P")
      ->check(CLI::Range(1e-9, 1.0));
  add("--seed", options.sampling.seed, "of the choice; the same seed, the same text", "N");
  add("--eos", options.eos, "tokens that end the text (default: from the files beside the tokenizer)", "N,N,...")
      ->delimiter(',')
      ->check(CLI::Range(int64_t(0), int64_t(INT_MAX)));
  app.add_flag("--ignore-eos", options.ignoreEos, "no token ends the text")->group("Generating");
  add("--stop", options.stop, "text that ends the generation and is left out; repeatable", "TEXT")
      ->allow_extra_args(false);
}

std::optional<GenerateOptions> GenerateFlags::read(const CLI::App &app) const {
  auto given = [&](const char *name) { return app.get_option(name)->count() > 0; };
  if (!on) {
    for (const char *name : own)
      if (given(name))
        usage(std::string(name) + " goes with --generate", "commrun --help");
    return std::nullopt;
  }
  for (const char *name : foreign)
    if (given(name))
      usage(std::string(name) + " does not go with --generate", "commrun --help");
  GenerateOptions o = options;
  if (given("--prompt"))
    o.prompt = prompt;
  if (o.prompt.has_value() == !o.promptIds.empty())
    usage("--generate takes one of --prompt and --prompt-ids", "--prompt 'Once upon a time' --tokenizer folder");
  if (o.tokenizer.empty() && (o.prompt || !o.stop.empty()))
    usage(std::string(o.prompt ? "--prompt" : "--stop") + " needs --tokenizer", "--tokenizer folder");
  if (o.sampling.temperature == 0 && (given("--top-k") || given("--top-p") || given("--seed")))
    usage("--top-k, --top-p and --seed need a --temperature: without one the most likely token is taken",
          "--temperature=1");
  if (o.ignoreEos && !o.eos.empty())
    usage("--eos does not go with --ignore-eos", "leave one out");
  for (const std::string &text : o.stop)
    if (text.empty())
      usage("--stop: the text is empty", "leave it out");
  return o;
}

} // namespace commrun
