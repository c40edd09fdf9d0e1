"""Random crops and camera faults for training images; colours move little, because colours are words here."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def augment(
    images: Tensor, objects: Tensor, size: tuple[int, int], generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Returns a random crop, flip and recolouring of each image, and its objects at half the resolution.

    Args:
        images: (B, 3, H, W) float32 RGB in [0, 1].
        objects: (B, H, W) integer ids.
        size: (height, width) of what is returned; even numbers.
        generator: of the CPU; the result depends on nothing else.

    Returns:
        (B, 3, height, width) float32 in [0, 1], (B, height/2, width/2) int64.
    """
    height, width = size
    theta = _crops(len(images), generator).to(images.device)
    pixels = F.affine_grid(theta, [len(images), 1, height, width], align_corners=False)
    images = F.grid_sample(images, pixels, mode="bilinear", padding_mode="border", align_corners=False)
    halves = F.affine_grid(theta, [len(images), 1, height // 2, width // 2], align_corners=False)
    # float32 holds ids exactly up to 2**24, and nearest sampling copies them.
    sampled = F.grid_sample(
        objects[:, None].float(), halves, mode="nearest", padding_mode="border", align_corners=False
    )
    return _recolor(images, generator), sampled[:, 0].round().long()


def _crops(count: int, generator: torch.Generator) -> Tensor:
    """Returns (count, 2, 3) maps from the output's square [-1, 1]² into the image's."""
    flip, zoom, stretch, x, y = torch.rand(5, count, generator=generator)
    size_y = 0.7 + 0.3 * zoom.sqrt()  # whole images are the commonest: they are what is asked about later
    size_x = (size_y * (0.85 + 0.3 * stretch)).clamp(max=1.0)
    theta = torch.zeros(count, 2, 3)
    theta[:, 0, 0] = torch.where(flip < 0.5, size_x, -size_x)
    theta[:, 1, 1] = size_y
    theta[:, 0, 2] = (1 - size_x) * (2 * x - 1)
    theta[:, 1, 2] = (1 - size_y) * (2 * y - 1)
    return theta


def _recolor(images: Tensor, generator: torch.Generator) -> Tensor:
    count = len(images)
    gamma, contrast, blurred, noise = torch.rand(4, count, 1, 1, 1, generator=generator).to(images.device)
    balance = torch.rand(count, 3, 1, 1, generator=generator).to(images.device)
    images = images.clamp(min=1e-4).pow(0.8 + 0.45 * gamma) * (0.9 + 0.2 * contrast) * (0.95 + 0.1 * balance)
    smooth = F.avg_pool2d(images, 3, stride=1, padding=1, count_include_pad=False)
    images = torch.where(blurred < 0.25, smooth, images)
    grain = torch.randn(images.shape, generator=generator).to(images.device)
    noisy: Tensor = images + grain * (0.03 * noise)
    return noisy.clamp(0, 1)
