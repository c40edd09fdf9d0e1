"""Depth images of a point cloud. The contract is written in csrc/splat_depth.h.

Compiled kernels and the reference below are registered for the same operator; the dispatcher chooses by device.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops.cameras import LEAST_DEPTH_M, projection_matrices

SPLAT = "geoguide3d::splat_depth"


def splat_depth(
    points: Tensor, intrinsics: Tensor, camera_from_world: Tensor, size: tuple[int, int], radius_m: float
) -> Tensor:
    """Returns (V, H, W) float32 z-depth of the nearest point at each pixel, 0 where there is none.

    Points of like depth are drawn together as squares, which closes the gaps between them, and the drawing then shrinks
    by as much (a closing of grey-level morphology), so that rims stay where they are and slanted surfaces keep their
    depth. Not differentiable. Points that are not finite are not drawn.

    Args:
        points: (N, 3) float32 or float64, metres, world.
        intrinsics: (V, 3, 3) pixels, on the CPU or with the points, as the next one; pixel centres at integers.
        camera_from_world: (V, 4, 4) rigid; OpenCV axes (x right, y down, z forward).
        size: (width, height) of every image.
        radius_m: half side of the squares, metres: about the distance to a point's sixth neighbour. On the image at
            most width / 8.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, an empty image, or a radius that is negative or NaN.
    """
    image_from_world = projection_matrices(points, intrinsics, camera_from_world)
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"size must be (width, height) of at least one pixel, got {tuple(size)}")
    if not radius_m >= 0:
        raise ValueError(f"radius_m must be at least 0, got {radius_m}")
    radius_px_m = intrinsics.detach()[:, 0, 0].to(points.device, torch.float64) * radius_m
    depth = torch.ops.geoguide3d.splat_depth(points.detach(), image_from_world, radius_px_m, height, width)
    assert isinstance(depth, Tensor)
    return depth


# --- reference: obvious PyTorch, runs on any device that has no kernel ------------------------------------------------


def splat_depth_reference(
    points: Tensor, image_from_world: Tensor, radius_px_m: Tensor, height: int, width: int
) -> Tensor:
    homogeneous = torch.nn.functional.pad(points.to(torch.float64), (0, 1), value=1.0)
    views = [
        _splat_view(homogeneous @ matrix.T, radius, height, width)
        for matrix, radius in zip(image_from_world, radius_px_m, strict=True)
    ]
    return torch.stack(views) if views else points.new_empty(0, height, width, dtype=torch.float32)


def _splat_view(image_points: Tensor, radius_px_m: Tensor, height: int, width: int) -> Tensor:
    """Returns the (H, W) depth of (N, 3) image points (u z, v z, z)."""
    largest = max(1, width // 8)
    radii = [0, *(2**k for k in range(largest.bit_length()) if 2**k < largest), largest]
    z = image_points[:, 2]
    column, row = (image_points[:, :2] / z[:, None]).round().T + largest  # on a canvas with a margin
    canvas_height, canvas_width = height + 2 * largest, width + 2 * largest
    inside = (z > LEAST_DEPTH_M) & (column >= 0) & (column < canvas_width) & (row >= 0) & (row < canvas_height)
    z, pixel = z[inside], (row[inside] * canvas_width + column[inside]).to(torch.int64)
    level = torch.bucketize(radius_px_m / z, z.new_tensor(radii)).clamp(max=len(radii) - 1)
    nearest = z.new_full((canvas_height, canvas_width), torch.inf, dtype=torch.float32)
    for index, radius in enumerate(radii):
        drawn = torch.full_like(nearest, torch.inf).flatten()
        drawn.scatter_reduce_(0, pixel[level == index], z[level == index].to(torch.float32), "amin")
        spread = -_window_maximum(-drawn.view_as(nearest), radius)
        nearest = torch.minimum(nearest, _window_maximum(spread, radius))
    image = nearest[largest : largest + height, largest : largest + width]
    return image.masked_fill(image == torch.inf, 0.0)


def _window_maximum(image: Tensor, radius_px: int) -> Tensor:
    side = 2 * radius_px + 1
    rows = max_pool2d(image[None, None], (1, side), stride=1, padding=(0, radius_px))
    return max_pool2d(rows, (side, 1), stride=1, padding=(radius_px, 0))[0, 0]


def _shape(points: Tensor, image_from_world: Tensor, radius_px_m: Tensor, height: int, width: int) -> Tensor:
    return points.new_empty(image_from_world.shape[0], height, width, dtype=torch.float32)


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    SPLAT, "(Tensor points, Tensor image_from_world, Tensor radius_px_m, SymInt height, SymInt width) -> Tensor"
)
torch.library.impl(SPLAT, "CompositeExplicitAutograd", splat_depth_reference)
torch.library.register_fake(SPLAT, _shape)
