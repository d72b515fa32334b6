# Sourced by the shell entry points: numbered words for what happens, with the time it took.
# shellcheck shell=bash

# The top of the tree, and where logs of quiet steps go.
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
logs=$top/.cache/logs

# die CODE SENTENCE: one sentence to the user, then out.
die() {
  echo "error: $2" >&2
  exit "$1"
}

# step WORD SENTENCE COMMAND...: says the sentence, runs the command quietly, says how long it took; shows the log if it fails.
step() {
  local word=$1 sentence=$2 start=$SECONDS
  shift 2
  mkdir -p "$logs"
  printf '[%s] %s ...\n' "$word" "$sentence"
  if ! "$@" >"$logs/$word.log" 2>&1; then
    tail -n 40 "$logs/$word.log" >&2
    die 1 "step '$word' failed; the whole log is in $logs/$word.log"
  fi
  printf '[%s] done in %d s\n' "$word" $((SECONDS - start))
}

# loud WORD SENTENCE COMMAND...: the same for steps whose own output is the progress (and the closing) to look at.
loud() {
  local word=$1 sentence=$2 start=$SECONDS
  shift 2
  printf '[%s] %s ...\n' "$word" "$sentence"
  "$@" || die 1 "step '$word' failed"
  printf '[%s] done in %d s\n' "$word" $((SECONDS - start))
}
