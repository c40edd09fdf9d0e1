"""Superpoints of a scene: along its faces where it has them, else between neighbouring points."""

from __future__ import annotations

from torch import Tensor

from geoguide3d.geometry.superpoints import SuperpointSettings, superpoints_of_cloud, superpoints_of_mesh
from geoguide3d.scenes.orientation import ensure_normals
from geoguide3d.scenes.scene import Scene


def superpoints_of_scene(scene: Scene, settings: SuperpointSettings | None = None) -> Tensor:
    """Returns (N,) int64 superpoints of the scene's points, contiguous from 0 in the order of their first points.

    With faces they are those of ScanNet's segmentator, which takes its normals from the faces. Without, the scene's
    own normals count (`ensure_normals` fills those that are zero); where it has none at all, they are estimated more
    locally than `ensure_normals` does, so give the scene as it was read.

    Args:
        settings: None: the defaults, k_threshold 0.01, min_size 60, colours on clouds alone.

    Raises:
        ValueError: settings that do not fit the scene: a color_weight above 0 without colours, `sided` without
            normals.
    """
    settings = settings or SuperpointSettings()
    if scene.colors is None and settings.color_weight:
        raise ValueError(
            f"{scene.name}: color_weight is {settings.color_weight}, but the scene has no colours; set it to 0"
        )
    if scene.faces is not None and len(scene.faces):
        return superpoints_of_mesh(scene.points, scene.faces, settings, scene.colors)
    if scene.normals is None and settings.sided:
        raise ValueError(f"{scene.name}: sided superpoints need the scene's own normals, and it has none; leave it off")
    normals = None if scene.normals is None else ensure_normals(scene).normals
    return superpoints_of_cloud(scene.points, normals, settings, scene.colors)
