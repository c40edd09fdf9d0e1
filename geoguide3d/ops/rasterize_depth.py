"""Depth images of a triangle mesh. The contract is written in csrc/rasterize_depth.h.

Compiled kernels and the reference below are registered for the same operator; the dispatcher chooses by device.
"""

from __future__ import annotations

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops.cameras import LEAST_DEPTH_M, projection_matrices
from geoguide3d.ops.check_range import check_range

RASTERIZE = "geoguide3d::rasterize_depth"
_REFERENCE_TESTS = 2**23  # pixels times faces that the reference looks at in one step


def rasterize_depth(
    vertices: Tensor, faces: Tensor, intrinsics: Tensor, camera_from_world: Tensor, size: tuple[int, int]
) -> Tensor:
    """Returns (V, H, W) float32 z-depth at which each pixel's ray first meets a triangle, 0 where it meets none.

    Depth is exact at pixel centres (at integers): 1 / z is linear on the image of a triangle. Both sides of a triangle
    count; neighbours leave no holes between them. Triangles without area or with a vertex that is not finite are
    skipped; those that reach behind the camera are cut there. Not differentiable.

    Args:
        vertices: (N, 3) float32 or float64, metres, world.
        faces: (F, 3) int64 rows of vertices, in any orientation.
        intrinsics: (V, 3, 3) pixels, on the CPU or with the vertices, as the next one.
        camera_from_world: (V, 4, 4) rigid; OpenCV axes (x right, y down, z forward).
        size: (width, height) of every image.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, an empty image, or a face outside the vertices (on
            CUDA inside torch.compile: a device-side assertion).
    """
    image_from_world = projection_matrices(vertices, intrinsics, camera_from_world)
    if faces.ndim != 2 or faces.shape[1] != 3 or faces.dtype != torch.int64:
        raise ValueError(f"faces must be (F, 3) int64, got {tuple(faces.shape)} {faces.dtype}")
    if faces.device != vertices.device:
        raise ValueError(f"faces must be on {vertices.device} as vertices are, got {faces.device}")
    width, height = size
    if width < 1 or height < 1:
        raise ValueError(f"size must be (width, height) of at least one pixel, got {tuple(size)}")
    if not torch.compiler.is_compiling() and faces.numel() > 0:
        first, last = (int(end) for end in faces.aminmax())
        if first < 0 or last >= len(vertices):
            raise ValueError(f"faces name vertices {first} to {last}, but there are {len(vertices)}")
    depth = torch.ops.geoguide3d.rasterize_depth(vertices.detach(), faces, image_from_world, height, width)
    assert isinstance(depth, Tensor)
    return depth


# --- reference: obvious PyTorch, every triangle against every pixel, runs on any device that has no kernel ------------


def rasterize_depth_reference(
    vertices: Tensor, faces: Tensor, image_from_world: Tensor, height: int, width: int
) -> Tensor:
    check_range(faces, len(vertices), "faces")
    v, u = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    rays = torch.stack([u, v, torch.ones_like(u)]).reshape(3, -1).to(vertices.device, torch.float64)
    homogeneous = torch.nn.functional.pad(vertices.to(torch.float64), (0, 1), value=1.0)
    views = []
    for matrix in image_from_world:
        triangles = (homogeneous @ matrix.T)[faces]  # (F, corner, 3): u z, v z, z
        nearest = rays.new_full((height * width,), torch.inf, dtype=torch.float32)
        for part in triangles.split(max(1, _REFERENCE_TESTS // (height * width))):
            nearest = torch.minimum(nearest, _depth_of(part, rays))
        views.append(nearest.masked_fill(nearest == torch.inf, 0.0).view(height, width))
    return torch.stack(views) if views else vertices.new_empty(0, height, width, dtype=torch.float32)


def _depth_of(triangles: Tensor, rays: Tensor) -> Tensor:
    """Returns the (H · W,) least depth, inf where no triangle is met, of (F, 3 corners, 3) along (3, H · W) rays."""
    triangles = triangles[triangles.isfinite().all(2).all(1)]
    p, q, r = triangles.unbind(1)
    plane = torch.linalg.cross(q - p, r - p)
    determinant = (p * plane).sum(1, keepdim=True)
    inside = (determinant != 0).expand(-1, rays.shape[1])
    for a, b in ((p, q), (q, r), (r, p)):
        inside = inside & ((torch.linalg.cross(a, b) @ rays) * determinant.sign() >= 0)
    depth = determinant / (plane @ rays)
    z = triangles[:, :, 2]
    depth = depth.clamp(z.amin(1, keepdim=True).clamp(min=LEAST_DEPTH_M), z.amax(1, keepdim=True))
    none = depth.new_full((1, rays.shape[1]), torch.inf)
    return torch.cat([depth.masked_fill(~inside, torch.inf), none]).amin(0).to(torch.float32)


def _shape(vertices: Tensor, faces: Tensor, image_from_world: Tensor, height: int, width: int) -> Tensor:
    return vertices.new_empty(image_from_world.shape[0], height, width, dtype=torch.float32)


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    RASTERIZE, "(Tensor vertices, Tensor faces, Tensor image_from_world, SymInt height, SymInt width) -> Tensor"
)
torch.library.impl(RASTERIZE, "CompositeExplicitAutograd", rasterize_depth_reference)
torch.library.register_fake(RASTERIZE, _shape)
