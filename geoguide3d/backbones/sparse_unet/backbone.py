"""From a scene to the features of a sparse U-Net, in the order of the scene's points."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from geoguide3d.backbones.network_input import Bounds, NetworkInput, Placement, network_input
from geoguide3d.backbones.node_features import EncodesNodes, NodeFeatures
from geoguide3d.backbones.sparse_unet.network import SparseUNet, with_folded_norms
from geoguide3d.scenes.scene import Scene
from geoguide3d.sparse.tensor import MOST_CELLS, SparseTensor

_BYTES_PER_WIDTH = 56  # a voxel's memory for each channel of the decoder's finest level (benchmarks/backbones.py)


class SparseUNetBackbone(EncodesNodes):
    """A FrozenBackbone on a sparse U-Net: what its kinds have in common. Deterministic.

    A kind says what the network sees of a voxel (`_values`) and which layer is read (`_features`).
    """

    name: str
    channels: int
    needs: tuple[str, ...]
    placement: Placement  # of the cells

    def __init__(self, network: SparseUNet, voxel_size_m: float, upstream_compat: bool, licence: str) -> None:
        """Keeps the settings that all kinds have, and a copy of the network for inference alone.

        Raises:
            ValueError: a voxel size that is not positive.
        """
        if not voxel_size_m > 0:
            raise ValueError(f"voxel_size_m must be positive, got {voxel_size_m}")
        self.network = with_folded_norms(network)
        self.voxel_size_m, self.licence = voxel_size_m, licence
        self._upstream_compat = upstream_compat
        self.config: dict[str, Any] = {
            "voxel_size_m": voxel_size_m,
            "upstream_compat": upstream_compat,
            "licence": licence,
        }

    @property
    def bytes_per_voxel(self) -> int:
        """Memory that encoding takes for each voxel, besides the features of points."""
        return _BYTES_PER_WIDTH * self.network.config.channels[-1] + 4 * self.channels

    @torch.no_grad()
    def encode_nodes(self, scene: Scene, whole: Bounds | None = None) -> NodeFeatures:
        """Returns what `encode` does, each feature once: at the voxels, with the voxel of every point."""
        seen = network_input(scene, self.voxel_size_m, self.needs, self._upstream_compat, self.placement, whole)
        extent = int(seen.cells.amax()) + 1
        if extent > MOST_CELLS:
            raise ValueError(
                f"{scene.name}: {extent} voxels of {self.voxel_size_m} m along one axis, at most {MOST_CELLS} fit: "
                "take a larger voxel_size_m, encode it in tiles, or drop stray points far from the scene"
            )
        device = next(self.network.parameters()).device
        cells = pad(seen.cells, (1, 0)).to(device)  # cloud 0
        with torch.autocast(device.type, enabled=False):  # features must not depend on who calls
            features = self._features(SparseTensor.of(self._values(seen).to(device), cells))
        return NodeFeatures(features.float().cpu(), seen.voxel_of_point)

    @abstractmethod
    def _values(self, seen: NetworkInput) -> Tensor:
        """Returns (M, in_channels) floats: what the network sees of each voxel."""

    @abstractmethod
    def _features(self, voxels: SparseTensor) -> Tensor:
        """Returns (M, channels) floats at the voxels."""
