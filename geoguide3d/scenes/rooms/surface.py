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
from geoguide3d.scenes.rooms.textures import Singles


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
        self.normals: Singles = (cross / np.maximum(length, 1e-12)[:, None]).astype(np.float32)
        self.paints = PaintTable(paints)
        own_from_room = [(np.cos(it.pose.yaw), np.sin(it.pose.yaw), *it.pose.from_room(0.0, 0.0)) for it in objects]
        self._own_from_room = np.array(own_from_room, dtype=np.float32)[self.triangle_object]

    @cached_property
    def _scene(self) -> Any:
        try:
            import open3d as o3d
        except ImportError as error:
            raise ImportError("procedural rooms cast rays with open3d: pip install 'geoguide3d[open3d]'") from error
        scene = o3d.t.geometry.RaycastingScene()
        scene.add_triangles(
            _tensor(self.mesh.vertices.astype(np.float32)), _tensor(self.mesh.triangles.astype(np.uint32))
        )
        return scene

    def cast(self, rays: Singles) -> tuple[Singles, Ints]:
        """Returns, per ray, the multiple of its direction to the first surface (inf: none) and the triangle (-1).

        Args:
            rays: (M, 6) float32 origin and direction.
        """
        answer = self._scene.cast_rays(_tensor(rays))
        triangle = answer["primitive_ids"].numpy().astype(np.int64)
        distance = answer["t_hit"].numpy()
        return distance, np.where(np.isfinite(distance), triangle, -1)

    def blocked(self, starts: Floats | Singles, ends: Floats | Singles, slack: float = 1e-3) -> NDArray[np.bool_]:
        """Returns (M,) whether something stands between starts and ends, (M, 3) metres each.

        Args:
            slack: share of the way at either end that does not count.
        """
        rays = np.empty((len(starts), 6), dtype=np.float32)
        rays[:, :3], rays[:, 3:] = starts, ends - starts
        hit = self._scene.test_occlusions(_tensor(rays), tnear=slack, tfar=1.0 - slack)
        return np.asarray(hit.numpy(), dtype=np.bool_)

    def albedo(self, points: Singles, triangles: Ints) -> Singles:
        """Returns (M, 3) linear RGB that the surface reflects at points (M, 3) on the given triangles."""
        cosine, sine, *shift = self._own_from_room.take(triangles, axis=0).T
        own = np.empty_like(points)
        own[:, 0] = cosine * points[:, 0] + sine * points[:, 1] + shift[0]
        own[:, 1] = cosine * points[:, 1] - sine * points[:, 0] + shift[1]
        own[:, 2] = points[:, 2] + shift[2]
        return self.paints.albedo(own, self.triangle_paint[triangles])


def _tensor(values: NDArray[Any]) -> Any:
    import open3d as o3d

    convert: Any = o3d.core.Tensor  # its stubs do not know numpy's dtypes
    return convert(np.ascontiguousarray(values))
