"""Text to tokens and back for `commrun --generate`, by Hugging Face's tokenizers library.

    python -m commc.tokenizer FOLDER|tokenizer.json

Speaks JSON, a line per message, on standard input and output. The first line out is {"vocab": N, "eos": [ids]}, or {"error": sentence}.
Then {"encode": text} is answered by {"ids": [...]}; {"begin": [prompt ids]} starts a text that {"append": id} continues, answered by
{"text": what is certain now}; {"end": true} gives the rest. A request that fails is answered by {"error": sentence}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def _read(path: Path) -> dict:
    """A JSON object from a file; empty when there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def end_tokens(folder: Path, token_to_id) -> list[int]:
    """Tokens that end a text: those of generation_config.json, else genai_config.json, config.json, tokenizer_config.json or special_tokens_map.json."""
    genai = _read(folder / "genai_config.json").get("model")
    for config in (_read(folder / "generation_config.json"), genai if isinstance(genai, dict) else {}, _read(folder / "config.json")):
        found = config.get("eos_token_id")
        found = found if isinstance(found, list) else [found]
        if ids := [i for i in found if isinstance(i, int) and not isinstance(i, bool)]:
            return ids
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        token = _read(folder / name).get("eos_token")
        token = token.get("content") if isinstance(token, dict) else token
        if isinstance(token, str) and (found := token_to_id(token)) is not None:
            return [found]
    return []


class Text:
    """Generated text as it grows: what a token adds is said as soon as its characters are whole.

    Decoders look at neighbours (a space before a word, bytes of one character), so what is new is the difference of two texts: of the
    tokens since the piece before the last one, with and without those that are not said yet.
    """

    def __init__(self, tokenizer, prompt: list[int]):
        self.tokenizer, self.ids = tokenizer, list(prompt)
        self.begin, self.said = max(0, len(self.ids) - 8), len(self.ids)

    def _new(self) -> str:
        known = self.tokenizer.decode(self.ids[self.begin:self.said])
        return self.tokenizer.decode(self.ids[self.begin:])[len(known):]

    def append(self, token: int) -> str:
        self.ids.append(token)
        piece = self._new()
        if not piece or piece.endswith("\ufffd"):  # nothing, or a character that is not whole yet
            return ""
        self.begin, self.said = self.said, len(self.ids)
        return piece

    def end(self) -> str:
        return self._new()


def answer(tokenizer, text: Text | None, request: dict) -> tuple[dict, Text | None]:
    """The answer to one request, and the text in progress after it."""
    if "encode" in request:
        return {"ids": tokenizer.encode(request["encode"]).ids}, text
    if "begin" in request:
        return {}, Text(tokenizer, request["begin"])
    if text is None:
        raise ValueError("no text was begun")
    if "append" in request:
        return {"text": text.append(request["append"])}, text
    if "end" in request:
        return {"text": text.end()}, text
    raise ValueError("an unknown request")


def main(argv: list[str]) -> int:
    def say(message: dict) -> None:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()

    if len(argv) != 1:
        say({"error": "usage: python -m commc.tokenizer FOLDER|tokenizer.json"})
        return 2
    path = Path(argv[0])
    path = path / "tokenizer.json" if path.is_dir() else path
    try:
        from tokenizers import Tokenizer
    except ImportError:
        say({"error": f"{sys.executable} has no package 'tokenizers'"})
        return 1
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        say({"error": f"{path} cannot be read ({error})" if path.exists() else f"there is no file {path}"})
        return 1
    say({"vocab": tokenizer.get_vocab_size(), "eos": end_tokens(path.parent, tokenizer.token_to_id)})
    text = None
    for line in sys.stdin:
        try:
            reply, text = answer(tokenizer, text, json.loads(line))
        except Exception as error:  # one bad request does not end the service
            reply = {"error": str(error) or type(error).__name__}
        say(reply)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
