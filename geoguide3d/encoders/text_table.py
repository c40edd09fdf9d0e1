"""Text vectors from a file: words without a text network."""

from __future__ import annotations

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from geoguide3d.encoders.prompts import without_article


@dataclass(frozen=True)
class TextTableSettings:
    """Where a table of text vectors lies and what it is a table of.

    Args:
        path: .npz file with `names` (K,) and `embeddings` (K, C); relative to the working folder.
        text_space: id of the space, for files that do not say it themselves (an entry `text_space`).
        open_clip_model: the "name/pretrained" of open_clip that answers words the table does not list.
        background: a further word that stands for the mean of all listed vectors; "" for none.
    """

    path: str = ""
    text_space: str = "clip-vit-b-32/openai"
    open_clip_model: str = "ViT-B-32-quickgelu/openai"
    background: str = "background"


class TextTable:
    """A text encoder that answers the words of a list.

    Words are compared without regard to case, surplus space and a leading article. Of names listed twice the first
    counts.

    Args:
        names: the words, as they are to be shown.
        vectors: (K, C), one per word, any length but 0.
        settings: see TextTableSettings; its path is not read.
    """

    relevant_cosine: float | None = None  # the cosines of CLIP have no natural zero: 0.6 to 0.95 between any two words

    def __init__(self, names: Sequence[str], vectors: Tensor, settings: TextTableSettings) -> None:
        if vectors.ndim != 2 or len(names) != len(vectors) or len(names) == 0:
            raise ValueError(f"a text table needs one vector per name, got {len(names)} and {tuple(vectors.shape)}")
        self.settings = settings
        self.text_space = settings.text_space
        self.names = list(names)
        self._as_given = vectors  # what is saved, so that a copy of a table answers with the same bits
        self.vectors = torch.nn.functional.normalize(vectors.to(torch.float32), dim=1)
        self.channels = self.vectors.shape[1]
        self._rows = {_key(name): row for row, name in reversed(list(enumerate(self.names)))}

    @classmethod
    def load(cls, settings: TextTableSettings) -> TextTable:
        """Returns the table in settings.path.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: it is no .npz, lacks an entry, or is of another text space.
        """
        path = Path(settings.path)
        if not path.is_file():
            raise FileNotFoundError(f"text table {path}: no such file (relative paths start at {Path.cwd()})")
        try:
            with np.load(path, allow_pickle=False) as file:
                content = {name: file[name] for name in file.files}
            names, vectors = [str(name) for name in content["names"]], torch.from_numpy(content["embeddings"])
        except (BadZipFile, ValueError, KeyError, OSError) as error:
            raise ValueError(f"text table {path}: not an .npz with `names` and `embeddings` ({error})") from None
        space = str(content.get("text_space", settings.text_space))
        if space != settings.text_space:
            raise ValueError(f"text table {path}: its text space is {space}, not {settings.text_space}")
        return cls(names, vectors, settings)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the table, its text space included, as an .npz that `load` reads."""
        np.savez(
            Path(path),
            names=np.array(self.names),
            embeddings=self._as_given.numpy(),
            text_space=np.array(self.text_space),
        )

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Returns (K, C) float32 unit rows, one per prompt.

        Raises:
            ValueError: an empty prompt, or one that is not listed, with the five nearest that are.
        """
        return torch.stack([self._vector(prompt) for prompt in prompts])

    def _vector(self, prompt: str) -> Tensor:
        key = _key(prompt)
        if not key:
            raise ValueError("a prompt is empty; write what you are looking for, for instance 'a chair'")
        if key in self._rows:
            return self.vectors[self._rows[key]]
        if key == _key(self.settings.background):
            return torch.nn.functional.normalize(self.vectors.mean(dim=0), dim=0)
        raise ValueError(
            f"{prompt!r} is not among the {len(self._rows)} words of the text table; nearest are {self._nearest(key)}. "
            f"Any words are answered by the text encoder of open_clip's {self.settings.open_clip_model}"
        )

    def _nearest(self, key: str) -> str:
        close = difflib.get_close_matches(key, self._rows, n=5, cutoff=0.0)
        return ", ".join(repr(self.names[self._rows[name]]) for name in close)

    def to_config(self, path: str) -> dict[str, Any]:
        """Returns the settings as JSON values, for a copy of the table at path."""
        return {**vars(self.settings), "path": path}


def _key(prompt: str) -> str:
    return without_article(prompt).lower()
