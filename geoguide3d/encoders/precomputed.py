"""A teacher from files: class probabilities of any 2D network, turned into vectors of a text space."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from geoguide3d.encoders.protocols import TextEncoder
from geoguide3d.store.cache import content_key


@dataclass(frozen=True)
class PrecomputedSettings:
    """Where a 2D network's class probabilities lie, as paths relative to each scene's folder.

    Args:
        folder: holds one <view>.npz per view.
        key: name of the entry in these files: uint8 (K, h, w), probability × 255, or float (K, h, w).
        classes: JSON object, class name → words for it, in the order of the K classes.
    """

    folder: str = "probabilities"
    key: str = "probabilities"
    classes: str = "classes.json"


class PrecomputedTeacher:
    """An image encoder that looks its answers up: Σ over classes of probability × text vector of the class.

    Args:
        folder: holds one <view>.npz per view.
        words: what each class is called, in the order of the files' classes.
        text: gives the words their vectors; it fixes the text space.
        key: name of the entry in the files.
    """

    reads_images = False

    def __init__(self, folder: Path, words: Sequence[str], text: TextEncoder, key: str = "probabilities") -> None:
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{folder}: no such folder; it should hold one .npz of class probabilities per view"
            )
        self.folder, self.key = folder, key
        self.channels, self.text_space = text.channels, text.text_space
        self._vectors = text.encode_text(words)  # (K, C)

    @classmethod
    def load(cls, scene_folder: Path, settings: PrecomputedSettings, text: TextEncoder) -> PrecomputedTeacher:
        """Returns the teacher of one scene.

        Raises:
            FileNotFoundError: the folder or the class file is missing.
            ValueError: the class file is not an object of strings, or the text encoder does not know a word.
        """
        path = scene_folder / settings.classes
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; it should map class names to words, in the classes' order")
        try:
            classes = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{path}: not JSON ({error})") from None
        if not isinstance(classes, dict) or not classes or not all(isinstance(word, str) for word in classes.values()):
            raise ValueError(f'{path}: expected an object of class name to words, such as {{"sofa": "couch"}}')
        return cls(scene_folder / settings.folder, list(classes.values()), text, settings.key)

    def encode_images(self, images: Sequence[Tensor | None], names: Sequence[str]) -> list[Tensor]:
        """Returns one (h, w, C) float32 map per name, in the files' resolution; images are not looked at.

        Raises:
            FileNotFoundError: a view has no file.
            ValueError: a file is damaged or of another number of classes.
        """
        return [self._read(name).to(torch.float32).permute(1, 2, 0) @ self._vectors for name in names]

    def content(self, names: Sequence[str]) -> str:
        """Returns a key of the probabilities of these views and of the classes' vectors.

        Raises:
            FileNotFoundError, ValueError: as `encode_images`.
        """
        views = {f"view {name}": content_key({"probabilities": self._read(name)}) for name in names}
        return content_key({"vectors": self._vectors, **views})

    def _read(self, name: str) -> Tensor:
        """Returns (K, h, w) probabilities."""
        path = self.folder / f"{name}.npz"
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such file; every view needs one (view {name!r})")
        try:
            with np.load(path, allow_pickle=False) as file:
                probabilities = torch.from_numpy(file[self.key])
        except (BadZipFile, ValueError, KeyError, OSError, EOFError) as error:
            raise ValueError(f"{path}: not an .npz with an entry {self.key!r} ({error})") from None
        if probabilities.ndim != 3 or len(probabilities) != len(self._vectors):
            raise ValueError(
                f"{path}: expected ({len(self._vectors)}, h, w), one plane per class, got {tuple(probabilities.shape)}"
            )
        return probabilities / 255 if probabilities.dtype == torch.uint8 else probabilities
