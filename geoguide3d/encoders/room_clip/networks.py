"""The two networks of RoomCLIP: pixels → vectors and words → vectors of one space."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class RoomClipConfig:
    """Sizes of both networks.

    Args:
        channels: C, width of the shared space.
        stages: channels of the image network at strides 2, 4, 8 and 16.
        image_pixels: area to which an image is resampled (aspect kept) before the network sees it.
        text_width: width of the text transformer.
        text_layers: its depth.
        text_heads: its attention heads.
        max_words: words of a prompt that are read.
    """

    channels: int = 96
    stages: tuple[int, int, int, int] = (24, 48, 96, 144)
    image_pixels: int = 144 * 108
    text_width: int = 128
    text_layers: int = 2
    text_heads: int = 4
    max_words: int = 16


class RoomClip(nn.Module):
    """Both networks and the calibration of their cosines: P(text is true of pixel) = sigmoid(scale · cos + bias)."""

    def __init__(self, config: RoomClipConfig, word_count: int) -> None:
        super().__init__()
        self.image = ImageNetwork(config)
        self.text = TextNetwork(config, word_count)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))
        self.bias = nn.Parameter(torch.tensor(-5.0))

    def relevant_cosine(self) -> float:
        """Returns the cosine at which a text is as likely true as false."""
        return (-self.bias / self.log_scale.exp()).item()


class ImageNetwork(nn.Module):
    """A small U-Net: four strides down for context, three back up for outlines."""

    def __init__(self, config: RoomClipConfig) -> None:
        super().__init__()
        half, quarter, eighth, sixteenth = config.stages
        self.down2 = nn.Sequential(*_convolution(3, half, stride=2))
        self.down4 = nn.Sequential(*_convolution(half, quarter, stride=2), _Residual(quarter))
        self.down8 = nn.Sequential(*_convolution(quarter, eighth, stride=2), _Residual(eighth), _Residual(eighth))
        self.down16 = nn.Sequential(
            *_convolution(eighth, sixteenth, stride=2), _Residual(sixteenth), _Residual(sixteenth)
        )
        self.up8 = _Up(sixteenth, eighth, _Residual(eighth))
        self.up4 = _Up(eighth, quarter, _Residual(quarter))
        fine = (half + quarter) // 2
        self.up2 = _Up(quarter, fine, nn.Sequential(*_convolution(fine, fine)), skip=half)
        self.head = nn.Conv2d(fine, config.channels, 1)

    def forward(self, images: Tensor) -> Tensor:
        """Returns (B, C, ⌈H/2⌉, ⌈W/2⌉) features of (B, 3, H, W) RGB images in [0, 1], any size; not normalised."""
        half = self.down2(images * 4.0 - 2.0)
        quarter = self.down4(half)
        eighth = self.down8(quarter)
        features = self.up8(self.down16(eighth), eighth)
        features = self.up4(features, quarter)
        output: Tensor = self.head(self.up2(features, half))
        return output


def _convolution(inputs: int, outputs: int, stride: int = 1) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return convolution, nn.BatchNorm2d(outputs), nn.ReLU()


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(*_convolution(channels, channels), *_convolution(channels, channels)[:-1])

    def forward(self, features: Tensor) -> Tensor:
        return F.relu(features + self.body(features))


class _Up(nn.Module):
    """Brings coarse features to the finer grid, adds what the way down knew there, and refines."""

    def __init__(self, inputs: int, outputs: int, refine: nn.Module, skip: int | None = None) -> None:
        super().__init__()
        self.coarse = nn.Conv2d(inputs, outputs, 1)
        self.fine = nn.Conv2d(skip or outputs, outputs, 1)
        self.refine = refine

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        raised = F.interpolate(self.coarse(coarse), size=fine.shape[-2:], mode="bilinear")
        refined: Tensor = self.refine(F.relu(raised + self.fine(fine)))
        return refined


class TextNetwork(nn.Module):
    """A pre-norm transformer over words; the vector of a text is the mean over its words, projected."""

    def __init__(self, config: RoomClipConfig, word_count: int) -> None:
        super().__init__()
        width = config.text_width
        self.words = nn.Embedding(word_count, width)
        self.places = nn.Parameter(torch.randn(config.max_words, width) * 0.1)
        self.layers = nn.ModuleList(_TransformerLayer(width, config.text_heads) for _ in range(config.text_layers))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Linear(width, config.channels)
        nn.init.normal_(self.words.weight, std=0.3)

    def forward(self, words: Tensor) -> Tensor:
        """Returns (K, C) unit vectors of (K, up to max_words) int64 word ids; 0 fills the rest of a short text."""
        present = words != 0
        features = self.words(words) + self.places[: words.shape[1]]
        for layer in self.layers:
            features = layer(features, present)
        weights = present[..., None].to(features.dtype)
        pooled = (self.norm(features) * weights).sum(1) / weights.sum(1)
        return F.normalize(self.head(pooled).float(), dim=1)


class _TransformerLayer(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.attention_out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 2 * width), nn.GELU(), nn.Linear(2 * width, width)
        )

    def forward(self, features: Tensor, present: Tensor) -> Tensor:
        texts, length, width = features.shape
        split = self.query_key_value(self.attention_norm(features)).view(texts, length, 3, self.heads, -1)
        query, key, value = split.permute(2, 0, 3, 1, 4)
        scores = (query @ key.transpose(2, 3)) * key.shape[-1] ** -0.5
        mixed = scores.masked_fill(~present[:, None, None, :], -torch.inf).softmax(3) @ value
        features = features + self.attention_out(mixed.transpose(1, 2).reshape(texts, length, width))
        refined: Tensor = features + self.feed_forward(features)
        return refined
