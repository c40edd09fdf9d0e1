"""Depth images of a scan: they stand in for a depth sensor, and are what depth networks are given of a 3D scene.

Many cameras at once: `geoguide3d.ops.splat_depth` and `rasterize_depth`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.ops import rasterize_depth, splat_depth


def render_depth(points: Tensor, camera: Camera, splat_radius_m: float) -> Tensor:
    """Returns the (H, W) float32 z-depth of the nearest point at each pixel, 0 where there is none.

    Points of like depth are drawn as squares, which closes the gaps between them, and the drawing then shrinks by as
    much (a closing of grey-level morphology), so that rims stay where they are and slanted surfaces keep their depth.
    Not differentiable.

    Args:
        points: (N, 3) any float dtype, metres, in the world of the camera.
        splat_radius_m: half side of the square, metres (see `visibility.splat_radius`); on the image at most W / 8.

    Raises:
        ValueError: points are not (N, 3) floats, or the radius is negative.
    """
    poses = (camera.intrinsics[None], camera.camera_from_world[None])
    return splat_depth(float32_or_64(points), *poses, (camera.width, camera.height), splat_radius_m)[0]


def render_mesh_depth(vertices: Tensor, faces: Tensor, camera: Camera) -> Tensor:
    """Returns the (H, W) float32 z-depth at which each pixel's ray first meets the mesh, 0 where it meets nothing.

    Both sides of a triangle count; triangles that reach behind the camera are cut there. Not differentiable.

    Args:
        vertices: (N, 3) any float dtype, metres, in the world of the camera.
        faces: (F, 3) int64 rows of vertices.

    Raises:
        ValueError: shapes that do not fit, or a face outside the vertices.
    """
    poses = (camera.intrinsics[None], camera.camera_from_world[None])
    return rasterize_depth(float32_or_64(vertices), faces, *poses, (camera.width, camera.height))[0]


def float32_or_64(values: Tensor) -> Tensor:
    """Returns floats that the projection ops take: half types become float32."""
    return values.to(torch.float32) if values.dtype in (torch.float16, torch.bfloat16) else values
