"""RoomNet: the embedded 3D backbone, pre-trained without labels on procedural rooms."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geoguide3d.backbones.network_input import NetworkInput, Placement
from geoguide3d.backbones.room_net.network import RoomNetwork, columns, voxel_values
from geoguide3d.backbones.room_net.weights import read_room_net
from geoguide3d.backbones.sparse_unet.backbone import SparseUNetBackbone
from geoguide3d.sparse.tensor import SparseTensor

VERSION = 2  # raised whenever the same scene would get other features


class RoomNet(SparseUNetBackbone):
    """Features of all levels of a small sparse U-Net, whose weights come with the package; a FrozenBackbone.

    Deterministic. docs/room_net.md says how it was trained and what it is good for.
    """

    name = "room_net"
    needs: tuple[str, ...] = ("colors", "normals")
    placement = Placement.ROOM

    def __init__(self, network: RoomNetwork, voxel_size_m: float) -> None:
        """Keeps the network; `load` reads it from a file."""
        super().__init__(network.unet, voxel_size_m, upstream_compat=False, licence="Apache-2.0")
        self._norm = copy.deepcopy(network.norm).eval()
        self.channels = network.channels
        self.config: dict[str, Any] = {"version": VERSION}

    @classmethod
    def load(
        cls, weights: Path | None = None, device: torch.device | str = "cpu", *, version: int = VERSION
    ) -> RoomNet:
        """Returns the backbone of a weights file, by default of the embedded one.

        Args:
            version: of the embedded weights; a model stores the one it was trained with.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file of other content, or another version than this package holds.
        """
        if version != VERSION:
            raise ValueError(
                f"room_net version {version} is not what this package holds ({VERSION}); "
                "distil the model again, or install the package it was made with"
            )
        network, config = read_room_net(weights)
        return cls(network.to(device), config.voxel_size_m)

    def _values(self, seen: NetworkInput) -> Tensor:
        return voxel_values(seen.points, seen.colors, seen.normals)

    def _features(self, voxels: SparseTensor) -> Tensor:
        every = torch.arange(len(voxels.cells), device=voxels.cells.device)
        features: Tensor = self._norm(columns(self.network.levels(voxels), every))
        return features
