"""What instance proposals are made of, and how."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class ProposalSettings:
    """How superpoints are merged and which of the merged regions are proposed.

    The defaults were chosen on procedural rooms of the training and validation splits, on superpoints that follow
    geometry and colour; test rooms had no say.
    A cue is a difference in [0, 1] of two touching regions; the cost of merging them is the mean of the cues, weighted
    by the first four numbers:

    Args:
        concavity: how far the surface bends inwards along the boundary; things that stand on each other do.
        contact: 1 less the share of the smaller outline that the two have in common.
        color: how far colours differ across the boundary and on the whole; 0 for clouds without colours.
        views: 1 less the affinity that the caller gives; left out of the mean where that is not known.
        color_range: distance of two RGB colours in [0, 1]³ that counts as 1.
        plane_m2: flat superpoints of at least this area with nothing behind them are the room itself (floor, walls,
            ceiling, a table top of which the legs were not seen). They merge with none but their own continuation.
        least_points: smaller regions are not proposed.
        most_masks: so many are proposed, the surest.
        duplicate_iou: of two regions with at least this IoU the surer is proposed.
        half_area_m2: area at which the score of a region is half that of a large one; small fragments are unsure.
        inner_cost: share of a region's own last merge's cost that its score loses.
        highest_cost: merges that cost more are not made.

    Raises:
        ValueError: a number out of its range.
    """

    concavity: float = 1.0
    contact: float = 1.0
    color: float = 0.5
    views: float = 2.0
    color_range: float = 0.6
    plane_m2: float = 1.5
    least_points: int = 50
    most_masks: int = 200
    duplicate_iou: float = 0.8
    half_area_m2: float = 0.1
    inner_cost: float = 0.5
    highest_cost: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ValueError(f"{field.name} must be at least 0, got {getattr(self, field.name)}")
        if not math.isfinite(self.concavity + self.contact + self.color + self.views):
            raise ValueError("concavity, contact, color and views must be finite, or the mean of the cues is none")
        if not self.color_range > 0 or not 0 < self.duplicate_iou <= 1 or self.most_masks < 1:
            raise ValueError(
                "color_range must be positive, duplicate_iou in (0, 1] and most_masks at least 1, got "
                f"{self.color_range}, {self.duplicate_iou}, {self.most_masks}"
            )
        if self.concavity + self.contact == 0:
            raise ValueError("concavity and contact are both 0, and the other cues may be missing: nothing to judge by")


@dataclass(frozen=True)
class Surface:
    """What proposals are made from: N points, cut into Q superpoints.

    Args:
        points: (N, 3) float32 metres.
        normals: (N, 3) float32 unit, all on the side of the surface that was seen.
        superpoints: (N,) int64, contiguous from 0.
        edges: (E, 2) int64 pairs of neighbouring points, such as `neighbor_edges` or the edges of a mesh.
        colors: (N, 3) float32 RGB in [0, 1], or None.

    Raises:
        ValueError: shapes or dtypes that do not fit.
    """

    points: Tensor
    normals: Tensor
    superpoints: Tensor
    edges: Tensor
    colors: Tensor | None = None

    def __post_init__(self) -> None:
        count = len(self.points)
        for name, value in (("points", self.points), ("normals", self.normals), ("colors", self.colors)):
            if value is not None and (value.shape != (count, 3) or not value.is_floating_point()):
                raise ValueError(f"{name} must be ({count}, 3) floats, got {tuple(value.shape)} {value.dtype}")
        if self.superpoints.shape != (count,) or self.superpoints.dtype != torch.int64:
            raise ValueError(f"superpoints must be ({count},) int64, got {tuple(self.superpoints.shape)}")
        if count and int(self.superpoints.min()) < 0:
            raise ValueError(f"superpoints must be 0 or more, got {int(self.superpoints.min())}")
        if self.edges.ndim != 2 or self.edges.shape[1] != 2 or self.edges.dtype != torch.int64:
            raise ValueError(f"edges must be (E, 2) int64, got {tuple(self.edges.shape)} {self.edges.dtype}")
        if len(self.edges) and not 0 <= int(self.edges.min()) <= int(self.edges.max()) < count:
            raise ValueError(f"edges must name points of 0 … {count - 1}")

    @property
    def count(self) -> int:
        """Q: the number of superpoints."""
        return int(self.superpoints.max()) + 1 if len(self.superpoints) else 0
