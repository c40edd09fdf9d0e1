"""Sampling: the points of a room that the cameras of a walk see, about 2 cm apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms.primitives import Floats, Ints
from geoguide3d.scenes.rooms.surface import Surface
from geoguide3d.scenes.rooms.textures import Singles

SPACING_M = 0.02
_SAMPLES_PER_CELL = 2.5
_OFF_M = 0.001  # a point is seen when the way to a point this far above it is free


def sample_surface(surface: Surface, random: np.random.Generator) -> tuple[Floats, Ints]:
    """Returns (N, 3) points and (N,) triangles: per 2 cm cell of an object, the one nearest its middle."""
    per_triangle = random.poisson(surface.areas / SPACING_M**2 * _SAMPLES_PER_CELL)
    triangles = np.repeat(np.arange(len(per_triangle)), per_triangle)
    u, v = random.random((2, len(triangles)))
    outside = u + v > 1
    u, v = np.where(outside, 1 - u, u), np.where(outside, 1 - v, v)
    a, b, c = (surface.mesh.vertices[surface.mesh.triangles[:, corner]] for corner in range(3))
    points = a[triangles] + u[:, None] * (b - a)[triangles] + v[:, None] * (c - a)[triangles]
    scaled = (points - points.min(axis=0)) / SPACING_M
    cells = np.floor(scaled).astype(np.int64)
    offset = ((scaled - cells - 0.5) ** 2).sum(axis=1)
    wide = cells.max(axis=0) + 1
    key = ((surface.triangle_object[triangles] * wide[0] + cells[:, 0]) * wide[1] + cells[:, 1]) * wide[2] + cells[:, 2]
    order = np.lexsort((offset, key))
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    kept = order[first]
    return points[kept], triangles[kept].astype(np.int64)


def seen_from(surface: Surface, points: Floats, triangles: Ints, cameras: Sequence[Camera]) -> tuple[Ints, Singles]:
    """Returns the rows of points that a camera sees, in order, and their (M, 3) normals towards the first that does."""
    normals = surface.normals[triangles].copy()
    waiting = np.ones(len(points), dtype=bool)
    for camera in cameras:
        rows = np.flatnonzero(waiting)
        local = points[rows] @ camera.camera_from_world[:3, :3].numpy().T + camera.camera_from_world[:3, 3].numpy()
        k = camera.intrinsics.numpy()
        depth = np.maximum(local[:, 2], 1e-6)
        u, v = k[0, 0] * local[:, 0] / depth + k[0, 2], k[1, 1] * local[:, 1] / depth + k[1, 2]
        inside = (local[:, 2] > 0.05) & (u > -0.5) & (u < camera.width - 0.5) & (v > -0.5) & (v < camera.height - 0.5)
        rows = rows[inside]
        eye = camera.center_world.numpy()
        towards = eye - points[rows]
        facing = np.einsum("md,md->m", normals[rows], towards)
        turned = np.where(facing[:, None] < 0, -normals[rows], normals[rows])
        hidden = surface.blocked(np.broadcast_to(eye, towards.shape), points[rows] + _OFF_M * turned, slack=1e-5)
        normals[rows[~hidden]] = turned[~hidden]
        waiting[rows[~hidden]] = False
    rows = np.flatnonzero(~waiting)
    return rows, normals[rows]
