"""Which superpoints are the room itself: large flat ones with nothing behind them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from geoguide3d.geometry.proposals.regions import Regions
from geoguide3d.geometry.proposals.settings import Surface

_FLAT_M = 0.02  # mean distance from the plane, of those that count as flat
_ALIGNED = 0.95  # mean cosine of the normals to their mean, likewise
_BEHIND_M = (0.06, 0.8)  # how far behind the plane points count as something behind it
_MOST_BEHIND = 0.05  # such points per point of the plane
_MOST_PROBES = 40_000


def find_planes(surface: Surface, regions: Regions, plane_m2: float) -> tuple[Tensor, Tensor]:
    """Returns (Q,) bool, which superpoints are floor, wall or ceiling, and (Q, 3) float64, all mean normals, unit.

    A table or a box has sides or a floor behind its top, as seen through the top; a floor or a wall has nothing there
    that was seen.
    """
    count, of_point = surface.count, surface.superpoints
    points, normals = surface.points.to(torch.float64), surface.normals.to(torch.float64)
    sums = torch.zeros(count, 6, dtype=torch.float64).index_add_(0, of_point, torch.cat([points, normals], dim=1))
    means = sums / regions.sizes.clamp(min=1).unsqueeze(1)
    centers, directions = means[:, :3], normalize(means[:, 3:], dim=1)
    off = ((points - centers[of_point]) * directions[of_point]).sum(dim=1).abs()
    distance = torch.zeros(count, dtype=torch.float64).index_add_(0, of_point, off) / regions.sizes.clamp(min=1)
    flat = (distance < _FLAT_M) & (means[:, 3:].norm(dim=1) > _ALIGNED) & (regions.areas_m2 >= plane_m2)
    step = max(1, len(points) // _MOST_PROBES)
    probes = points[::step]
    planes = torch.zeros(count, dtype=torch.bool)
    for plane in flat.nonzero().squeeze(1).tolist():
        own = points[of_point == plane]
        behind = step * _seen_behind(probes, own, centers[plane], directions[plane])
        planes[plane] = behind <= _MOST_BEHIND * len(own)
    return planes, directions


def _seen_behind(probes: Tensor, own: Tensor, center: Tensor, normal: Tensor) -> int:
    """Returns how many of the probes ((n, 3)) lie behind a flat patch ((m, 3)), inside its outline's rectangle."""
    _, axes = torch.linalg.eigh((own - center).T @ (own - center))
    axes = axes[:, 1:]
    low, high = ((own - center) @ axes).aminmax(dim=0)
    depth = (center - probes) @ normal
    deep = probes[(depth > _BEHIND_M[0]) & (depth < _BEHIND_M[1])]
    across = (deep - center) @ axes
    return int(((across >= low) & (across <= high)).all(dim=1).sum())
