"""What RoomNet learns from: points and pieces found again in another view, and descriptors of what a view hides."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize, smooth_l1_loss

from geoguide3d.backbones.room_net.batches import Batch
from geoguide3d.backbones.room_net.network import RoomNetConfig, RoomNetwork
from geoguide3d.ops import segment_mean

_HIDDEN, _PROJECTED = 256, 64
_LEAST_POINTS = 8  # of a piece, or its mean says little
_FARTHEST = 4.0  # standard deviations; the tails of descriptors are rare and long


@dataclass(frozen=True)
class Objective:
    """How much each part of the loss weighs.

    Args:
        points: contrast of points (Xie et al. 2020, PointContrast): each finds itself in the other view among all.
        pieces: contrast of pieces, whose features are means over their points.
        descriptors: smooth L1 distance to the handcrafted descriptors of the whole, undistorted room (Wei et al. 2022,
            MaskFeat, foretold HOG).
        temperature: of the contrasts.
        contrasted: points of a batch in the contrast of points.
    """

    points: float = 0.5
    pieces: float = 1.0
    descriptors: float = 20.0
    temperature: float = 0.1
    contrasted: int = 1024


class Pretraining(nn.Module):
    """RoomNet's network with the heads that only its training needs.

    Args:
        config: sizes of the network.
        mean, deviation: (223,) of the descriptors to foretell.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, config: RoomNetConfig, mean: Tensor, deviation: Tensor) -> None:
        super().__init__()
        self.network = RoomNetwork(config)
        self.point_head = _head(self.network.channels, _PROJECTED)
        self.piece_head = _head(self.network.channels, _PROJECTED)
        self.descriptor_head = _head(self.network.channels, len(mean))
        self.register_buffer("mean", mean)
        self.register_buffer("deviation", deviation)

    def forward(self, batch: Batch, objective: Objective, seed: torch.Generator) -> Tensor:
        """Returns the loss of a batch."""
        rows = torch.cat([batch.first, batch.second, batch.described])
        features = self.network(batch.voxels, rows)
        first, second, described = features.split([len(batch.first), len(batch.second), len(batch.described)])
        drawn = torch.randperm(len(first), generator=seed)[: objective.contrasted]
        points = contrast(self.point_head(first[drawn]), self.point_head(second[drawn]), objective.temperature)
        own, other = piece_means(torch.cat([first, second], dim=1), batch.piece, _LEAST_POINTS).chunk(2, dim=1)
        pieces = contrast(self.piece_head(own), self.piece_head(other), objective.temperature)
        wanted = ((batch.descriptors - self.mean) / self.deviation).clamp(-_FARTHEST, _FARTHEST)
        foretold = smooth_l1_loss(self.descriptor_head(described), wanted)
        return objective.points * points + objective.pieces * pieces + objective.descriptors * foretold


def contrast(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Returns InfoNCE of (P, C) rows, both ways: row i of one must be most like row i of the other, by cosine."""
    cosines = normalize(first, dim=1) @ normalize(second, dim=1).T / temperature
    own = torch.arange(len(first), device=first.device)
    return (cross_entropy(cosines, own) + cross_entropy(cosines.T, own)) / 2


def piece_means(features: Tensor, piece: Tensor, least: int) -> Tensor:
    """Returns (S, C) means over the pieces that have at least so many of the rows of features ((P, C))."""
    ids, rows, counts = torch.unique(piece, return_inverse=True, return_counts=True)
    return segment_mean(features, rows, len(ids))[counts >= least]


def _head(channels: int, out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, _HIDDEN), nn.BatchNorm1d(_HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, out))
