"""Gives a scene the normals and the up direction that its file did not have."""

from __future__ import annotations

import logging
from dataclasses import replace

import torch
from torch import Tensor

from geoguide3d.geometry.normals import normals_from_faces, normals_from_neighbors
from geoguide3d.geometry.upright import estimate_up
from geoguide3d.scenes.scene import Scene

_log = logging.getLogger(__name__)


def ensure_normals(scene: Scene) -> Scene:
    """Returns the scene with unit normals: its own, else those of its faces, else those of neighbouring points.

    Points whose own normal is zero, or that belong to no face, take theirs from neighbouring points.
    """
    if scene.normals is not None:
        normals, origin = torch.nn.functional.normalize(scene.normals, dim=1), "its own normals"
    elif scene.faces is not None and len(scene.faces):
        normals, origin = normals_from_faces(scene.points, scene.faces), "normals from its faces"
    else:
        normals, origin = torch.zeros_like(scene.points), "normals from neighbouring points"
    without = normals.norm(dim=1) < 0.5
    if bool(without.any()):
        normals = torch.where(without.unsqueeze(1), normals_from_neighbors(scene.points), normals)
    if scene.normals is not None and not bool(without.any()):
        return scene
    _log.info("%s: %s; %d of %d from neighbouring points", scene.name, origin, int(without.sum()), len(scene))
    return replace(scene, normals=normals)


def with_up(scene: Scene, up: Tensor | None = None, cameras_up: Tensor | None = None) -> Scene:
    """Returns the scene with its up direction: the one given, else the scene's, else one estimated and logged.

    Args:
        up: (3,) direction in the scene's axes, any length.
        cameras_up: (V, 3) the world direction that is up in each of the scene's images.

    Raises:
        ValueError: up has no direction.
    """
    if up is not None:
        if up.shape != (3,) or not bool(torch.isfinite(up).all()) or float(up.norm()) == 0.0:
            raise ValueError(f"{scene.name}: up must be three finite numbers, not all zero, got {up.tolist()}")
        return replace(scene, up=up)
    if scene.up is not None:
        return scene
    normals = ensure_normals(scene).normals
    assert normals is not None  # what ensure_normals is for
    estimate = estimate_up(scene.points, normals, cameras_up)
    _log.info("%s: up is estimated as (%.3f, %.3f, %.3f)", scene.name, *estimate.tolist())
    return replace(scene, up=estimate)
