"""What stands above and below a point: the occupancy of the vertical columns around it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geoguide3d.backbones.descriptors.neighborhood import Neighborhood

_LEVEL_M = 0.1
_TALLEST_M = 4.0
_ABOVE_FLOOR_M = (0.1, 0.25, 0.4, 0.55, 0.7, 0.85, 1.1, 1.5, 2.0)
_ABOVE_POINT_M = (-1.0, -0.5, -0.25, -0.1, 0.1, 0.25, 0.5, 1.0)
_QUANTILES = (0.05, 0.5, 0.95)


def column_features(positions: Tensor, normals: Tensor, radius_m: float, sample_area_m2: float) -> Tensor:
    """Returns (M, 32) float64 about the samples within radius_m horizontally.

    Amounts of surface per floor area (1: one whole layer, on a log(1 + x) scale) in bands above the floor, then of
    surface that faces up in the same bands, then in bands above the point itself; last, the heights in metres,
    relative to the point, below which 5, 50 and 95 % of the column lie.

    Args:
        positions: (M, 3) metres, z up from the floor.
        sample_area_m2: the surface one sample stands for.
    """
    column = Neighborhood(positions * torch.tensor([1.0, 1.0, 0.0]), radius_m)
    levels = int(_TALLEST_M / _LEVEL_M) + 1
    height = (positions[:, 2] / _LEVEL_M).clamp(0.0, levels - 1 - 1e-6)
    # Every sample is shared between two levels, so that a surface on a border does not jump from one level to the next.
    lower = height.floor().long()
    share = height - lower
    profile = torch.zeros(len(positions), levels + 1, dtype=torch.float64)
    profile.scatter_(1, torch.stack([lower, lower + 1], dim=1), torch.stack([1 - share, share], dim=1))
    facing_up = ((normals[:, 2:] - 0.6) / 0.3).clamp(0.0, 1.0)
    # The integral of (1 - ρ²)² over the disc is a third of its area.
    layers = column.mass.unsqueeze(1) * (sample_area_m2 / (math.pi * radius_m**2 / 3))
    below = (column.mean(profile) * layers).cumsum(dim=1)
    tops_below = (column.mean(profile * facing_up) * layers).cumsum(dim=1)
    z = positions[:, 2:]
    fixed = torch.tensor(_ABOVE_FLOOR_M, dtype=torch.float64).expand(len(positions), -1)
    own = z + torch.tensor(_ABOVE_POINT_M, dtype=torch.float64)
    return torch.cat(
        [
            _bands(below, fixed).log1p(),
            _bands(tops_below, fixed).log1p(),
            _bands(below, own).log1p(),
            _height_at(below, torch.tensor(_QUANTILES, dtype=torch.float64)) - z,
        ],
        dim=1,
    )


def _bands(below: Tensor, edges_m: Tensor) -> Tensor:
    """Returns (M, E + 1): how much of the cumulative profile lies between the (M, E) rising edges, and outside."""
    place = (edges_m / _LEVEL_M + 0.5).clamp(0.0, below.shape[1] - 1 - 1e-6)
    lower = place.floor().long()
    share = place - lower
    padded = torch.cat([torch.zeros_like(below[:, :1]), below], dim=1)
    at_edges = padded.gather(1, lower) * (1 - share) + padded.gather(1, lower + 1) * share
    ends = torch.cat([torch.zeros_like(below[:, :1]), at_edges, below[:, -1:]], dim=1)
    return ends.diff(dim=1).clamp(min=0.0)


def _height_at(below: Tensor, fractions: Tensor) -> Tensor:
    """Returns (M, len(fractions)) metres: where the cumulative profile reaches these fractions of its end."""
    wanted = below[:, -1:] * fractions
    upper = torch.searchsorted(below, wanted.contiguous()).clamp(max=below.shape[1] - 1)
    high = below.gather(1, upper)
    low = torch.where(upper > 0, below.gather(1, (upper - 1).clamp(min=0)), 0.0)
    share = (wanted - low) / (high - low).clamp(min=1e-12)
    return (upper.to(torch.float64) - 0.5 + share.clamp(0.0, 1.0)) * _LEVEL_M
