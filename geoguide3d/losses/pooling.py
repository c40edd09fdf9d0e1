"""Means over several families of lists at once: superpoints, masks and visible parts of masks share one gradient."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.ops import csr_transpose, segment_mean_csr


@dataclass(frozen=True)
class PointLists:
    """S lists of points, which may overlap: list s holds point_ids[offsets[s]:offsets[s + 1]].

    Args:
        offsets: (S + 1,) int64.
        point_ids: (E,) int64.
    """

    offsets: Tensor
    point_ids: Tensor

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Tensor:
        """(S,) int64 points of each list."""
        return self.offsets.diff()

    @property
    def owners(self) -> Tensor:
        """(E,) int64 list of each entry of point_ids."""
        lists = torch.arange(len(self), device=self.offsets.device)
        return lists.repeat_interleave(self.sizes, output_size=len(self.point_ids))

    @classmethod
    def of_superpoints(
        cls,
        superpoints: Tensor,  # (P,)
        count: int,
        kept: Tensor | None = None,  # (P,) bool
    ) -> PointLists:
        """Returns the points of each of `count` superpoints, of all points or of those that are kept."""
        if kept is None:
            order, offsets = csr_transpose(superpoints, None, count)
            return cls(offsets, order)
        rows = kept.nonzero().squeeze(1)
        order, offsets = csr_transpose(superpoints[rows], None, count)
        return cls(offsets, rows[order])


def pooled_means(
    vectors: Tensor,  # (P, C)
    families: Mapping[str, PointLists],
) -> dict[str, Tensor]:
    """Returns per family the (S, C) means over its lists, 0 where a list is empty.

    One op reads them all: its gradient is one (P, C) array instead of one per family that autograd must add up.
    """
    if not families:
        return {}
    ends = torch.tensor([len(lists.point_ids) for lists in families.values()]).cumsum(0).tolist()
    begins = [0, *ends[:-1]]
    offsets = [lists.offsets[:-1] + begin for lists, begin in zip(families.values(), begins, strict=True)]
    last = next(iter(families.values())).offsets.new_tensor([ends[-1]])
    ids = torch.cat([lists.point_ids for lists in families.values()])
    means = segment_mean_csr(vectors, torch.cat([*offsets, last]), ids)
    parts = torch.split(means, [len(lists) for lists in families.values()])
    return dict(zip(families, parts, strict=True))
