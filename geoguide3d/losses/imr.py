"""Instance mask reconstruction: what a visible part of an object says must find the whole object again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from geoguide3d.ops import mask_bce
from geoguide3d.ops.point_lists import PointLists

Occlusion = Literal["points", "superpoints", "half_space"]


@dataclass(frozen=True)
class ImrSettings:
    """How masks are hidden and reconstructed.

    Args:
        occlusion: what is hidden of a mask: random points; random superpoints, whole ones; or what lies beyond a random
            plane.
        ratio: the hidden share of a mask's points.
        logit_scale: factor of the cosines. At 1, the paper's, the loss cannot fall below 0.3133.
        balanced: the points of a mask weigh as much in total as all others; the paper has a plain mean over all points.
        least_points: smaller masks are left out.
        most_masks: masks of a scene in a step, drawn at random.

    Raises:
        ValueError: a number out of its range.
    """

    occlusion: Occlusion = "points"
    ratio: float = 0.5
    logit_scale: float = 1.0
    balanced: bool = False
    least_points: int = 50
    most_masks: int = 64

    def __post_init__(self) -> None:
        if not 0 <= self.ratio < 1:
            raise ValueError(f"imr.ratio must lie in [0, 1), got {self.ratio}")
        for name in ("logit_scale", "least_points", "most_masks"):
            if not getattr(self, name) > 0:
                raise ValueError(f"imr.{name} must be positive, got {getattr(self, name)}")


def imr(
    semantic: Tensor,  # (P, C)
    visible_means: Tensor,  # (M, C)
    masks: PointLists,
    head: nn.Linear,
    settings: ImrSettings,
) -> Tensor:
    """Returns the binary cross-entropy between each mask and sigmoid(scale · cos) of all points with its visible part.

    f = head(mean of the visible points' outputs) describes the mask (GeoGuide 2026, instance mask reconstruction).

    Args:
        visible_means: (M, C) mean output over what `visible_parts` leaves of each mask.
        head: Linear(C → C).

    Raises:
        ValueError: no masks.
    """
    if len(masks) == 0:
        raise ValueError("the reconstruction of no masks is undefined: leave it out")
    described = head(visible_means)
    return mask_bce(described, semantic, masks.offsets, masks.point_ids, settings.logit_scale, settings.balanced)


def drawn_masks(sizes: Tensor, settings: ImrSettings, generator: torch.Generator) -> Tensor:
    """Returns the rows of the masks of a step, ascending: of those that are large enough, most_masks at random.

    Args:
        sizes: (M,) int64 points of each mask.
    """
    large = (sizes >= settings.least_points).nonzero().squeeze(1)
    if len(large) <= settings.most_masks:
        return large
    order = torch.randperm(len(large), generator=generator, device=generator.device).to(large.device)
    return large[order[: settings.most_masks].sort().values]


def visible_parts(
    masks: PointLists,
    settings: ImrSettings,
    generator: torch.Generator,
    superpoints: Tensor | None = None,  # (P,)
    points: Tensor | None = None,  # (P, 3)
) -> PointLists:
    """Returns what is left of each mask when the settings' share of its points is hidden: at least one point.

    Args:
        superpoints: (P,) int64, needed where superpoints are hidden. One is hidden or visible as a whole; the first
            drawn is visible, so a mask of one superpoint is not hidden at all.
        points: (P, 3) positions, needed where half-spaces are hidden.

    Raises:
        ValueError: what the settings need is missing.
    """
    sizes = masks.sizes
    owners = masks.owners
    keys, whole = _keys(masks, owners, settings, generator, (superpoints, points))
    order = keys.argsort(stable=True)
    order = order[owners[order].argsort(stable=True)]
    wanted = ((1 - settings.ratio) * sizes).round().clamp(min=1)[owners]
    rank = torch.arange(len(order), device=sizes.device) - masks.offsets[owners]
    if whole:  # all points of a superpoint share the rank of its first
        starts = torch.ones_like(rank, dtype=torch.bool)
        starts[1:] = (keys[order].diff() != 0) | (owners.diff() != 0)
        rank = rank[starts][starts.cumsum(0) - 1]
    kept = rank < wanted
    counts = torch.zeros_like(sizes).index_add_(0, owners, kept.to(torch.int64))
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return PointLists(offsets, masks.point_ids[order[kept]])


def _keys(
    masks: PointLists,
    owners: Tensor,
    settings: ImrSettings,
    generator: torch.Generator,
    given: tuple[Tensor | None, Tensor | None],
) -> tuple[Tensor, bool]:
    """Returns (E,) numbers, the greatest are hidden first, and whether equal ones stay together."""
    superpoints, points = given
    if settings.occlusion == "superpoints":
        if superpoints is None:
            raise ValueError("imr.occlusion superpoints needs scenes with superpoints")
        pieces = owners * (int(superpoints.max()) + 1) + superpoints[masks.point_ids]
        names, piece = torch.unique(pieces, return_inverse=True)
        return _random(len(names), generator, owners.device)[piece], True
    if settings.occlusion == "half_space":
        if points is None:
            raise ValueError("imr.occlusion half_space needs the positions of the sample's points (Sample.points)")
        normals = torch.randn(len(masks), 3, generator=generator, device=generator.device).to(owners.device)
        return (points[masks.point_ids] * normals[owners].to(points.dtype)).sum(dim=1), False
    return _random(len(owners), generator, owners.device), False


def _random(count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    return torch.rand(count, generator=generator, dtype=torch.float64, device=generator.device).to(device)
