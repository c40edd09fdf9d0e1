"""What RoomCLIP is trained for: every sentence is told, pixel by pixel, whether it is true.

Two losses between sampled pixels and captions, whose positives are all pairs where the caption is true of the object:
the sigmoid loss of SigLIP (Zhai et al. 2023), with its learned scale and bias, so that one cosine parts true from
false; and CLIP's contrast in both directions (Radford et al. 2021) of every true pair against the false ones, which
learns the rare names far sooner.
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
    pixels_per_object: int = 8
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


def balancing_weights(names: Sequence[str]) -> Tensor:
    """Returns (N,) weights with mean 1 that fall with the square root of how often a name occurs."""
    rows = {name: row for row, name in enumerate(dict.fromkeys(names))}
    ids = torch.tensor([rows[name] for name in names])
    weights = torch.bincount(ids).float().rsqrt()[ids]
    return weights / weights.mean()


def caption_loss(model: RoomClip, pixels: Tensor, texts: Tensor, truth: Tensor, weights: Tensor) -> Tensor:
    """Returns how badly pixels and captions know what is true, a scalar: the sigmoid loss and both contrasts.

    Args:
        model: for its scale and bias.
        pixels: (N, C) features of the image network, of any length.
        texts: (K, C) unit vectors of the text network.
        truth: (N, K) bool, whether caption k is true of what pixel n shows.
        weights: (N,) weight of each pixel, with mean 1.
    """
    scaled = model.log_scale.exp() * (F.normalize(pixels.float(), dim=1) @ texts.float().T)
    of_pixels = 0.25 * sigmoid_losses(scaled + model.bias, truth) + contrasts(scaled, truth)
    return (weights * of_pixels).mean() + contrasts(scaled.T, truth.T).mean()


def sigmoid_losses(logits: Tensor, truth: Tensor) -> Tensor:
    """Returns (N,) the summed binary cross entropy of each pixel over captions: equation 1 of SigLIP.

    Args:
        logits: (N, K) scaled cosines plus bias.
        truth: (N, K) bool.
    """
    return F.binary_cross_entropy_with_logits(logits, truth.float(), reduction="none").sum(1)


def contrasts(scaled: Tensor, truth: Tensor) -> Tensor:
    """Returns (rows,) the mean cross entropy of a row's true entries, each against the row's false ones alone.

    Args:
        scaled: (rows, columns) scaled cosines.
        truth: (rows, columns) bool; a row without a true entry has no loss.
    """
    rivals = scaled.masked_fill(truth, -torch.inf).logsumexp(1, keepdim=True)
    losses = F.softplus(rivals - scaled).masked_fill(~truth, 0.0)
    return losses.sum(1) / truth.sum(1).clamp(min=1)
