"""Colour of a point and of what is around it."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.backbones.descriptors.neighborhood import Neighborhood


def chroma(colors: Tensor) -> Tensor:
    """Returns (M, 4) float64 from RGB in [0, 1] ((M, 3)): hue as a vector of length saturation, saturation, value."""
    red, green, blue = colors.unbind(dim=1)
    value, least = colors.amax(dim=1), colors.amin(dim=1)
    saturation = (value - least) / value.clamp(min=1e-3)
    # The hexagon of hues, as the plane at right angles to grey.
    x, y = red - (green + blue) / 2, (green - blue) * (3**0.5 / 2)
    scale = saturation / torch.hypot(x, y).clamp(min=1e-6)
    return torch.stack([x * scale, y * scale, saturation, value], dim=1)


def color_features(colors: Tensor, near: Neighborhood) -> Tensor:
    """Returns (M, 10) float64: mean and deviation of RGB around every sample, and the mean's chroma."""
    around = near.mean_and_deviation(colors)
    return torch.cat([around, chroma(around[:, :3])], dim=1)
