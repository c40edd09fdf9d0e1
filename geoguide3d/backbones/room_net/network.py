"""RoomNet's network: a small sparse U-Net, whose levels are set side by side at the finest voxels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from geoguide3d.backbones.sparse_unet.network import SparseUNet, SparseUNetConfig
from geoguide3d.sparse.tensor import SparseTensor

IN_CHANNELS = 8
_HEIGHT_SCALE_M, _MIDDLE_M = 1.5, 1.05  # heights of rooms come to about ±1


@dataclass(frozen=True)
class RoomNetConfig:
    """Sizes of the network.

    Args:
        voxel_size_m: side of the finest voxels.
        base_channels: width at the finest level, before the first step down.
        channels: of the encoder's levels from fine to coarse, then of the decoder's from coarse to fine.
    """

    voxel_size_m: float = 0.04
    base_channels: int = 32
    channels: tuple[int, ...] = (48, 64, 80, 72, 64, 48, 48, 32)

    def __post_init__(self) -> None:
        if not self.voxel_size_m > 0:
            raise ValueError(f"voxel_size_m must be positive, got {self.voxel_size_m}")

    @staticmethod
    def of(values: dict[str, Any]) -> RoomNetConfig:
        """Returns the config that `as_values` gave."""
        return RoomNetConfig(**(values | {"channels": tuple(values["channels"])}))

    def as_values(self) -> dict[str, Any]:
        """Returns the config as JSON values."""
        return asdict(self)


class RoomNetwork(nn.Module):
    """A sparse U-Net; its features are those of all levels of its decoder, each channel of mean 0 and deviation 1.

    Attributes:
        channels: G, of all levels together.
    """

    def __init__(self, config: RoomNetConfig) -> None:
        super().__init__()
        depth = (1,) * len(config.channels)
        sizes = SparseUNetConfig(IN_CHANNELS, 0, config.base_channels, config.channels, depth)
        self.unet = SparseUNet(sizes)
        self.channels = sum(sizes.decoder_channels)
        self.norm = nn.BatchNorm1d(self.channels, affine=False)

    def forward(self, voxels: SparseTensor, rows: Tensor) -> Tensor:
        """Returns (R, G) features of the voxels in rows ((R,) int64), the finest level's first."""
        features: Tensor = self.norm(columns(self.unet.levels(voxels), rows))
        return features


def voxel_values(points: Tensor, colors: Tensor, normals: Tensor) -> Tensor:
    """Returns (M, 8), what the network sees of M voxels.

    Args:
        points: (M, 3) metres, z up from the floor; of them only z is seen.
        colors: (M, 3) RGB in [0, 1], black where there are none.
        normals: (M, 3) unit vectors, or zeros.
    """
    height = (points[:, 2:] - _MIDDLE_M) / _HEIGHT_SCALE_M
    return torch.cat([2 * colors, normals, height, torch.ones_like(height)], dim=1)


def columns(levels: Sequence[SparseTensor], rows: Tensor) -> Tensor:
    """Returns (R, G): the features of all levels at rows ((R,) int64) of the finest, side by side.

    Args:
        levels: of `SparseUNet.levels`, the finest first.
    """
    # index_select, whose gradient adds up in one order; that of indexing depends on the threads.
    parts = [levels[0].features.index_select(0, rows)]
    for step, level in enumerate(levels[1:]):
        # Each fine voxel lies at one tap of one coarse voxel: the others are -1.
        coarser = levels[0].maps.get(f"spconv{step}").transposed
        assert coarser is not None  # of strided layers there is one
        rows = coarser.amax(dim=0)[rows].long()
        parts.append(level.features.index_select(0, rows))
    return torch.cat(parts, dim=1)
