"""Means over several families of lists at once: superpoints, masks and visible parts of masks share one gradient."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from geoguide3d.ops import segment_mean_csr
from geoguide3d.ops.point_lists import PointLists


def pooled_means(
    vectors: Tensor,  # (P, C)
    families: Mapping[str, PointLists],
) -> dict[str, Tensor]:
    """Returns per family the (S, C) means over its lists, 0 where a list is empty.

    One op reads them all: its gradient is one (P, C) array instead of one per family that autograd must add up.
    """
    if not families:
        return {}
    lists = joined(families)
    return parted(segment_mean_csr(vectors, lists.offsets, lists.point_ids), families)


def joined(families: Mapping[str, PointLists]) -> PointLists:
    """Returns the lists of all families, of which there is one at least, one after the other."""
    ends = torch.tensor([len(lists.point_ids) for lists in families.values()]).cumsum(0).tolist()
    begins = [0, *ends[:-1]]
    offsets = [lists.offsets[:-1] + begin for lists, begin in zip(families.values(), begins, strict=True)]
    last = next(iter(families.values())).offsets.new_tensor([ends[-1]])
    return PointLists(torch.cat([*offsets, last]), torch.cat([lists.point_ids for lists in families.values()]))


def parted(
    rows: Tensor,  # (sum of S, C)
    families: Mapping[str, PointLists],
) -> dict[str, Tensor]:
    """Returns per family the rows of its lists, from those of `joined`."""
    parts = torch.split(rows, [len(lists) for lists in families.values()])
    return dict(zip(families, parts, strict=True))
