"""Fused features that are computed once: found again by the content of cloud, frames, encoder and settings."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict

import torch
from torch import Tensor

import geoguide3d
from geoguide3d.encoders.protocols import Teacher2D
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.fusion.settings import FusionSettings
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View
from geoguide3d.store.cache import FeatureCache, content_key
from geoguide3d.store.feature_format import FeatureDescription

_log = logging.getLogger(__name__)


def fuse_views_once(
    scene: Scene, views: Sequence[View], encoder: Teacher2D, settings: FusionSettings, cache: FeatureCache
) -> FusedFeatures:
    """Returns what `fuse_views` does, from the cache where it was computed before.

    The key is the content of all that fusing may read: points, up and normals of the scene, cameras and depth of the
    views, their colours where the encoder reads them, the encoder, the settings and the version of this package. So
    frames are decoded to be recognised: little beside what a large network takes to encode them, but RoomCLIP, which is
    small, gains next to nothing.

    The cache keeps no counts and no variance: a point that some view saw has the count 1, as if one had, and one whose
    feature is zero in the cache's dtype counts as seen by none.

    Raises:
        ValueError: what `fuse_views` raises, settings that ask for the variance, or features that the cache's dtype
            cannot hold.
    """
    if settings.variance:
        raise ValueError("a cache of fused features keeps no variance: switch fusion.variance off, or the cache")
    key = _key(scene, views, encoder, settings)
    description = FeatureDescription("semantic", encoder.text_space, encoder.channels, about={"key": key})

    def fuse() -> Tensor:
        _log.info("%s: not in the cache %s; fusing it", scene.name, cache.folder)
        return fuse_views(scene, views, encoder, settings).features

    features = cache.get(key, description, fuse).rows().to(torch.float32)
    return FusedFeatures(features, features.any(dim=1).to(torch.int32))


def _key(scene: Scene, views: Sequence[View], encoder: Teacher2D, settings: FusionSettings) -> str:
    parts: dict[str, Tensor | str | None] = {
        "points": scene.points,
        "origin": scene.origin,
        "up": scene.up,
        "normals": scene.normals,
        "faces": scene.faces,
        "encoder": encoder.content([view.name for view in views]),
        "settings": json.dumps(asdict(settings), sort_keys=True),
        "version": geoguide3d.__version__,
    }
    for number, view in enumerate(views):
        parts[f"view {number}"] = content_key(
            {
                "intrinsics": view.camera.intrinsics,
                "pose": view.camera.camera_from_world,
                "size": f"{view.camera.width} {view.camera.height}",
                "color": view.read_color() if encoder.reads_images else None,
                "depth": None if view.read_depth is None else view.read_depth(),
            }
        )
    return content_key(parts)
