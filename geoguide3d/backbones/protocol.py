"""What the rest of the library asks of a frozen 3D backbone."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from geoguide3d.backbones.network_input import Bounds
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeaturePieces


@runtime_checkable
class FrozenBackbone(Protocol):
    """A deterministic function from a scene to one geometric feature per point; it is never trained here.

    Attributes:
        name: what `load_backbone` knows it by.
        channels: G, the width of the features.
        voxel_size_m: side of the voxels within which points share what the network sees.
        needs: what it reads besides points: "colors", "normals". Where a scene lacks one it is replaced, and the log
            says so.
        licence: of the features, as far as it binds who uses them: the checkpoint's, where there is one.
        config: everything that changes the features, as JSON values; stored with every model.
    """

    name: str
    channels: int
    voxel_size_m: float
    needs: tuple[str, ...]
    licence: str
    config: dict[str, Any]

    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features in the order of scene.points, without gradients."""
        ...


@runtime_checkable
class EncodesInPieces(Protocol):
    """A backbone that can give its features without holding (N, G) of them: those of tiles, or of pooled nodes."""

    def encode_pieces(self, scene: Scene) -> FeaturePieces:
        """Returns the features of `encode` as pieces and an index."""
        ...


@runtime_checkable
class EncodesParts(Protocol):
    """A backbone that can be told what its scene is a part of, so that the features of parts fit together."""

    def encode_part(self, part: Scene, whole: Bounds) -> Tensor:
        """Returns the features of `encode` for a part of a scene with these bounds; `part.up` is the whole's."""
        ...
