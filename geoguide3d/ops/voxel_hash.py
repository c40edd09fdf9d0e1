"""Which cells of a grid a cloud occupies. The contract is written in csrc/voxel_hash.h.

Compiled kernels and the reference below are registered for the same operator; the dispatcher chooses by device.
Its results are integers and carry no gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any

VOXEL_HASH = "geoguide3d::voxel_hash"

_BITS_PER_AXIS = 21  # three axes share one int64 key


def voxel_hash(points: Tensor, voxel_size_m: float) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (cells (M, 3), point_of_voxel (M,), voxel_of_point (N,)), all int64: the cells that hold points.

    Cells are floor(points / voxel_size_m), divided in float64, in lexicographic order; the smallest index of each axis
    is 0. `point_of_voxel` is the first point (by row) in each cell, `voxel_of_point` the row in cells of each point.

    Args:
        points: (N, 3) any float dtype, metres, finite.
        voxel_size_m: side of a cell.

    Raises:
        ValueError: a size that is not positive and finite, coordinates that are not finite, more than 2²¹ cells along
            an axis, or a shape or dtype that does not fit.
    """
    if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
        raise ValueError(f"points must be (N, 3) floats, got {tuple(points.shape)} {points.dtype}")
    if not 0 < voxel_size_m < math.inf:
        raise ValueError(f"voxel_size_m must be positive and finite, got {voxel_size_m}")
    dtype = torch.float64 if points.dtype == torch.float64 else torch.float32
    points = points.detach().to(dtype)
    if torch.compiler.is_compiling():  # a graph cannot look at values; there the kernel's own words must do
        cells, point_of_voxel, voxel_of_point = torch.ops.geoguide3d.voxel_hash(points, voxel_size_m)
        return cells, point_of_voxel, voxel_of_point
    try:
        cells, point_of_voxel, voxel_of_point = torch.ops.geoguide3d.voxel_hash(points, voxel_size_m)
    except (ValueError, RuntimeError):
        _check_extent(points, voxel_size_m)
        raise
    return cells, point_of_voxel, voxel_of_point


def _check_extent(points: Tensor, voxel_size_m: float) -> None:
    """Raises ValueError where points cannot be counted in cells."""
    finite = points.isfinite().all(dim=1)
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0])
        raise ValueError(f"points must be finite, row {row} is {points[row].tolist()}")
    low, high = ((corner.double() / voxel_size_m).floor() for corner in points.aminmax(dim=0))
    extent = float((high - low).amax()) + 1
    if not extent <= 2**_BITS_PER_AXIS:
        raise ValueError(
            f"{extent:.0f} voxels of {voxel_size_m} m along one axis, at most {2**_BITS_PER_AXIS} fit: "
            "take a larger voxel_size_m, or drop stray points far from the scene"
        )


# --- reference: obvious PyTorch, runs on any device that has no kernel ------------------------------------------------


def voxel_hash_reference(points: Tensor, voxel_size: float) -> tuple[Tensor, Tensor, Tensor]:
    rows = torch.arange(len(points), device=points.device)
    if len(points) == 0:
        return rows.new_empty(0, 3), rows, rows.clone()
    _check_extent(points, voxel_size)
    cells = (points.double() / voxel_size).floor()
    x, y, z = (cells - cells.amin(dim=0)).long().T
    keys, voxel_of_point = torch.unique((x << 2 * _BITS_PER_AXIS) | (y << _BITS_PER_AXIS) | z, return_inverse=True)
    point_of_voxel = torch.full_like(keys, len(points)).scatter_reduce(0, voxel_of_point, rows, "amin")
    mask = (1 << _BITS_PER_AXIS) - 1
    unpacked = torch.stack([keys >> 2 * _BITS_PER_AXIS, (keys >> _BITS_PER_AXIS) & mask, keys & mask], dim=1)
    return unpacked, point_of_voxel, voxel_of_point


# --- shapes and registration ------------------------------------------------------------------------------------------


def _shape(points: Tensor, voxel_size: float) -> tuple[Tensor, Tensor, Tensor]:
    voxels = torch.library.get_ctx().new_dynamic_size()
    return (
        points.new_empty(voxels, 3, dtype=torch.int64),
        points.new_empty(voxels, dtype=torch.int64),
        points.new_empty(points.shape[0], dtype=torch.int64),
    )


torch.library.define(VOXEL_HASH, "(Tensor points, float voxel_size) -> (Tensor, Tensor, Tensor)")
torch.library.impl(VOXEL_HASH, "CompositeExplicitAutograd", voxel_hash_reference)
torch.library.register_fake(VOXEL_HASH, _shape)
