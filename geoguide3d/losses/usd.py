"""Superpoint distillation: points and superpoints are turned towards what images say about the whole superpoint.

With equal weights this is stage 1 of SAS (`run/distill_sp.py`). GeoGuide's uncertainty-based form (USD) weighs the
points of a superpoint while their image features are pooled, by a small network that sees how far a point is from its
superpoint in both spaces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, normalize

from geoguide3d.losses.centring import directions
from geoguide3d.ops import direction_dot, segment_softmax, segment_sum, weighted_segment_mean
from geoguide3d.ops.point_lists import PointLists
from geoguide3d.ops.segment_reduce import sum_dtype

Weight = Literal["uniform", "sigmoid", "softmax", "robust"]


@dataclass(frozen=True)
class UsdSettings:
    """How the targets of superpoints are pooled.

    Args:
        weight: of each point. "uniform" is SAS. "sigmoid" of the uncertainty head, divided by the sum of weights, is
            the paper's; "softmax" makes them compete inside the superpoint. "robust" needs no head: the
            power exp(sharpness · cos) of a point's own and its superpoint's mean feature, centred where the objective
            is.
        sharpness: of "robust".
        hidden_channels: of the uncertainty head.
        detach: keeps the gradient of the targets from the head. The head then learns nothing: for ablations.
        entropy_floor: adds the mean shortfall of the weights' entropy (1 is even, 0 one point alone) below this, so
            that targets cannot collapse onto few points. 0 is off.
        normalize_targets: brings image features to unit length before they are pooled.

    Raises:
        ValueError: a number out of its range.
    """

    weight: Weight = "sigmoid"
    sharpness: float = 8.0
    hidden_channels: int = 256
    detach: bool = False
    entropy_floor: float = 0.0
    normalize_targets: bool = False

    def __post_init__(self) -> None:
        if self.hidden_channels < 1:
            raise ValueError(f"usd.hidden_channels must be positive, got {self.hidden_channels}")
        if not self.sharpness >= 0:
            raise ValueError(f"usd.sharpness must not be negative, got {self.sharpness}")
        if not 0 <= self.entropy_floor <= 1:
            raise ValueError(f"usd.entropy_floor must lie in [0, 1], got {self.entropy_floor}")

    @property
    def learned(self) -> bool:
        """Whether the weights come from an uncertainty head."""
        return self.weight in ("sigmoid", "softmax")


@dataclass(frozen=True)
class Taught:
    """What images say about the P points of a scene, and the superpoints that share it.

    Args:
        targets: (P, C) image features, un-normalised.
        taught: (P,) bool, the points that have one; the others enter no sum.
        superpoints: (P,) int64 in [0, count).
        count: Q.
    """

    targets: Tensor
    taught: Tensor
    superpoints: Tensor
    count: int

    @property
    def sizes(self) -> Tensor:
        """(Q,) taught points of each superpoint, in the dtype of sums."""
        ones = self.taught.to(sum_dtype(self.targets))
        return ones.new_zeros(self.count).index_add_(0, self.superpoints, ones)

    @property
    def lists(self) -> PointLists:
        """The taught points of each superpoint."""
        return PointLists.of_superpoints(self.superpoints, self.count, self.taught)


class UncertaintyHead(nn.Module):
    """The logit of a point's weight from cat[S_G − F_G, S_2d − F_2d]: Linear → GELU → Linear, which starts at 0.

    The first layer is applied to superpoints and points apart, so the (P, G + C) differences are never made.

    Args:
        geometric_channels: G.
        semantic_channels: C.
        hidden_channels: width between.
    """

    def __init__(self, geometric_channels: int, semantic_channels: int, hidden_channels: int = 256) -> None:
        super().__init__()
        self.geometric_channels = geometric_channels
        self.expand = nn.Linear(geometric_channels + semantic_channels, hidden_channels)
        self.score = nn.Linear(hidden_channels, 1)
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(
        self,
        geometric: Tensor,  # (P, G)
        geometric_means: Tensor,  # (Q, G)
        targets: Tensor,  # (P, C)
        target_means: Tensor,  # (Q, C)
        superpoints: Tensor,  # (P,)
    ) -> Tensor:
        """Returns (P,) logits."""
        by_geometry, by_images = torch.tensor_split(self.expand.weight, [geometric.shape[1]], dim=1)
        of_superpoint = geometric_means @ by_geometry.T + target_means @ by_images.T + self.expand.bias
        hidden = of_superpoint.index_select(0, superpoints)
        hidden = torch.addmm(hidden, geometric, by_geometry.T, alpha=-1)
        hidden = torch.addmm(hidden, targets, by_images.T, alpha=-1)
        return self.score(gelu(hidden)).squeeze(1)  # type: ignore[no-any-return]


class Usd(NamedTuple):
    """The loss, and the mean over superpoints of the normalised entropy of the weights, without gradient."""

    loss: Tensor
    entropy: Tensor


def usd(
    sums: Tensor,  # (Q, C)
    semantic_means: Tensor,  # (Q, C)
    weights: Tensor,  # (P,)
    taught: Taught,
    settings: UsdSettings,
    mean: Tensor | None = None,  # (C,)
) -> Usd:
    """Returns the mean of 1 − cos over taught points plus that over superpoints, towards the weighted targets.

    Every taught point is compared with the target of its superpoint; every superpoint with a taught point compares the
    mean of its taught outputs with it (GeoGuide 2026, uncertainty-based superpoint distillation; SAS stage 1 where
    weights are even). Both sides are centred.

    Args:
        sums: (Q, C) `ops.direction_sums` of the taught points' outputs, seen from `mean`.
        semantic_means: (Q, C) means of the outputs over `taught.lists`.
        weights: (P,) of `point_weights`.
        mean: (C,) for `centred`; None is 0.

    Raises:
        ValueError: no point is taught.
    """
    sizes = taught.sizes
    taught_points = sizes.sum()
    if taught_points == 0:
        raise ValueError("no point is taught: leave the scene's superpoint distillation out")
    targets = normalize(taught.targets, dim=1) if settings.normalize_targets else taught.targets
    weights = weights.detach() if settings.detach else weights
    pooled = weighted_segment_mean(targets, weights, taught.superpoints, taught.count)
    towards = directions(pooled, mean)
    point_term = 1 - (sums * towards).sum() / taught_points
    held = sizes > 0
    cosines = (directions(semantic_means, mean) * towards).sum(dim=1)
    superpoint_term = 1 - (cosines * held).sum() / held.sum()
    entropy = weight_entropy(weights, taught)[held]
    shortfall = (settings.entropy_floor - entropy).clamp(min=0).mean()
    return Usd(point_term + superpoint_term + shortfall, entropy.detach().mean())


def point_weights(
    settings: UsdSettings,
    head: UncertaintyHead | None,
    geometric: tuple[Tensor, Tensor] | None,
    taught: Taught,
    mean: Tensor | None = None,  # (C,)
) -> Tensor:
    """Returns (P,) weights of the points while their image features are pooled, 0 where a point is not taught.

    Args:
        head: needed where `settings.learned`, else None.
        geometric: (P, G) features of the points and (Q, G) means over superpoints, for the head.
        mean: (C,) for "robust"; None is 0.

    Raises:
        ValueError: learned weights without a head or geometry.
    """
    kept = taught.taught.to(taught.sizes.dtype)
    if settings.weight == "uniform":
        return kept
    targets = normalize(taught.targets, dim=1) if settings.normalize_targets else taught.targets
    target_means = weighted_segment_mean(targets, kept, taught.superpoints, taught.count, eps=1e-30)
    if settings.weight == "robust":
        cosines = direction_dot(targets, directions(target_means, mean), taught.superpoints, mean)
        return kept * torch.exp(settings.sharpness * (cosines - 1))
    if head is None or geometric is None:
        raise ValueError(f"weight {settings.weight!r} needs an uncertainty head and geometric features")
    logits = head(*geometric, targets, target_means, taught.superpoints).to(kept.dtype)
    if settings.weight == "sigmoid":
        return kept * torch.sigmoid(logits)
    rows = taught.taught.nonzero().squeeze(1)
    shares = segment_softmax(logits[rows], taught.superpoints[rows], taught.count)
    return torch.zeros_like(kept).index_copy(0, rows, shares)


def weight_entropy(weights: Tensor, taught: Taught) -> Tensor:
    """Returns (Q,) entropies of the shares of a superpoint's points, divided by that of even shares: 1 is even.

    A superpoint of one taught point, or none, has 1.
    """
    ids = taught.superpoints
    mass = segment_sum(weights[:, None], ids, taught.count).squeeze(1)
    surprise = torch.where(weights > 0, weights * weights.clamp(min=1e-30).log(), 0.0)
    spread = segment_sum(surprise[:, None], ids, taught.count).squeeze(1)
    safe = mass.clamp(min=1e-30)
    sizes = taught.sizes
    entropy = (safe.log() - spread / safe) / sizes.clamp(min=2).log()
    return torch.where(sizes > 1, entropy, 1.0)
