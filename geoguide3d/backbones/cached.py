"""A frozen backbone that encodes every scene once."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import geoguide3d
from geoguide3d.backbones.protocol import EncodesInPieces, FrozenBackbone
from geoguide3d.backbones.tiling import TiledBackbone, TileSettings
from geoguide3d.backbones.weights import sha256_of
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeatureCache, FeaturePieces, content_key
from geoguide3d.store.feature_file import FeatureFile
from geoguide3d.store.feature_format import FeatureDescription

_log = logging.getLogger(__name__)
_READ_BY_BACKBONES = ("points", "origin", "up", "colors", "normals", "faces")


@dataclass(frozen=True)
class EncodingSettings:
    """How the backbone's features are computed and kept.

    Args:
        cache: folder in which the features of every scene are kept and found again; None computes them each time.
        cache_half: keeps them as float16, half the bytes, rounded to 3 digits.
        tiles: how large scenes are cut.
        device: where the backbone's network runs, such as cuda; None: on the CPU. What is handcrafted stays there.
    """

    cache: Path | None = None
    cache_half: bool = False
    tiles: TileSettings = field(default_factory=TileSettings)
    device: str | None = None


def with_encoding(backbone: FrozenBackbone, settings: EncodingSettings, weights: Path | None) -> FrozenBackbone:
    """Returns the backbone with its tiles and its cache.

    Args:
        weights: the backbone's checkpoint; None for backbones that have none.

    Raises:
        ValueError: the cache is a file.
    """
    tiled = TiledBackbone(backbone, settings.tiles)
    if settings.cache is None:
        return tiled
    dtype = torch.float16 if settings.cache_half else torch.float32
    return CachedBackbone(tiled, FeatureCache(settings.cache, dtype), weights)


class CachedBackbone:
    """A FrozenBackbone whose features come from a cache where they are there.

    The key is the content of all that a backbone may read of a scene (points, origin, up, colours, normals, faces),
    the backbone's name and config, its checkpoint and the version of this package; names and labels are not in it.

    Args:
        backbone: encodes the scenes that the cache has not.
        cache: with float32 the features are the backbone's own, with float16 rounded.
        weights: the backbone's checkpoint, hashed here; None for backbones that have none.
    """

    def __init__(self, backbone: FrozenBackbone, cache: FeatureCache, weights: Path | None) -> None:
        self._backbone, self._cache = backbone, cache
        self._weights = None if weights is None else sha256_of(weights)
        self.name, self.channels = backbone.name, backbone.channels
        self.voxel_size_m, self.needs = backbone.voxel_size_m, backbone.needs
        self.licence, self.config = backbone.licence, backbone.config

    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features in the order of scene.points."""
        return self.open(scene).rows().to(torch.float32)

    def open(self, scene: Scene) -> FeatureFile:
        """Returns the scene's features as a file of N rows, for those who need a part of them.

        Raises:
            ValueError: the backbone's features do not fit the cache's dtype, or the scene does not fit the backbone.
        """
        config = json.dumps(self.config, sort_keys=True)
        parts: dict[str, Any] = {f"scene.{name}": getattr(scene, name) for name in _READ_BY_BACKBONES}
        parts |= {"backbone": self.name, "config": config, "weights": self._weights}
        key = content_key({**parts, "version": geoguide3d.__version__})
        about = {"licence": self.licence, "config": config, "key": key}
        return self._cache.get(
            key, FeatureDescription("geometric", self.name, self.channels, about=about), lambda: self._compute(scene)
        )

    def _compute(self, scene: Scene) -> Tensor | FeaturePieces:
        _log.info("%s: not in the cache %s; encoding it", scene.name, self._cache.folder)
        if isinstance(self._backbone, EncodesInPieces):
            return self._backbone.encode_pieces(scene)
        return self._backbone.encode(scene)
