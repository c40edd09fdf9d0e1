"""Features that points share, because a network sees voxels: each is computed and kept once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from geoguide3d.backbones.network_input import Bounds
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeaturePieces


@dataclass(frozen=True)
class NodeFeatures:
    """Features at the voxels of one level, and which of them each row of something finer reads.

    Args:
        features: (M, G), those of the level and of all coarser ones side by side, the level's own first.
        node_of_row: (R,) int64, rows of features: of R voxels of the finest level, or of points.
    """

    features: Tensor
    node_of_row: Tensor

    def per_row(self) -> Tensor:
        """Returns (R, G)."""
        return self.features[self.node_of_row]


class EncodesNodes(ABC):
    """What all backbones on voxels have in common: their features of points follow from those of nodes."""

    @abstractmethod
    def encode_nodes(self, scene: Scene, whole: Bounds | None = None) -> NodeFeatures:
        """Returns what `encode` does, each feature once, on the CPU in float32.

        Args:
            whole: of the scene that this one is a part of.
        """

    def encode_part(self, part: Scene, whole: Bounds) -> Tensor:
        """Returns (N, G), as `encode` does, for a part of a scene: its coordinates and voxels are the whole's."""
        return self.encode_nodes(part, whole).per_row()

    def encode(self, scene: Scene) -> Tensor:
        """Returns (N, G) float32 features in the order of scene.points, without gradients, on the CPU.

        A missing up direction is estimated, and missing normals where they are needed; missing colours count as black
        (all logged).

        Raises:
            ValueError: points that are not finite, colours outside of 0 … 255, coordinates that float32 cannot tell
                apart at this voxel size, or more than 2¹⁶ voxels along an axis.
        """
        return self.encode_nodes(scene).per_row()

    def encode_pieces(self, scene: Scene) -> FeaturePieces:
        """Returns what `encode` does, each feature once, as the cache keeps them."""
        nodes = self.encode_nodes(scene)
        return FeaturePieces([nodes.features], nodes.node_of_row)
