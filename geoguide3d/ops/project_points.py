"""Which world points each camera sees. The contract is written in csrc/project_points.h.

Compiled kernels and the reference below are registered for the same operator; the dispatcher chooses by device.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops.cameras import LEAST_DEPTH_M, check_device, projection_matrices

PROJECT = "geoguide3d::project_points"


class ProjectedPoints(NamedTuple):
    """The points that V views see, E in all: those of view v are rows offsets[v] to offsets[v + 1] of the others.

    Args:
        offsets: (V + 1,) int64.
        point_ids: (E,) int64 rows of the cloud, ascending in each view.
        uv: (E, 2) float64 projection, pixels of the camera image, not rounded.
        depth: (E,) float32 z-depth, metres.
    """

    offsets: Tensor
    point_ids: Tensor
    uv: Tensor
    depth: Tensor


@dataclass(frozen=True)
class DepthTest:
    """Depth maps of V views, and how near to them a point must lie: |d − z| ≤ tolerance_m + tolerance_ratio · d.

    Args:
        maps: (V, h, w) z-depth, metres, float32 or float64; or V maps (h, w) of any sizes. 0, negative, inf and NaN are
            missing: nothing is seen there. A map of another size than the camera's image is read at its own pixel
            centres.
        tolerance_m: metres, at any distance.
        tolerance_ratio: share of the depth d of the map.
    """

    maps: Tensor | Sequence[Tensor]
    tolerance_m: float = 0.03
    tolerance_ratio: float = 0.02


def project_points(
    points: Tensor,
    intrinsics: Tensor,
    camera_from_world: Tensor,
    sizes: Tensor,
    depth_test: DepthTest | None = None,
    border_px: int = 0,
) -> ProjectedPoints:
    """Returns the points that each view sees: in front of it, inside its image, and not hidden.

    A point is in front where its depth is above a micrometre; nearer ones are at the camera's plane but for rounding.
    A projection is inside where, rounded half to even, it is a pixel at least `border_px` away from the edges (pixel
    centres at integers). Arithmetic is float64. Points that are not finite are seen by no view. Not differentiable:
    no gradient reaches points or cameras. Inside torch.compile with fullgraph=True, set
    torch._dynamo.config.capture_dynamic_output_shape_ops, as for torch.nonzero.

    Args:
        points: (N, 3) float32 or float64, metres, world.
        intrinsics: (V, 3, 3) pixels, on the CPU or with the points, as the next two.
        camera_from_world: (V, 4, 4) rigid; OpenCV axes (x right, y down, z forward).
        sizes: (V, 2) int64 width and height of the images.
        depth_test: what hides points; None: nothing does.
        border_px: pixels along every edge in which nothing is seen.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, a negative border, or a negative size (in sizes on the
            CPU; an image of a negative size elsewhere sees nothing).
    """
    image_from_world = projection_matrices(points, intrinsics, camera_from_world)
    views = len(image_from_world)
    if sizes.shape != (views, 2) or sizes.dtype != torch.int64:
        raise ValueError(f"sizes must be ({views}, 2) int64, got {tuple(sizes.shape)} {sizes.dtype}")
    check_device("sizes", sizes, points)
    if sizes.device.type == "cpu" and not torch.compiler.is_compiling() and bool((sizes < 0).any()):
        raise ValueError(f"sizes must not be negative, got {sizes.tolist()}")
    if border_px < 0:
        raise ValueError(f"border_px must not be negative, got {border_px}")
    points, sizes = points.detach(), sizes.to(points.device)
    op = torch.ops.geoguide3d.project_points
    if depth_test is None:
        return ProjectedPoints(*op(points, image_from_world, sizes, None, [0.0, 0.0], border_px))
    tolerances = [depth_test.tolerance_m, depth_test.tolerance_ratio]
    maps = _one_tensor(depth_test.maps, points, views)
    if isinstance(maps, Tensor):
        return ProjectedPoints(*op(points, image_from_world, sizes, maps, tolerances, border_px))
    each = [
        op(points, image_from_world[v : v + 1], sizes[v : v + 1], depth_map[None], tolerances, border_px)
        for v, depth_map in enumerate(maps)
    ]
    counts = torch.stack([one[0][1] for one in each])
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return ProjectedPoints(offsets, *(torch.cat(column) for column in list(zip(*each, strict=True))[1:]))


def _one_tensor(maps: Tensor | Sequence[Tensor], points: Tensor, views: int) -> Tensor | Sequence[Tensor]:
    """Returns the checked maps, as (V, h, w) where they have one size."""
    each = [maps] if isinstance(maps, Tensor) else list(maps)
    for one in each:
        if one.ndim != (3 if isinstance(maps, Tensor) else 2) or 0 in one.shape[-2:]:
            raise ValueError(f"depth maps must be (V, h, w), or V of (h, w), none empty, got {tuple(one.shape)}")
        if one.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"depth maps must be float32 or float64 metres, got {one.dtype}")
        if one.device != points.device:
            raise ValueError(f"depth maps must be on {points.device} as points are, got {one.device}")
    if len(maps) != views:
        raise ValueError(f"{views} views need as many depth maps, got {len(maps)}")
    if isinstance(maps, Tensor) or len({(one.shape, one.dtype) for one in each}) > 1:
        return maps
    return torch.stack(each) if each else points.new_empty(0, 1, 1)


# --- reference: obvious PyTorch, runs on any device that has no kernel ------------------------------------------------


def project_points_reference(
    points: Tensor,
    image_from_world: Tensor,
    sizes: Tensor,
    depth_maps: Tensor | None,
    tolerances: Sequence[float],
    border_px: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    homogeneous = torch.nn.functional.pad(points.to(torch.float64), (0, 1), value=1.0)
    columns: tuple[list[Tensor], ...] = ([], [], [])
    for view, matrix in enumerate(image_from_world):
        image_points = homogeneous @ matrix.T
        z = image_points[:, 2]
        uv, size = image_points[:, :2] / z[:, None], sizes[view]
        pixel = uv.round()
        seen = (z > LEAST_DEPTH_M) & ((pixel >= border_px) & (pixel < size - border_px)).all(1)
        if depth_maps is not None:
            depth_map = depth_maps[view]
            h, w = depth_map.shape
            scale = torch.tensor([w, h], device=points.device) / size.to(torch.float64)
            there = (uv * scale + (scale - 1) / 2).round()
            column, row = there[:, 0].clamp(0, w - 1), there[:, 1].clamp(0, h - 1)
            depth = depth_map[torch.where(seen, row, 0).long(), torch.where(seen, column, 0).long()].to(torch.float64)
            seen &= (depth > 0) & depth.isfinite() & ((depth - z).abs() <= tolerances[0] + tolerances[1] * depth)
        point_ids = seen.nonzero().squeeze(1)
        for column, values in zip(columns, (point_ids, uv[point_ids], z[point_ids].to(torch.float32)), strict=True):
            column.append(values)
    counts = sizes.new_tensor([0] + [len(point_ids) for point_ids in columns[0]])
    empty = (sizes.new_empty(0), image_from_world.new_empty(0, 2), points.new_empty(0, dtype=torch.float32))
    point_ids, uv, depth = (torch.cat([start, *rest]) for start, rest in zip(empty, columns, strict=True))
    return counts.cumsum(0), point_ids, uv, depth


def _shape(
    points: Tensor,
    image_from_world: Tensor,
    sizes: Tensor,
    depth_maps: Tensor | None,
    tolerances: Sequence[float],
    border_px: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    seen = torch.library.get_ctx().new_dynamic_size()
    return (
        sizes.new_empty(image_from_world.shape[0] + 1),
        sizes.new_empty(seen),
        image_from_world.new_empty(seen, 2),
        points.new_empty(seen, dtype=torch.float32),
    )


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    PROJECT,
    "(Tensor points, Tensor image_from_world, Tensor sizes, Tensor? depth_maps, float[] tolerances, "
    "SymInt border_px) -> (Tensor, Tensor, Tensor, Tensor)",
)
torch.library.impl(PROJECT, "CompositeExplicitAutograd", project_points_reference)
torch.library.register_fake(PROJECT, _shape)
