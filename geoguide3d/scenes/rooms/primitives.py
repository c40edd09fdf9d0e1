"""Meshes of boxes, turned bodies and rounded blocks, of which all furniture is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Triple = tuple[float, float, float]

_BOX_TRIANGLES = np.array(
    [
        *([0, 2, 1], [1, 2, 3], [4, 5, 6], [5, 7, 6]),
        *([0, 1, 4], [1, 5, 4], [2, 6, 3], [3, 6, 7]),
        *([0, 4, 2], [2, 4, 6], [1, 3, 5], [3, 7, 5]),
    ],
    dtype=np.int64,
)
_BOX_CORNERS = np.array([[x, y, z] for z in (0.0, 1.0) for y in (-0.5, 0.5) for x in (-0.5, 0.5)])


@dataclass(frozen=True)
class Mesh:
    """Triangles whose corners run counter-clockwise when seen from outside.

    Args:
        vertices: (V, 3) metres.
        triangles: (F, 3) indices into vertices.
    """

    vertices: Floats
    triangles: Ints

    def moved(self, rotation: Floats, translation: Sequence[float] | Floats) -> Mesh:
        """Returns the mesh with every vertex at rotation @ vertex + translation."""
        return Mesh(self.vertices @ rotation.T + np.asarray(translation), self.triangles)

    def tilted(self, degrees: float, pivot: Triple) -> Mesh:
        """Returns the mesh turned about the x axis through pivot; a positive angle leans the top to -y."""
        rotation = np.eye(3)
        angle = np.deg2rad(degrees)
        rotation[1:, 1:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        return Mesh((self.vertices - pivot) @ rotation.T + pivot, self.triangles)


def about_z(yaw: float) -> Floats:
    """Returns the (3, 3) rotation by yaw (radians) about the vertical."""
    return np.array([[np.cos(yaw), -np.sin(yaw), 0.0], [np.sin(yaw), np.cos(yaw), 0.0], [0.0, 0.0, 1.0]])


def box(size: Triple, at: Triple) -> Mesh:
    """Returns a box of (width x, depth y, height z) whose bottom face is centred at `at`."""
    return Mesh(_BOX_CORNERS * size + at, _BOX_TRIANGLES)


def lathe(
    profile: Sequence[tuple[float, float]],
    at: Triple,
    aspect: float = 1.0,
    squareness: float = 0.0,
    sides: int = 20,
) -> Mesh:
    """Returns the body that a profile of (radius, height) pairs sweeps around the vertical through `at`.

    Args:
        profile: from the bottom outwards and up; where it comes down again inside, the body is hollow.
        aspect: depth (y) over width (x) of the cross-section.
        squareness: 0 for a circle, towards 1 for a square with rounded corners.
        sides: corners of the cross-section.
    """
    angles = np.arange(sides) * (2 * np.pi / sides) + np.pi / sides
    circle = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    outline = np.sign(circle) * np.abs(circle) ** (1.0 - squareness) * (1.0, aspect)
    rings = [np.column_stack([outline * radius, np.full(sides, height)]) for radius, height in profile]
    here = np.arange(sides)
    after = (here + 1) % sides
    triangles = []
    for lower in range(len(profile) - 1):
        a, b = lower * sides, (lower + 1) * sides
        if profile[lower][0] > 0:
            triangles.append(np.stack([a + here, a + after, b + after], axis=1))
        if profile[lower + 1][0] > 0:
            triangles.append(np.stack([a + here, b + after, b + here], axis=1))
    return Mesh(np.concatenate(rings) + at, np.concatenate(triangles).astype(np.int64))


def block(size: Triple, at: Triple, roundness: float = 0.3) -> Mesh:
    """Returns a block with rounded edges: roundness near 0 gives a box, 1 an ellipsoid. `at` is its bottom's centre."""
    latitudes = np.linspace(-np.pi / 2, np.pi / 2, 9)
    bent = np.sign(np.sin(latitudes)) * np.abs(np.sin(latitudes)) ** roundness
    radii = np.abs(np.cos(latitudes)) ** roundness
    radii[[0, -1]] = 0.0
    profile = [(float(r) * size[0] / 2, float(0.5 + 0.5 * z) * size[2]) for r, z in zip(radii, bent, strict=True)]
    return lathe(profile, at, aspect=size[1] / size[0], squareness=1.0 - roundness)


def joined(meshes: Sequence[Mesh]) -> Mesh:
    """Returns one mesh with the triangles of all, in order."""
    starts = np.cumsum([0] + [len(mesh.vertices) for mesh in meshes[:-1]])
    triangles = [mesh.triangles + start for mesh, start in zip(meshes, starts, strict=True)]
    return Mesh(np.concatenate([mesh.vertices for mesh in meshes]), np.concatenate(triangles))
