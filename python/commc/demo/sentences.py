"""Sentences to token ids and sentence vectors to a similarity matrix."""

from __future__ import annotations

from pathlib import Path

import numpy as np

MAX_TOKENS = 128  # longer sentences are cut, as the published tokenizer does
DEFAULT = [
    "The cat sat quietly on the warm windowsill.",
    "A kitten was resting beside a sunny window.",
    "Stock markets fell sharply after the announcement.",
    "Shares dropped when the news came out.",
    "She is learning to play the violin.",
    "Two ranks exchange halves of a tensor while a third one waits.",
]


def encode(tokenizer_json: Path, sentences: list[str], multiple: int = 8) -> dict[str, np.ndarray]:
    """input_ids, attention_mask and token_type_ids, int64 [sentences, tokens], padded to a multiple of `multiple` tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.enable_truncation(MAX_TOKENS)
    tokenizer.enable_padding(pad_to_multiple_of=multiple)
    encoded = tokenizer.encode_batch(sentences)
    fields = {"input_ids": "ids", "attention_mask": "attention_mask", "token_type_ids": "type_ids"}
    return {name: np.array([getattr(item, field) for item in encoded], np.int64) for name, field in fields.items()}


def similarity(vectors: np.ndarray) -> np.ndarray:
    """Cosine of every pair of the rows of `vectors` [sentences, size], which have length 1."""
    return vectors @ vectors.T


def similarity_text(sentences: list[str], vectors: np.ndarray) -> str:
    """The matrix with numbered rows, then the closest other sentence of each."""
    matrix = similarity(vectors)
    lines = ["     " + "".join(f"{i:7d}" for i in range(len(sentences)))]
    for i, row in enumerate(matrix):
        lines.append(f"{i:4d} " + "".join(f"{value:7.3f}" for value in row) + f"  {_short(sentences[i])}")
    if len(sentences) > 1:
        np.fill_diagonal(matrix, -np.inf)
        i, j = np.unravel_index(np.argmax(matrix), matrix.shape)
        lines.append(f"closest pair: {min(i, j)} and {max(i, j)} ({matrix[i, j]:.3f})")
    return "\n".join(lines)


def _short(text: str, width: int = 64) -> str:
    return text if len(text) <= width else text[:width - 3] + "..."
