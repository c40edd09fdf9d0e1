"""All that the losses read off the outputs, so that together they cost one gradient."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoguide3d.losses.pooling import joined, parted
from geoguide3d.losses.usd import Taught
from geoguide3d.ops.csr_transpose import RowLists, rows_by_index, segments_by_row
from geoguide3d.ops.point_lists import PointLists
from geoguide3d.ops.segment_reduce import sum_dtype

Context = Any  # torch's autograd context is not typed


class Readings(NamedTuple):
    """What was read.

    Args:
        vectors: (P, C) the vectors themselves, for whoever reads them in another way.
        means: per family the (S, C) means over its lists, 0 where a list is empty.
        directions: (Q, C) `ops.direction_sums` of the taught points of each superpoint; None where none is taught.
    """

    vectors: Tensor
    means: dict[str, Tensor]
    directions: Tensor | None


def read(
    vectors: Tensor,  # (P, C)
    families: Mapping[str, PointLists],
    taught: Taught | None,
    mean: Tensor | None,  # (C,)
) -> Readings:
    """Returns the readings of the vectors; there is no second derivative.

    Autograd would make a (P, C) gradient for each and add them up. Here what comes back for `Readings.vectors` and the
    means is added while the gradient of the directions is written.

    Args:
        families: lists of points, at least one where there is `taught`.
        taught: which points enter the directions.
        mean: what directions are seen from; None is 0.
    """
    if not families:
        return Readings(vectors, {}, None)
    lists = joined(families)
    of_taught = None if taught is None else (taught.taught, taught.superpoints, taught.count)
    wide = None if mean is None else mean.to(sum_dtype(vectors))
    same, sums, directions = _Read.apply(vectors, lists, of_taught, wide)
    means = sums / lists.sizes.clamp(min=1)[:, None]
    return Readings(same, parted(means, families), directions)


class _Read(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Context,
        vectors: Tensor,
        lists: PointLists,
        taught: tuple[Tensor, Tensor, int] | None,
        mean: Tensor | None,
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        sums, _ = torch.ops.geoguide3d.segment_sum(vectors, None, lists.point_ids, lists.offsets, None)
        counts, index, directions = None, None, None
        if taught is not None:
            counts, index, count = taught
            rows = rows_by_index(index, count)
            directions = torch.ops.geoguide3d.direction_sums(vectors, counts, mean, *rows)
        ctx.set_materialize_grads(False)  # (P, C) zeros where nobody else reads the vectors
        ctx.save_for_backward(vectors, lists.point_ids, lists.offsets, counts, mean, index)
        return vectors, sums, directions

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Context, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        made, of_sums, of_directions = grads
        vectors, point_ids, offsets, counts, mean, index = ctx.saved_tensors
        if of_sums is not None:
            lists = segments_by_row(RowLists(point_ids, offsets, None), len(vectors))
            expanded = torch.ops.geoguide3d.segment_expand(of_sums, None, *lists, vectors.dtype)
            made = expanded if made is None else expanded.add_(made)
        if of_directions is not None:
            turned = vectors, counts, mean, of_directions, index
            made = torch.ops.geoguide3d.direction_sums_backward(*turned, made)
        return made, None, None, None
