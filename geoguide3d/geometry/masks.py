"""PointMasks: class-agnostic masks over the points of a scene, as lists of points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.ops import csr_transpose
from geoguide3d.ops.point_lists import PointLists


@dataclass(frozen=True)
class PointMasks(PointLists):
    """M masks over N points, which may overlap, be empty and leave points out.

    Args:
        offsets: (M + 1,) int64: mask m holds point_ids[offsets[m]:offsets[m + 1]].
        point_ids: (E,) int64 in [0, N), ascending inside each mask.
        point_count: N.
        scores: (M,) float32, higher means surer; None: all alike, 1.

    Raises:
        ValueError: shapes or dtypes that do not fit, lists that break the rules above, or scores that are NaN.
    """

    point_count: int
    scores: Tensor | None = None

    def __post_init__(self) -> None:
        offsets, ids = self.offsets, self.point_ids
        if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype != torch.int64:
            raise ValueError(f"offsets must be (M + 1,) int64, got {tuple(offsets.shape)} {offsets.dtype}")
        if ids.ndim != 1 or ids.dtype != torch.int64:
            raise ValueError(f"point_ids must be (E,) int64, got {tuple(ids.shape)} {ids.dtype}")
        if int(offsets[0]) != 0 or int(offsets[-1]) != len(ids) or bool((offsets.diff() < 0).any()):
            raise ValueError(f"offsets must rise from 0 to {len(ids)}, the number of point_ids")
        if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < self.point_count:
            raise ValueError(
                f"point_ids must lie in [0, {self.point_count}), got {int(ids.min())} to {int(ids.max())}: "
                "are the masks of another scene?"
            )
        if bool(((ids.diff() <= 0) & (self.owners.diff() == 0)).any()):
            raise ValueError("the points of a mask must ascend, each at most once")
        scores = torch.ones(len(self), device=ids.device) if self.scores is None else self.scores
        if scores.shape != (len(self),) or not scores.is_floating_point():
            raise ValueError(f"scores must be ({len(self)},) floats, got {tuple(scores.shape)} {scores.dtype}")
        if bool(scores.isnan().any()):
            raise ValueError(f"the scores of {int(scores.isnan().sum())} masks are NaN, which no order has a place for")
        object.__setattr__(self, "scores", scores.to(torch.float32))

    @property
    def known_scores(self) -> Tensor:
        """(M,) float32: scores, never None."""
        assert self.scores is not None  # set by __post_init__
        return self.scores

    def to(self, device: torch.device | str) -> PointMasks:
        """Returns the same masks on a device."""
        scores = self.known_scores.to(device)
        return PointMasks(self.offsets.to(device), self.point_ids.to(device), self.point_count, scores)

    def select(self, masks: Tensor) -> PointMasks:
        """Returns some of the masks, in the order asked for.

        Args:
            masks: (K,) int64 rows, or (M,) bool.

        Raises:
            ValueError: bools of another number.
        """
        if masks.dtype == torch.bool and len(masks) != len(self):
            raise ValueError(f"{len(masks)} answers for {len(self)} masks; one for each is needed")
        rows = masks.nonzero().squeeze(1) if masks.dtype == torch.bool else masks
        sizes = self.sizes[rows]
        offsets = torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])
        starts = (self.offsets[rows] - offsets[:-1]).repeat_interleave(sizes, output_size=int(offsets[-1]))
        ids = self.point_ids[starts + torch.arange(len(starts), device=starts.device)]
        return PointMasks(offsets, ids, self.point_count, self.known_scores[rows])

    def of_points(self, points: Tensor) -> PointMasks:
        """Returns the masks over a part of the points, which are counted anew from 0; masks may become empty.

        Args:
            points: (P,) int64 rows, ascending, each at most once.
        """
        new_id = self.point_ids.new_full((self.point_count,), -1)
        new_id[points] = torch.arange(len(points), device=points.device)
        ids = new_id[self.point_ids]
        kept = ids >= 0
        counts = torch.zeros_like(self.sizes).index_add_(0, self.owners[kept], kept[kept].to(torch.int64))
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return PointMasks(offsets, ids[kept], len(points), self.scores)

    def to_dense(self) -> Tensor:
        """Returns (M, N) bool: for small scenes and files that want it so."""
        dense = torch.zeros(len(self), self.point_count, dtype=torch.bool, device=self.point_ids.device)
        dense[self.owners, self.point_ids] = True
        return dense

    @classmethod
    def from_dense(
        cls,
        dense: Tensor,  # (M, N) bool
        scores: Tensor | None = None,  # (M,)
    ) -> PointMasks:
        """Returns the masks whose rows are given.

        Raises:
            ValueError: not (M, N) bool.
        """
        if dense.ndim != 2 or dense.dtype != torch.bool:
            raise ValueError(f"dense masks must be (M, N) bool, got {tuple(dense.shape)} {dense.dtype}")
        counts = dense.sum(dim=1)
        offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
        return cls(offsets, dense.nonzero()[:, 1], dense.shape[1], scores)

    @classmethod
    def from_lists(cls, lists: Sequence[Tensor], point_count: int, scores: Tensor | None = None) -> PointMasks:
        """Returns the masks whose points are given, one (n,) int64 list per mask, ascending."""
        ids = torch.cat([torch.zeros(0, dtype=torch.int64), *lists])
        sizes = torch.tensor([0, *(len(points) for points in lists)])
        return cls(sizes.cumsum(0), ids, point_count, scores)

    @classmethod
    def from_pairs(
        cls,
        masks: Tensor,  # (E,) int64
        points: Tensor,  # (E,) int64
        mask_count: int,
        point_count: int,
        scores: Tensor | None = None,  # (M,)
    ) -> PointMasks:
        """Returns the masks that hold the pairs (mask, point), each at most once and by ascending points.

        Raises:
            ValueError: pairs that break these rules, or a mask or a point out of range.
        """
        order, offsets = csr_transpose(masks, None, mask_count)
        return cls(offsets, points[order], point_count, scores)

    @classmethod
    def from_labels(
        cls,
        labels: Tensor,  # (N,)
        none: int = -1,
    ) -> PointMasks:
        """Returns one mask per label that occurs, in ascending order, all but those up to `none`.

        Args:
            labels: (N,) int64, e.g. instances or superpoints.
            none: this label and smaller ones are no mask.
        """
        members = (labels > none).nonzero().squeeze(1)
        names, index = torch.unique(labels[members], return_inverse=True)
        return cls.from_pairs(index, members, len(names), len(labels))
