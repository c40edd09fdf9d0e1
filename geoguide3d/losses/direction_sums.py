"""Sums of features and of their directions per superpoint: all that cosines with one vector per superpoint need.

Σ over p of cos(a[p], b[q[p]]) = Σ over q of direction(b[q]) · Σ over p in q of direction(a[p]), so the cosines of N
points with their Q superpoints are Q products, and no (N, C) array of gathered targets is made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoguide3d.losses.centring import NEAREST
from geoguide3d.ops.csr_transpose import rows_by_index
from geoguide3d.ops.segment_reduce import sum_dtype
from geoguide3d.ops.unit_rows import SHORTEST_ROW

_ROWS_AT_ONCE = 1024  # three megabytes of 768 channels: they are read again from cache

Context = Any  # torch's autograd context is not typed


class DirectionSums(NamedTuple):
    """Sums over the points that count, per superpoint: (Q, C) each."""

    vectors: Tensor
    directions: Tensor


def direction_sums(
    vectors: Tensor,  # (N, C)
    counts: Tensor,  # (N,) bool
    index: Tensor,  # (N,)
    num_segments: int,
    mean: Tensor | None = None,  # (C,)
) -> DirectionSums:
    """Returns the sums of the vectors that count and of their `centring.directions`, per segment.

    Gradients reach vectors alone; there is no second derivative. One (N, C) array is made, the gradient.

    Args:
        vectors: (N, C) floats; half types are added up in float32.
        counts: (N,) bool, the rows that are summed.
        index: (N,) int64 in [0, num_segments), the segment of each row.
        num_segments: Q.
        mean: (C,) what unit vectors are seen from; None is 0.
    """
    kept = counts.to(sum_dtype(vectors))
    return DirectionSums(*_DirectionSums.apply(vectors, kept, index, num_segments, mean))


class _Lengths(NamedTuple):
    """Per row v, with u = v / max(|v|, 1e-8) and c = |u − mean|, or 1 without a mean."""

    inverse: Tensor  # u = inverse · v
    clamped: Tensor  # bool: |v| is below the shortest length, and u moves freely with v
    squared: Tensor  # u · u
    along: Tensor  # u · mean
    distance: Tensor  # c, at least NEAREST
    near: Tensor  # bool: c is a constant


def _lengths(vectors: Tensor, mean: Tensor | None, dtype: torch.dtype) -> _Lengths:
    lengths = torch.linalg.vector_norm(vectors, dim=1, dtype=dtype)
    inverse = lengths.clamp(min=SHORTEST_ROW).reciprocal()
    squared, clamped = (lengths * inverse).square(), lengths <= SHORTEST_ROW
    if mean is None:
        return _Lengths(inverse, clamped, squared, torch.zeros_like(inverse), torch.ones_like(inverse), squared > -1)
    chunks = torch.split(vectors, _ROWS_AT_ONCE)
    along = torch.cat([inverse.new_zeros(0), *(chunk.to(dtype) @ mean for chunk in chunks)]) * inverse
    distance = (squared - 2 * along + mean @ mean).clamp(min=0).sqrt()
    return _Lengths(inverse, clamped, squared, along, distance.clamp(min=NEAREST), distance <= NEAREST)


class _DirectionSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Context, vectors: Tensor, kept: Tensor, index: Tensor, num_segments: int, mean: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        lengths = _lengths(vectors, None if mean is None else mean.to(kept.dtype), kept.dtype)
        rows = rows_by_index(index, num_segments)
        summed, _ = torch.ops.geoguide3d.segment_sum(vectors, kept, *rows)
        units, _ = torch.ops.geoguide3d.segment_sum(vectors, kept * lengths.inverse / lengths.distance, *rows)
        if mean is not None:
            mass = kept.new_zeros(num_segments).index_add_(0, index, kept / lengths.distance)
            units.addcmul_(mass[:, None], mean.to(kept.dtype), value=-1)
        ctx.save_for_backward(vectors, kept, index, mean, *lengths)
        return summed, units

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Context, grad_sums: Tensor, grad_units: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient, for one block of rows after the other.

        With d = (u − m) / c, t = g · d, e = (g − t d) / c, the gradient of g · d by v is inverse · (e − (e · u) u), and
        all of it is a sum of g, m and v with one number per row each.
        """
        vectors, kept, index, mean, *rest = ctx.saved_tensors
        lengths = _Lengths(*rest)
        result = torch.empty_like(vectors)
        mean = kept.new_zeros(vectors.shape[1]) if mean is None else mean.to(kept.dtype)
        across = grad_units @ mean
        for begin in range(0, len(vectors), _ROWS_AT_ONCE):
            rows = slice(begin, begin + _ROWS_AT_ONCE)
            part = _Lengths(*(value[rows] for value in lengths))
            block, ids, weight = vectors[rows].to(kept.dtype), index[rows], kept[rows]
            along_g = torch.ops.geoguide3d.segment_dot(block, grad_units, ids, None) * part.inverse
            turn = (along_g - across[ids]) / part.distance.square()  # t / c
            turn = turn.masked_fill(part.near, 0)
            pull = (along_g - turn * (part.squared - part.along)) / part.distance  # e · u
            pull = pull.masked_fill(part.clamped, 0)
            scale = weight * part.inverse
            made = torch.ops.geoguide3d.segment_expand(grad_units, scale / part.distance, ids, None, kept.dtype)
            made += torch.ops.geoguide3d.segment_expand(grad_sums, weight, ids, None, kept.dtype)
            made.addcmul_(block, (-scale * part.inverse * (turn / part.distance + pull))[:, None])
            made.addr_(scale * turn / part.distance, mean)
            result[rows] = made
        return result, None, None, None, None
