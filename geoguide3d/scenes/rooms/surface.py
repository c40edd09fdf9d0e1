"""Surface: all triangles of a room with what they belong to, and the rays that meet them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoguide3d.scenes.rooms.materials import Paint, PaintTable
from geoguide3d.scenes.rooms.placement import Pose
from geoguide3d.scenes.rooms.primitives import Floats, Ints, Mesh, joined
from geoguide3d.scenes.rooms.shape import Shape


@dataclass(frozen=True)
class Painted:
    """One object of the room: its shape, its place, and the paint of each role."""

    shape: Shape
    pose: Pose
    paints: dict[str, Paint]


class Surface:
    """The triangles of a room. Ids of objects are their positions in the sequence given.

    Attributes:
        mesh: all triangles in the room's frame.
        triangle_object: (F,) id of each triangle's object.
        triangle_paint: (F,) id of each triangle's paint in `paints`.
        normals: (F, 3) unit normals.
        paints: every paint of the room.
    """

    def __init__(self, objects: Sequence[Painted]) -> None:
        meshes: list[Mesh] = []
        paints: list[Paint] = []
        owner: list[int] = []
        paint_of: list[int] = []
        for index, painted in enumerate(objects):
            known: dict[str, int] = {}
            for part in painted.shape.parts:
                if part.role not in known:
                    known[part.role] = len(paints)
                    paints.append(painted.paints[part.role])
                meshes.append(part.mesh.moved(painted.pose.rotation, painted.pose.position))
                owner.append(index)
                paint_of.append(known[part.role])
        sizes = [len(mesh.triangles) for mesh in meshes]
        self.mesh = joined(meshes)
        self.triangle_object: Ints = np.repeat(np.array(owner, dtype=np.int64), sizes)
        self.triangle_paint: Ints = np.repeat(np.array(paint_of, dtype=np.int64), sizes)
        corners = self.mesh.vertices[self.mesh.triangles]
        cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(cross, axis=1)
        self.areas: Floats = length / 2
        self.normals: Floats = cross / np.maximum(length, 1e-12)[:, None]
        self.paints = PaintTable(paints)
        self._yaw = np.array([painted.pose.yaw for painted in objects])
        self._position = np.array([painted.pose.position for painted in objects])

    @cached_property
    def _scene(self) -> Any:
        try:
            import open3d as o3d
        except ImportError as error:
            raise ImportError("procedural rooms cast rays with open3d: pip install 'geoguide3d[open3d]'") from error
        scene = o3d.t.geometry.RaycastingScene()
        vertices = o3d.core.Tensor(self.mesh.vertices.astype(np.float32))
        scene.add_triangles(vertices, o3d.core.Tensor(self.mesh.triangles.astype(np.uint32)))
        return scene

    def cast(self, rays: NDArray[np.float32]) -> tuple[NDArray[np.float32], Ints]:
        """Returns, per ray, the multiple of its direction to the first surface (inf: none) and the triangle (-1).

        Args:
            rays: (M, 6) origin and direction.
        """
        import open3d as o3d

        answer = self._scene.cast_rays(o3d.core.Tensor(np.ascontiguousarray(rays, dtype=np.float32)))
        triangle = answer["primitive_ids"].numpy().astype(np.int64)
        distance = answer["t_hit"].numpy()
        return distance, np.where(np.isfinite(distance), triangle, -1)

    def blocked(self, starts: Floats, ends: Floats, slack: float = 1e-3) -> NDArray[np.bool_]:
        """Returns (M,) whether something stands between starts and ends (broadcast, (M, 3)); `slack` of the way at
        either end does not count."""
        import open3d as o3d

        starts, ends = np.broadcast_arrays(starts, ends)
        rays = np.concatenate([starts, ends - starts], axis=1).astype(np.float32)
        hit = self._scene.test_occlusions(o3d.core.Tensor(rays), tnear=slack, tfar=1.0 - slack)
        return np.asarray(hit.numpy(), dtype=np.bool_)

    def albedo(self, points: Floats, triangles: Ints) -> Floats:
        """Returns (M, 3) linear RGB that the surface reflects at points on the given triangles."""
        owner = self.triangle_object[triangles]
        away = points - self._position[owner]
        cosine, sine = np.cos(self._yaw)[owner], np.sin(self._yaw)[owner]
        local = np.stack(
            [cosine * away[:, 0] + sine * away[:, 1], cosine * away[:, 1] - sine * away[:, 0], away[:, 2]], axis=1
        )
        return self.paints.albedo(local, self.triangle_paint[triangles])
