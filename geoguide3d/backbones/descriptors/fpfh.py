"""Fast Point Feature Histograms (Rusu et al. 2009): how the normals around a point turn."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from geoguide3d.ops import knn

BINS = 11
FPFH_CHANNELS = 3 * BINS
_POINTS_PER_CHUNK = 1 << 15


def fpfh(points: Tensor, normals: Tensor, radius_m: float, max_neighbors: int) -> Tensor:
    """Returns (N, 33) float64: three histograms of 11 bins, each of sum 200, or 0 where a point has no neighbours.

    Every point's own histogram (sum 100) plus that of its neighbours weighted by 1 / distance² (sum 100), as Open3D's
    `compute_fpfh_feature` with a hybrid search has it.

    Args:
        points: (N, 3).
        normals: (N, 3) unit.
        max_neighbors: the point itself included.
    """
    points, normals = points.to(torch.float64), normals.to(torch.float64)
    ids, _ = knn(points, max_neighbors)
    ids = ids[:, 1:]
    simple = torch.zeros(len(points), FPFH_CHANNELS, dtype=torch.float64)
    weights = torch.zeros(ids.shape, dtype=torch.float64)
    for rows in torch.split(torch.arange(len(points)), _POINTS_PER_CHUNK):
        offsets = points[ids[rows]] - points[rows].unsqueeze(1)
        distances = offsets.norm(dim=-1)
        near = distances < radius_m
        weights[rows] = torch.where(near & (distances > 0), 1.0 / distances.clamp(min=1e-9) ** 2, 0.0)
        angles = _pair_angles(offsets, distances, normals[rows].unsqueeze(1).expand_as(offsets), normals[ids[rows]])
        counts = _histogram(angles, near)
        simple[rows] = counts * (100.0 / near.sum(dim=1, keepdim=True).clamp(min=1))
    around = torch.zeros_like(simple)
    for column in range(ids.shape[1]):
        around.addcmul_(simple[ids[:, column]], weights[:, column : column + 1])
    by_angle = around.reshape(-1, 3, BINS)
    shares = by_angle / by_angle.sum(dim=2, keepdim=True).clamp(min=1e-300)
    return simple + 100.0 * shares.reshape(simple.shape)


def _pair_angles(offsets: Tensor, distances: Tensor, own: Tensor, other: Tensor) -> Tensor:
    """Returns (n, k, 3): the bearing of the other normal in the Darboux frame of the pair, scaled to [0, 1]."""
    lines = offsets / distances.clamp(min=1e-12).unsqueeze(-1)
    own_along, other_along = (own * lines).sum(dim=-1), (other * lines).sum(dim=-1)
    # The frame stands on whichever normal is closer to the line, so that a pair has the same angles both ways.
    swapped = own_along.abs() < other_along.abs()
    base = torch.where(swapped.unsqueeze(-1), other, own)
    seen = torch.where(swapped.unsqueeze(-1), own, other)
    lines = torch.where(swapped.unsqueeze(-1), -lines, lines)
    slope = torch.where(swapped, -other_along, own_along)
    side = torch.linalg.cross(lines, base, dim=-1)
    length = side.norm(dim=-1, keepdim=True)
    side = side / length.clamp(min=1e-12)
    twist = torch.atan2((torch.linalg.cross(base, side, dim=-1) * seen).sum(dim=-1), (base * seen).sum(dim=-1))
    angles = torch.stack([(twist / math.pi + 1) / 2, ((side * seen).sum(dim=-1) + 1) / 2, (slope + 1) / 2], dim=-1)
    # Two points on one spot, or one straight above the other's tangent plane, span no frame: all angles count as 0.
    return torch.where((distances.unsqueeze(-1) > 0) & (length > 0), angles, 0.5)


def _histogram(angles: Tensor, near: Tensor) -> Tensor:
    """Returns (n, 33) counts of the (n, k, 3) angles of those pairs that are near ((n, k))."""
    bins = (angles * BINS).floor().clamp(0, BINS - 1).long() + torch.arange(3) * BINS
    counts = torch.zeros(len(angles), FPFH_CHANNELS, dtype=torch.float64)
    counted = near.to(torch.float64).unsqueeze(-1).expand_as(bins).flatten(1)
    return counts.scatter_add_(1, bins.flatten(1), counted)
