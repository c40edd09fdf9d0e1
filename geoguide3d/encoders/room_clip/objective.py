"""What RoomCLIP is trained for: every sentence is told, pixel by pixel, whether it is true.

The sigmoid loss of SigLIP (Zhai et al. 2023, equation 1) between sampled pixels and captions, with its learned scale
and bias, so that one cosine parts true from false; positives are all pairs where the caption is true of the object.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from geoguide3d.encoders.room_clip.captions import Attributes, Caption, CaptionWriter
from geoguide3d.encoders.room_clip.networks import RoomClip


@dataclass(frozen=True)
class Sampling:
    """How much of a batch the loss looks at.

    Args:
        captions: captions drawn per step.
        pixels_per_object: pixels per visible object, so that small things count.
        pixels_per_image: further pixels from anywhere in an image, so that the whole of large things is seen.
    """

    captions: int = 128
    pixels_per_object: int = 6
    pixels_per_image: int = 48


def sample_pixels(objects: Tensor, sampling: Sampling, generator: torch.Generator) -> Tensor:
    """Returns the flat indices of the pixels that the loss looks at: an equal number per object, and some anywhere.

    Args:
        objects: (B, h, w) int64 object of each pixel, -1 none; the same object in two images counts twice.
        generator: of the CPU.
    """
    images = torch.arange(len(objects)).view(-1, 1, 1) * (int(objects.max()) + 2)
    groups = torch.where(objects < 0, -1, objects + images).flatten()
    chance = torch.rand(len(groups), generator=generator, dtype=torch.float64)
    order = (groups + chance).argsort()
    ordered = groups[order]
    starts = torch.searchsorted(ordered, ordered)
    first = torch.zeros(len(groups), dtype=torch.bool)
    first[order] = torch.arange(len(groups)) - starts < sampling.pixels_per_object
    anywhere = torch.rand(len(groups), generator=generator) < sampling.pixels_per_image / objects[0].numel()
    return ((groups >= 0) & (first | anywhere)).nonzero()[:, 0]


def draw_captions(things: Sequence[Attributes], writer: CaptionWriter, count: int, rng: random.Random) -> list[Caption]:
    """Returns captions of random objects, every category equally often; repeated texts are drawn once."""
    by_category: dict[str, list[Attributes]] = {}
    for thing in things:
        by_category.setdefault(thing.category, []).append(thing)
    categories = sorted(by_category)
    drawn = (writer.write(rng.choice(by_category[rng.choice(categories)]), rng) for _ in range(count))
    return list({caption.text: caption for caption in drawn}.values())


def sigmoid_loss(model: RoomClip, pixels: Tensor, texts: Tensor, truth: Tensor) -> Tensor:
    """Returns the mean over pixels of the summed binary cross entropy over captions, a scalar.

    Args:
        model: for its scale and bias.
        pixels: (N, C) features of the image network, of any length.
        texts: (K, C) unit vectors of the text network.
        truth: (N, K) bool, whether caption k is true of what pixel n shows.
    """
    cosines = F.normalize(pixels.float(), dim=1) @ texts.float().T
    logits = model.log_scale.exp() * cosines + model.bias
    return F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="sum") / len(pixels)
