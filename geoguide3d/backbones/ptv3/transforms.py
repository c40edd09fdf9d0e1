"""What stands in front of the network: the cloud is centred, thinned to one point per voxel, its features set side by
side.

Two sources of chance of upstream's pipeline are closed: the first point of a voxel (by row) stands for it, where
upstream draws one; and cells are found by division in float64, where upstream's depend on the version of numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.ops import voxel_hash

_STEPS_PER_VOXEL = 4  # coordinates whose float32 steps are coarser than this part of a voxel are refused


@dataclass(frozen=True)
class GridSample:
    """One point for each of the M voxels that a cloud occupies, in lexicographic order of the cells.

    Args:
        cells: (M, 3) int64, the smallest index of each axis is 0.
        point_of_voxel: (M,) int64, the first point (by row) in each cell.
        voxel_of_point: (N,) int64, rows of cells.
    """

    cells: Tensor
    point_of_voxel: Tensor
    voxel_of_point: Tensor


def center_shift(points: Tensor) -> Tensor:
    """Returns points ((N, 3) float32 metres, z up) with x and y from the middle of their range and z from its minimum.

    Raises:
        ValueError: no points, or coordinates that are not finite.
    """
    if len(points) == 0 or not bool(points.isfinite().all()):
        bad = int((~points.isfinite().all(dim=1)).sum())
        raise ValueError(f"a cloud needs finite points, got {len(points)}, {bad} of them with inf or NaN")
    low, high = points.aminmax(dim=0)
    shift = (low + high) / 2
    shift[2] = low[2]
    return points - shift


def check_precision(points: Tensor, voxel_size_m: float) -> None:
    """Raises ValueError where points ((N, 3) float32 metres) lie so far out that float32 cannot tell voxels apart."""
    farthest = float(points.abs().amax()) if len(points) else 0.0
    step = torch.finfo(torch.float32).eps * farthest
    if step * _STEPS_PER_VOXEL > voxel_size_m:
        raise ValueError(
            f"coordinates reach {farthest:.0f} m, where float32 has steps of {step:.3g} m, too coarse for voxels of "
            f"{voxel_size_m} m: subtract an offset in float64 and keep it in Scene.origin"
        )


def grid_sample(points: Tensor, voxel_size_m: float, upstream_compat: bool = False) -> GridSample:
    """Returns one point per voxel of points ((N, 3) float32 metres).

    Args:
        upstream_compat: cells are found by division in float32, as upstream does under numpy 1; else in float64.

    Raises:
        ValueError: what `geoguide3d.ops.voxel_hash` refuses.
    """
    if upstream_compat:
        cells = (points.to(torch.float32) / torch.tensor(voxel_size_m, dtype=torch.float32)).floor()
        return GridSample(*voxel_hash(cells, 1.0))
    return GridSample(*voxel_hash(points, voxel_size_m))


def normalize_color(colors: Tensor) -> Tensor:
    """Returns (N, 3) float32 RGB in [0, 1] of colours given so, or as 0 … 255; which of the two is seen by the maximum.

    Integers are always 0 … 255; floats are where one is above 1.

    Raises:
        ValueError: negative or not finite colours, or one above 255.
    """
    values = colors.to(torch.float32)
    if len(values) == 0:
        return values
    low, high = (float(value) for value in values.aminmax())
    if not (low >= 0 and high <= 255):
        raise ValueError(f"colours must be 0 … 1 or 0 … 255, got {low:g} … {high:g}")
    return values / 255 if high > 1 or not colors.is_floating_point() else values


def point_features(points: Tensor, colors: Tensor, normals: Tensor) -> Tensor:
    """Returns (M, 9) float32: shifted points in metres, colours in [0, 1] and normals, (M, 3) each, side by side."""
    return torch.cat([points, colors, normals], dim=1).to(torch.float32)
