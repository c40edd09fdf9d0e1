"""Voxel grids: which cells a cloud occupies, and the way back to its points."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from geoguide3d.ops import voxel_hash


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
    """Returns the grid of a cloud ((N, 3), metres). Arguments and errors: `geoguide3d.ops.voxel_hash`."""
    return VoxelGrid(*voxel_hash(points, voxel_size_m), voxel_size_m)
