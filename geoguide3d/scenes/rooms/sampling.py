"""Sampling: the points of a room that the cameras of a walk see, about 2 cm apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from geoguide3d.geometry.cameras import Camera
from geoguide3d.scenes.rooms.primitives import Ints
from geoguide3d.scenes.rooms.surface import Surface
from geoguide3d.scenes.rooms.textures import Singles

SPACING_M = 0.02
_SAMPLES_PER_CELL = 2.5
_NEAR_M = 0.05
_OFF_M = 0.001  # a point is seen when the way to a point this far above it is free


def sample_surface(surface: Surface, random: np.random.Generator) -> tuple[Singles, Ints]:
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
    return points[kept].astype(np.float32), triangles[kept]


def seen_from(surface: Surface, points: Singles, triangles: Ints, cameras: Sequence[Camera]) -> tuple[Ints, Singles]:
    """Returns the rows of points that a camera sees, in order, and their (M, 3) normals towards the first that does."""
    normals = surface.normals[triangles].copy()
    waiting = np.ones(len(points), dtype=bool)
    for camera in cameras:
        rows = np.flatnonzero(waiting)
        camera_from_world = camera.camera_from_world.numpy().astype(np.float32)
        local = points[rows] @ camera_from_world[:3, :3].T + camera_from_world[:3, 3]
        fx, fy, cx, cy = (float(camera.intrinsics[at]) for at in ((0, 0), (1, 1), (0, 2), (1, 2)))
        depth = np.maximum(local[:, 2], 1e-6)
        across, down = fx * local[:, 0] / depth + cx + 0.5, fy * local[:, 1] / depth + cy + 0.5
        inside = (across > 0) & (across < camera.width) & (down > 0) & (down < camera.height)
        rows = rows[inside & (local[:, 2] > _NEAR_M)]
        eye = camera.center_world.numpy().astype(np.float32)
        towards = eye - points[rows]
        facing = np.einsum("md,md->m", normals[rows], towards)
        turned = np.where(facing[:, None] < 0, -normals[rows], normals[rows])
        hidden = surface.blocked(np.broadcast_to(eye, towards.shape), points[rows] + _OFF_M * turned, slack=1e-5)
        normals[rows[~hidden]] = turned[~hidden]
        waiting[rows[~hidden]] = False
    rows = np.flatnonzero(~waiting)
    return rows, normals[rows]
