"""The pieces a room falls into: smooth surfaces, and what is left standing when floor, walls and ceiling are gone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from geoguide3d.backbones.descriptors.samples import Samples
from geoguide3d.ops import knn

_LINKS = 14
_REACH_VOXELS = 2.2
_SMOOTH = math.cos(math.radians(15.0))
_STEP_VOXELS = 0.6
_LEVEL = 0.8
_FLOOR_M = 0.12
_WALL_M2 = 0.8
_WALL_HEIGHT_M = 1.5
_FAR_FROM_WALL_M = 2.0


@dataclass(frozen=True)
class _Extents:
    """Boxes of pieces, (P,) metres each; the horizontal sides sorted, for x and y are interchangeable."""

    center: Tensor  # (P, 3)
    long: Tensor
    short: Tensor
    bottom: Tensor
    top: Tensor
    count: Tensor


@dataclass(frozen=True)
class Pieces:
    """Which smooth surface and which object every sample belongs to, and their boxes."""

    surface_features: Tensor  # (M, 6)
    object_features: Tensor  # (M, 11)
    object_of_sample: Tensor  # (M,) int64


def find_pieces(samples: Samples, voxel_size_m: float) -> Pieces:
    """Returns the smooth surfaces and the objects of a room with their sizes, as seen from every sample.

    A smooth surface is a set of samples connected by steps of at most 2.2 voxels that stay in the tangent plane and
    turn the normal by less than 15°. The level samples at the bottom and at the top, and upright surfaces 1.5 m tall,
    are the room itself; the others, connected again without regard to normals, are its objects.
    """
    ids, distances = knn(samples.positions, _LINKS)
    rows = torch.arange(len(samples)).unsqueeze(1).expand_as(ids)
    linked = distances < _REACH_VOXELS * voxel_size_m
    start, end = rows[linked], ids[linked]
    shell = _floor_and_ceiling(samples)
    surface = _components(*_smooth_links(samples, start, end, shell, voxel_size_m), len(samples))
    extents = _extents(samples.positions, surface)
    rise = _mean(samples.normals[:, 2:], surface).squeeze(1)
    walls = (extents.count * voxel_size_m**2 > _WALL_M2) & (extents.top - extents.bottom > _WALL_HEIGHT_M)
    wall = (walls & (rise.abs() < 0.2))[surface] & ~shell
    apart = wall | shell
    kept = (apart[start] == apart[end]) & (~apart[start] | (surface[start] == surface[end]))
    thing = _components(start[kept], end[kept], len(samples))
    surface_features = torch.stack(
        [
            extents.long,
            extents.short,
            extents.top - extents.bottom,
            (extents.bottom + extents.top) / 2,
            rise,
            (extents.count * voxel_size_m**2).log1p(),
        ],
        dim=1,
    )[surface]
    return Pieces(surface_features, _object_features(samples, thing, apart, wall, voxel_size_m), thing)


def _floor_and_ceiling(samples: Samples) -> Tensor:
    height, level = samples.positions[:, 2], samples.normals[:, 2].abs() > _LEVEL
    return level & ((height < _FLOOR_M) | (height > samples.ceiling_m - _FLOOR_M))


def _smooth_links(
    samples: Samples, start: Tensor, end: Tensor, shell: Tensor, voxel_size_m: float
) -> tuple[Tensor, Tensor]:
    normals, offsets = samples.normals[start], samples.positions[end] - samples.positions[start]
    turn = (normals * samples.normals[end]).sum(dim=1)
    step = (normals * offsets).sum(dim=1).abs()
    smooth = (turn > _SMOOTH) & (step < _STEP_VOXELS * voxel_size_m) & (shell[start] == shell[end])
    return start[smooth], end[smooth]


def _object_features(samples: Samples, thing: Tensor, apart: Tensor, wall: Tensor, voxel_size_m: float) -> Tensor:
    box = _extents(samples.positions, thing)
    offset = (samples.positions[:, :2] - box.center[thing, :2]).norm(dim=1)
    height = (box.top - box.bottom)[thing]
    to_wall = torch.full((len(samples), 1), _FAR_FROM_WALL_M, dtype=torch.float64)
    if bool(wall.any()):
        to_wall = knn(samples.positions[wall], 1, samples.positions)[1].to(torch.float64).clamp(max=_FAR_FROM_WALL_M)
    nearest = torch.full((len(box.count),), _FAR_FROM_WALL_M, dtype=torch.float64)
    nearest.scatter_reduce_(0, thing, to_wall.squeeze(1), "amin")
    return torch.stack(
        [
            box.long[thing],
            box.short[thing],
            height,
            box.bottom[thing],
            box.top[thing],
            (box.count * voxel_size_m**2).log1p()[thing],
            (samples.positions[:, 2] - box.bottom[thing]) / height.clamp(min=voxel_size_m),
            offset / box.long[thing].clamp(min=voxel_size_m),
            apart.to(torch.float64),
            to_wall.squeeze(1),
            nearest[thing],
        ],
        dim=1,
    )


def _components(start: Tensor, end: Tensor, count: int) -> Tensor:
    """Returns (count,) int64: the connected component of every sample."""
    links = csr_matrix((np.ones(len(start), dtype=np.int8), (start.numpy(), end.numpy())), shape=(count, count))
    return torch.from_numpy(connected_components(links, directed=False)[1].astype(np.int64))


def _extents(positions: Tensor, piece: Tensor) -> _Extents:
    count = torch.bincount(piece).to(torch.float64)
    rows = piece.unsqueeze(1).expand_as(positions)
    low = torch.full((len(count), 3), math.inf, dtype=torch.float64).scatter_reduce_(0, rows, positions, "amin")
    high = torch.full((len(count), 3), -math.inf, dtype=torch.float64).scatter_reduce_(0, rows, positions, "amax")
    sides = (high - low)[:, :2]
    return _Extents((low + high) / 2, sides.amax(dim=1), sides.amin(dim=1), low[:, 2], high[:, 2], count)


def _mean(values: Tensor, piece: Tensor) -> Tensor:
    """Returns (P, F): the mean of values ((M, F)) over every piece."""
    count = torch.bincount(piece).to(torch.float64).unsqueeze(1)
    return torch.zeros(len(count), values.shape[1], dtype=torch.float64).index_add_(0, piece, values) / count


def mean_and_deviation_over_pieces(values: Tensor, piece: Tensor) -> Tensor:
    """Returns (M, 2F): for every sample, the means of values ((M, F)) over its piece, then the standard deviations."""
    means, squares = _mean(torch.cat([values, values**2], dim=1), piece).chunk(2, dim=1)
    return torch.cat([means, (squares - means**2).clamp(min=0.0).sqrt()], dim=1)[piece]
