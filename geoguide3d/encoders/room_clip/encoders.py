"""RoomCLIP as the rest of the library uses it: one encoder for images, one for prompts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from geoguide3d.encoders.room_clip.networks import RoomClip, RoomClipConfig
from geoguide3d.encoders.room_clip.vocabulary import Vocabulary, split_words
from geoguide3d.encoders.room_clip.weights import read_room_clip
from geoguide3d.ops.devices import usable_device
from geoguide3d.store.cache import content_key

TEXT_SPACE = "roomclip-1"


class RoomClipImageEncoder:
    """Gives every pixel of an image a unit vector of the space "roomclip-1" (see ImageEncoder).

    Args:
        model: both networks.
        config: their sizes.
        device: where images are encoded and where the maps stay.
    """

    text_space = TEXT_SPACE
    reads_images = True

    def __init__(self, model: RoomClip, config: RoomClipConfig, device: str | torch.device = "cpu") -> None:
        self.channels = config.channels
        self._pixels = config.image_pixels
        self._device = usable_device(device)
        self._network = model.image.to(self._device).eval()

    @classmethod
    def load(cls, weights: Path | None = None, device: str | torch.device = "cpu") -> RoomClipImageEncoder:
        """Returns the encoder of a weights file, by default of the embedded one."""
        model, config, _ = read_room_clip(weights)
        return cls(model, config, device)

    @torch.no_grad()
    def encode_images(self, images: Sequence[Tensor | None], names: Sequence[str]) -> list[Tensor]:
        """Returns one (h, w, C) float32 map of unit vectors per image, at about a quarter of 160 × 120 pixels.

        Every image is resampled (aspect kept) to the size RoomCLIP was trained at and encoded on its own, so the
        others of the batch do not change its map.

        Raises:
            ValueError: an image that is missing or not (H, W, 3) uint8.
        """
        maps = []
        for image, name in zip(images, names, strict=True):
            if image is None or image.ndim != 3 or image.shape[2] != 3 or image.dtype != torch.uint8:
                found = "none" if image is None else f"{tuple(image.shape)} {image.dtype}"
                raise ValueError(f"{name}: RoomCLIP needs an image of (H, W, 3) uint8, got {found}")
            pixels = image.to(self._device).permute(2, 0, 1)[None].float() / 255.0
            features = self._network(F.interpolate(pixels, self._size(image), mode="bilinear", antialias=True))
            maps.append(F.normalize(features[0].permute(1, 2, 0), dim=2))
        return maps

    def content(self, names: Sequence[str]) -> str:
        """Returns a key of the network's weights; the names say nothing of the answers."""
        return content_key({"pixels": str(self._pixels), **self._network.state_dict()})

    def _size(self, image: Tensor) -> tuple[int, int]:
        height, width = image.shape[:2]
        scale = (self._pixels / (height * width)) ** 0.5
        return max(2, 2 * round(height * scale / 2)), max(2, 2 * round(width * scale / 2))


class RoomClipTextEncoder:
    """Gives a prompt a unit vector of the space "roomclip-1" (see TextEncoder).

    Args:
        model: both networks.
        config: their sizes.
        vocabulary: the words that training showed.
        device: where prompts are encoded and where the vectors stay.
    """

    text_space = TEXT_SPACE

    def __init__(
        self, model: RoomClip, config: RoomClipConfig, vocabulary: Vocabulary, device: str | torch.device = "cpu"
    ) -> None:
        self.channels = config.channels
        self.relevant_cosine: float | None = model.relevant_cosine()
        self.vocabulary = vocabulary
        self._max_words = config.max_words
        self._device = usable_device(device)
        self._network = model.text.to(self._device).eval()

    @classmethod
    def load(cls, weights: Path | None = None, device: str | torch.device = "cpu") -> RoomClipTextEncoder:
        """Returns the encoder of a weights file, by default of the embedded one."""
        model, config, vocabulary = read_room_clip(weights)
        return cls(model, config, vocabulary, device)

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """Returns (K, C) float32 unit rows; one UserWarning names the words that training never showed.

        Raises:
            ValueError: no prompt at all, or a prompt without any word.
        """
        if len(prompts) == 0:
            raise ValueError("no prompts given; RoomCLIP needs at least one")
        texts = [split_words(prompt) for prompt in prompts]
        for prompt, words in zip(prompts, texts, strict=True):
            if not words:
                raise ValueError(f"prompt {prompt!r} holds no word; say what to look for, e.g. 'a red chair'")
        self._warn(texts)
        with torch.no_grad():
            vectors: Tensor = self._network(self.vocabulary.ids(texts, self._max_words).to(self._device))
        return vectors

    def _warn(self, texts: Sequence[Sequence[str]]) -> None:
        unknown = dict.fromkeys(word for words in texts for word in words if word not in self.vocabulary)
        if unknown:
            listed = ", ".join(f"'{word}'" for word in unknown)
            warnings.warn(
                f"RoomCLIP never saw the words {listed}: answers to them mean nothing; it knows "
                f"{len(self.vocabulary) - 2} words of furnished rooms (docs/room_clip.md)",
                UserWarning,
                stacklevel=3,
            )
        longest = max(texts, key=len)
        if len(longest) > self._max_words:
            warnings.warn(
                f"RoomCLIP reads the first {self._max_words} words of a prompt, and '{' '.join(longest)}' has "
                f"{len(longest)}",
                UserWarning,
                stacklevel=3,
            )
