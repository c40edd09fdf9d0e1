"""Voxel grids: which cells a cloud occupies, and the way back to its points."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

_BITS_PER_AXIS = 21  # three axes share one int64 key


@dataclass(frozen=True)
class VoxelGrid:
    """The M occupied cells of a cloud of N points, in lexicographic order.

    Args:
        cells: (M, 3) int64, the smallest index of each axis is 0.
        point_of_voxel: (M,) int64, the first point (by row) in each cell.
        voxel_of_point: (N,) int64, rows of `cells`.
        voxel_size_m: side of a cell, metres.
    """

    cells: Tensor
    point_of_voxel: Tensor
    voxel_of_point: Tensor
    voxel_size_m: float

    def __len__(self) -> int:
        return len(self.cells)


def voxelize(points: Tensor, voxel_size_m: float) -> VoxelGrid:
    """Returns the cells floor(points / voxel_size_m) that hold points, divided in float64.

    Args:
        points: (N, 3) any float dtype, metres, N ≥ 1.
        voxel_size_m: side of a cell.

    Raises:
        ValueError: a size that is not positive and finite, or more than 2²¹ cells along an axis.
    """
    if not (voxel_size_m > 0 and math.isfinite(voxel_size_m)):
        raise ValueError(f"voxel_size_m must be positive, got {voxel_size_m}")
    cells = (points.to(torch.float64) / voxel_size_m).floor_()
    cells -= cells.amin(0)
    extent = float(cells.amax()) + 1
    if not extent <= 2**_BITS_PER_AXIS:
        raise ValueError(
            f"{extent:.0f} voxels of {voxel_size_m} m along one axis, at most {2**_BITS_PER_AXIS} fit: "
            "take a larger voxel_size_m, or drop stray points far from the scene"
        )
    x, y, z = cells.to(torch.int64).T
    keys, voxel_of_point = torch.unique((x << 2 * _BITS_PER_AXIS) | (y << _BITS_PER_AXIS) | z, return_inverse=True)
    rows = torch.arange(len(points), device=points.device)
    point_of_voxel = torch.full_like(keys, len(points)).scatter_reduce_(0, voxel_of_point, rows, "amin")
    mask = (1 << _BITS_PER_AXIS) - 1
    unpacked = torch.stack([keys >> 2 * _BITS_PER_AXIS, (keys >> _BITS_PER_AXIS) & mask, keys & mask], dim=1)
    return VoxelGrid(unpacked, point_of_voxel, voxel_of_point, voxel_size_m)
