"""What the rest of the library asks of a 2D image encoder and of a text encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor


@runtime_checkable
class ImageEncoder(Protocol):
    """A frozen network, or a folder of its outputs, that gives every pixel a vector of a text space.

    Attributes:
        channels: C, the width of the vectors.
        text_space: id of the space (e.g. "clip-vit-b-32/openai"); only equal ids may be compared.
        reads_images: False where the vectors come from files and the pixels need not be read.
    """

    channels: int
    text_space: str
    reads_images: bool

    def encode_images(self, images: Sequence[Tensor | None], names: Sequence[str]) -> list[Tensor]:
        """Returns one (h, w, C) channel-last map per view, un-normalised, in any resolution of the same field of view.

        Args:
            images: (H, W, 3) uint8 RGB each; None where `reads_images` is False.
            names: the views' names, for encoders that look their answer up.
        """
        ...


@runtime_checkable
class Teacher2D(ImageEncoder, Protocol):
    """An image encoder that can say whether it still answers as it did, so that answers may be kept."""

    def content(self, names: Sequence[str]) -> str:
        """Returns a key that changes whenever the answers for equal images of these views may.

        Raises:
            FileNotFoundError, ValueError: as `encode_images`, where answers come from files.
        """
        ...


@runtime_checkable
class TextEncoder(Protocol):
    """Turns prompts into unit vectors.

    Attributes:
        channels: C, the width of the vectors.
        text_space: id of the space; only equal ids may be compared.
        relevant_cosine: the cosine from which on a prompt is meant, where the training of the space fixed one.
    """

    channels: int
    text_space: str
    relevant_cosine: float | None

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Returns (K, C) float32 rows of unit length, one per prompt.

        Raises:
            ValueError: an empty prompt, or one that this encoder cannot answer (with the cure).
        """
        ...
