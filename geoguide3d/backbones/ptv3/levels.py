"""Levels of resolution: pooling into coarser voxels, and the way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from geoguide3d.backbones.node_features import NodeFeatures
from geoguide3d.ops import segment_max, segment_mean

_BITS = 16  # per axis, as serialization.MAX_DEPTH


@dataclass(frozen=True)
class Level:
    """The M voxels of one resolution.

    Args:
        features: (M, C).
        cells: (M, 4) int64: cloud, x, y, z.
        positions: (M, 3) metres; of pooled voxels the mean of their parts.
        row_of_finer: (M of the finer level,) int64, into which row each voxel of the finer level was pooled; None at
            the finest.
    """

    features: Tensor
    cells: Tensor
    positions: Tensor
    row_of_finer: Tensor | None = None


class Pooling(nn.Module):
    """Pools `stride` cells per axis into one: maximum of projected features, mean of positions.

    Rows of the coarser level lie in the order of (cloud, x, y, z).
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.proj = nn.Linear(in_channels, out_channels)
        self.norm = nn.Sequential(nn.LayerNorm(out_channels))
        self.act = nn.GELU()

    def forward(self, level: Level) -> Level:
        cells, row_of_finer = pool_cells(level.cells, self.stride)
        pooled = segment_max(self.proj(level.features), row_of_finer, len(cells))
        positions = segment_mean(level.positions, row_of_finer, len(cells))
        return Level(self.act(self.norm(pooled)).to(level.features.dtype), cells, positions, row_of_finer)


def pool_cells(cells: Tensor, stride: int) -> tuple[Tensor, Tensor]:
    """Returns the coarser cells ((M', 4), in lexicographic order) and the row of each cell ((M, 4) int64) in them."""
    cloud, x, y, z = cells.unbind(dim=1)
    x, y, z = (axis.div(stride, rounding_mode="floor") for axis in (x, y, z))
    keys = (cloud << 3 * _BITS) | (x << 2 * _BITS) | (y << _BITS) | z
    keys, rows = torch.unique(keys, return_inverse=True)
    mask = (1 << _BITS) - 1
    coarser = [keys >> 3 * _BITS, (keys >> 2 * _BITS) & mask, (keys >> _BITS) & mask, keys & mask]
    return torch.stack(coarser, dim=1), rows


def up_cast(levels: Sequence[Level], to: int) -> NodeFeatures:
    """Returns the features of level `to` and, behind them, those of the coarser voxels that hold each of its voxels.

    Raises:
        ValueError: no such level.
    """
    if not 0 <= to < len(levels):
        raise ValueError(f"there are levels 0 … {len(levels) - 1}, got {to}")
    widths = [level.features.shape[1] for level in levels[to:]]
    features = levels[to].features.new_empty(len(levels[to].cells), sum(widths))
    row = torch.arange(len(features), device=features.device)  # in the level that is written next
    for level, part in zip(levels[to:], torch.split(features, widths, dim=1), strict=True):
        if level is not levels[to]:
            assert level.row_of_finer is not None  # of every level but the finest
            row = level.row_of_finer[row]
        part.copy_(level.features[row])  # a level at a time: side by side they are the largest tensor of all
    node_of_row = torch.arange(len(levels[0].cells), device=levels[0].cells.device)
    for level in levels[1 : to + 1]:
        assert level.row_of_finer is not None  # of every level but the finest
        node_of_row = level.row_of_finer[node_of_row]
    return NodeFeatures(features, node_of_row)
