"""Encodes a large scene tile by tile, so that the memory depends on the largest tile and not on the scene."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from geoguide3d.backbones.network_input import upright_bounds
from geoguide3d.backbones.protocol import EncodesInPieces, EncodesParts, FrozenBackbone
from geoguide3d.geometry.upright import rotation_to_z_up
from geoguide3d.ops import voxel_hash
from geoguide3d.scenes.orientation import ensure_normals, with_up
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeaturePieces
from geoguide3d.store.repeats import without_repeats

_log = logging.getLogger(__name__)
_BYTES_PER_CHANNEL = 35  # of a voxel, where a backbone does not say: as upstream's Sonata


@dataclass(frozen=True)
class TileSettings:
    """How a large scene is cut for the backbone.

    Args:
        core_m: longest side of a tile's core, metres along the floor; None encodes every scene at once.
        margin_m: what a tile sees beyond its core on each side, metres. A margin of at least the backbone's receptive
            field makes the seams of sparse U-Nets exact; PTv3's attention has no such field.

    Raises:
        ValueError: a core that is not positive, or a negative margin.
    """

    core_m: float | None = None
    margin_m: float = 2.0

    def __post_init__(self) -> None:
        if self.core_m is not None and not 0 < self.core_m < math.inf:
            raise ValueError(f"tiles.core_m must be positive, got {self.core_m}; leave it out to encode at once")
        if not 0 <= self.margin_m < math.inf:
            raise ValueError(f"tiles.margin_m must be at least 0, got {self.margin_m}")


@dataclass(frozen=True)
class Tile:
    """One tile of a scene.

    Args:
        points: (P,) int64, all points that the backbone is shown, rising.
        core: (P,) bool, the points that take their features from this tile. Every point is in the core of one tile.
    """

    points: Tensor
    core: Tensor


class Tiling:
    """The tiles of a scene: a grid of equal cores over the floor, none longer than core_m, and a margin around each."""

    def __init__(self, scene: Scene, settings: TileSettings) -> None:
        """Cuts a scene whose `up` is known.

        Raises:
            ValueError: settings without core_m, or a scene without `up`.
        """
        if settings.core_m is None or scene.up is None:
            raise ValueError(f"{scene.name}: tiles need core_m and up, got {settings.core_m} and {scene.up}")
        floor = (scene.points.to(torch.float64) @ rotation_to_z_up(scene.up).to(torch.float64).T)[:, :2]
        self._margin = settings.margin_m
        self._floor = floor - floor.amin(dim=0)
        extent = self._floor.amax(dim=0)
        counts = (extent / settings.core_m).ceil().clamp(min=1)
        self._sides = torch.where(extent > 0, extent / counts, settings.core_m)
        cells = (self._floor / self._sides).floor().clamp(min=0).minimum(counts - 1).to(torch.int64)
        self._cores, self._core_of_point = torch.unique(cells, dim=0, return_inverse=True)

    def __len__(self) -> int:
        return len(self._cores)

    def __iter__(self) -> Iterator[Tile]:
        for number in range(len(self)):
            points = self._inside(number).nonzero().squeeze(1)
            yield Tile(points, self._core_of_point[points] == number)

    @property
    def order(self) -> Tensor:
        """(N,) int64: the points as the tiles' cores hold them, one tile after another."""
        order: Tensor = self._core_of_point.argsort(stable=True)
        return order

    @property
    def largest(self) -> Tensor:
        """(P,) int64: the points of the largest tile, margin included."""
        number = max(range(len(self)), key=lambda number: int(self._inside(number).sum()))
        return self._inside(number).nonzero().squeeze(1)

    def _inside(self, number: int) -> Tensor:
        begin = self._cores[number] * self._sides
        near = (self._floor >= begin - self._margin) & (self._floor <= begin + self._sides + self._margin)
        own: Tensor = self._core_of_point == number  # whatever rounding does at the border of a core
        return own.logical_or_(near.all(dim=1))


