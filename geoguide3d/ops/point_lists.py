"""PointLists: lists of points that may overlap, as the ops with `_csr` in their name take them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from geoguide3d.ops.csr_transpose import csr_transpose


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

    @staticmethod
    def of_superpoints(
        superpoints: Tensor,  # (P,)
        count: int,
        kept: Tensor | None = None,  # (P,) bool
    ) -> PointLists:
        """Returns the points of each of `count` superpoints, of all points or of those that are kept."""
        if kept is None:
            order, offsets = csr_transpose(superpoints, None, count)
            return PointLists(offsets, order)
        rows = kept.nonzero().squeeze(1)
        order, offsets = csr_transpose(superpoints[rows], None, count)
        return PointLists(offsets, rows[order])
