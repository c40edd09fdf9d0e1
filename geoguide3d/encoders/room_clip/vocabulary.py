"""The words RoomCLIP has seen, and how a prompt becomes their ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

PADDING, UNKNOWN = "<padding>", "<unknown>"
_WORD = re.compile(r"<unknown>|[^\W_]+")


def split_words(text: str) -> list[str]:
    """Returns the lower-case words of a text; everything else (spaces, hyphens, punctuation) only separates them."""
    return _WORD.findall(text.lower())


class Vocabulary:
    """Words and their ids; 0 is padding, 1 stands for every word that training never showed.

    Args:
        words: the words, without the two special ones; sorted here, so that a set gives the same ids every time.
    """

    def __init__(self, words: Iterable[str]) -> None:
        self.words = (PADDING, UNKNOWN, *sorted(set(words) - {PADDING, UNKNOWN}))
        self._ids = {word: index for index, word in enumerate(self.words)}

    def __len__(self) -> int:
        return len(self.words)

    def __contains__(self, word: object) -> bool:
        return word in self._ids

    @classmethod
    def read(cls, path: Path) -> Vocabulary:
        """Reads a vocabulary file: one word per line."""
        return cls(path.read_text(encoding="utf-8").split())

    def as_text(self) -> str:
        """Returns the content of a vocabulary file."""
        return "".join(f"{word}\n" for word in self.words[2:])

    def ids(self, texts: Sequence[Sequence[str]], max_words: int) -> Tensor:
        """Returns (K, longest text) int64 ids of texts given as words; words past max_words are left out."""
        unknown = self._ids[UNKNOWN]
        kept = [[self._ids.get(word, unknown) for word in words[:max_words]] for words in texts]
        rows = torch.zeros(len(kept), max(map(len, kept)), dtype=torch.int64)
        for row, ids in zip(rows, kept, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.int64)
        return rows