class TiledBackbone:
    """A FrozenBackbone that encodes large scenes by overlapping tiles; each point takes what its core's tile says.

    Normals and up are estimated once for the whole scene where they are missing, so that all tiles agree on them.
    Backbones on voxels (`EncodesParts`) take coordinates and cells from the whole scene, so their tiles agree on them;
    what other backbones read of the whole room (its floor, its walls' direction) they read of the tile instead.
    Before starting, the memory is estimated and logged, from the scene's voxels and the backbone's
    `bytes_per_voxel`, where it has one.

    Args:
        backbone: encodes the tiles.
        settings: without `core_m`, every scene is encoded at once, and only the estimate is new.
    """

    def __init__(self, backbone: FrozenBackbone, settings: TileSettings) -> None:
        self._backbone, self._settings = backbone, settings
        self.name, self.channels, self.licence = backbone.name, backbone.channels, backbone.licence
        self.voxel_size_m, self.needs = backbone.voxel_size_m, backbone.needs
        self.config: dict[str, Any] = dict(backbone.config)
        if settings.core_m is not None:
            self.config["tiles"] = {"core_m": settings.core_m, "margin_m": settings.margin_m}

    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features in the order of scene.points, without gradients."""
        tiling = self._cut(scene)
        self._log_estimate(scene, tiling, len(scene))
        if tiling is None:
            return self._backbone.encode(scene)
        features = torch.empty(len(scene), self.channels)
        order, begin = tiling[1].order, 0
        for piece in self._encode_tiles(*tiling):
            features[order[begin : begin + len(piece)]] = piece.to(features)
            begin += len(piece)
        return features

    def encode_pieces(self, scene: Scene) -> FeaturePieces:
        """Returns the same features tile by tile, so that (N, G) of them are never in memory together."""
        tiling = self._cut(scene)
        self._log_estimate(scene, tiling, 0 if tiling else len(scene))
        if tiling is not None:
            order = tiling[1].order
            inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))
            return FeaturePieces(self._encode_tiles(*tiling), inverse)
        if isinstance(self._backbone, EncodesInPieces):
            return self._backbone.encode_pieces(scene)
        rows, inverse_or_none = without_repeats(self._backbone.encode(scene).cpu())
        return FeaturePieces([rows], inverse_or_none)

    def _cut(self, scene: Scene) -> tuple[Scene, Tiling] | None:
        """Returns the scene with normals and up, and its tiles; None where it is encoded at once."""
        if self._settings.core_m is None:
            return None
        # Without up no one knows the floor, but a scene that fits into a core in every direction is one tile anyway.
        if float((scene.points.amax(dim=0) - scene.points.amin(dim=0)).norm()) <= self._settings.core_m:
            return None
        scene = with_up(ensure_normals(scene))
        tiling = Tiling(scene, self._settings)
        return (scene, tiling) if len(tiling) > 1 else None

    def _encode_tiles(self, scene: Scene, tiling: Tiling) -> Iterator[Tensor]:
        """Yields the (points of the core, G) features of one tile after another."""
        backbone, whole = self._backbone, upright_bounds(scene)
        for number, tile in enumerate(tiling):
            part = Scene(
                points=scene.points[tile.points],
                origin=scene.origin,
                up=scene.up,
                colors=None if scene.colors is None else scene.colors[tile.points],
                normals=None if scene.normals is None else scene.normals[tile.points],
                name=f"{scene.name}, tile {number + 1} of {len(tiling)}",
            )
            features = (
                backbone.encode_part(part, whole) if isinstance(backbone, EncodesParts) else backbone.encode(part)
            )
            yield features[tile.core]

    def _log_estimate(self, scene: Scene, tiling: tuple[Scene, Tiling] | None, held_rows: int) -> None:
        largest = scene.points if tiling is None else scene.points[tiling[1].largest]
        voxels = self._count_voxels(largest)
        per_voxel: int = getattr(self._backbone, "bytes_per_voxel", _BYTES_PER_CHANNEL * self.channels)
        # Encoded at once, the features that are held are those of the largest part.
        rows = len(largest) if tiling is None else len(largest) + held_rows
        way = "at once" if tiling is None else f"in {len(tiling[1])} tiles of at most {len(largest):,}"
        _log.info(
            "%s: encodes %s points %s (%s voxels of %g m); about %.2f GB of memory",
            scene.name, f"{len(scene):,}", way, f"{voxels:,}", self.voxel_size_m,
            (voxels * per_voxel + rows * self.channels * 4) / 1e9,
        )  # fmt: skip

    def _count_voxels(self, points: Tensor) -> int:
        """Returns how many voxels points occupy; of what no grid can hold, which encoding will refuse, the points."""
        try:
            return len(voxel_hash(points, self.voxel_size_m)[0])
        except ValueError:
            return len(points)
