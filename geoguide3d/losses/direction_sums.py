"""Sums of directions per superpoint: all that cosines of points with one vector per superpoint need.

Σ over p of cos(a[p], b[q[p]]) = Σ over q of direction(b[q]) · Σ over p in q of direction(a[p]), so the cosines of N
points with their Q superpoints are Q products, and no (N, C) array of gathered targets is made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from geoguide3d.losses.centring import NEAREST, along
from geoguide3d.ops.csr_transpose import rows_by_index
from geoguide3d.ops.segment_reduce import sum_dtype
from geoguide3d.ops.unit_rows import SHORTEST_ROW

_HALF_ROWS_AT_ONCE = 16_384  # that are taken to float32 together

Context = Any  # torch's autograd context is not typed


def direction_sums(
    vectors: Tensor,  # (N, C)
    counts: Tensor,  # (N,) bool
    index: Tensor,  # (N,)
    num_segments: int,
    mean: Tensor | None = None,  # (C,)
) -> Tensor:
    """Returns (Q, C) sums of the `centring.directions` of the vectors that count, per segment.

    Gradients reach vectors alone; there is no second derivative. One (N, C) array is made, the gradient.

    Args:
        vectors: (N, C) floats; half types are added up in float32.
        counts: (N,) bool, the rows that are summed.
        index: (N,) int64 in [0, num_segments), the segment of each row.
        num_segments: Q.
        mean: (C,) what unit vectors are seen from; None is 0.
    """
    sums = _DirectionSums.apply(vectors, counts.to(sum_dtype(vectors)), index, num_segments, mean)
    assert isinstance(sums, Tensor)
    return sums


def cosines_with_segments(
    vectors: Tensor,  # (N, C)
    segments: Tensor,  # (Q, C)
    index: Tensor,  # (N,)
    mean: Tensor | None = None,  # (C,)
) -> Tensor:
    """Returns (N,): `centring.directions` of each vector times the vector of its segment, without gradient.

    Args:
        segments: (Q, C) float32, or float64 for float64 vectors; for cosines, directions.
    """
    lengths = _lengths(vectors, mean, segments.dtype)
    products: Tensor = torch.ops.geoguide3d.segment_dot(vectors, segments, index, None) * lengths.inverse
    if mean is not None:
        products = products - along(segments, mean.to(segments.dtype))[index]
    return products / lengths.distance


class _Lengths(NamedTuple):
    """Per row v, with u = v / max(|v|, 1e-8) and c = |u − mean|, or 1 without a mean."""

    inverse: Tensor  # u = inverse · v
    clamped: Tensor  # bool: |v| is below the shortest length, and u moves freely with v
    squared: Tensor  # u · u
    on_mean: Tensor  # u · mean
    distance: Tensor  # c, at least NEAREST
    near: Tensor  # bool: c is a constant


def _lengths(vectors: Tensor, mean: Tensor | None, dtype: torch.dtype) -> _Lengths:
    lengths = torch.linalg.vector_norm(vectors, dim=1, dtype=dtype)
    inverse = lengths.clamp(min=SHORTEST_ROW).reciprocal()
    squared, clamped = (lengths * inverse).square(), lengths <= SHORTEST_ROW
    if mean is None:
        on_mean, distance = torch.zeros_like(inverse), torch.ones_like(inverse)
        return _Lengths(inverse, clamped, squared, on_mean, distance, torch.ones_like(clamped))
    mean = mean.to(dtype)
    on_mean = along(vectors, mean) * inverse
    distance = (squared - 2 * on_mean + mean.square().sum()).clamp(min=0).sqrt()
    return _Lengths(inverse, clamped, squared, on_mean, distance.clamp(min=NEAREST), distance <= NEAREST)


class _DirectionSums(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Context, vectors: Tensor, kept: Tensor, index: Tensor, num_segments: int, mean: Tensor | None
    ) -> Tensor:
        lengths = _lengths(vectors, mean, kept.dtype)
        rows = rows_by_index(index, num_segments)
        weights = kept / lengths.distance
        sums, _ = torch.ops.geoguide3d.segment_sum(vectors, weights * lengths.inverse, *rows)
        assert isinstance(sums, Tensor)
        if mean is not None:
            mass = kept.new_zeros(num_segments).index_add_(0, index, weights)
            sums.addcmul_(mass[:, None], mean.to(kept.dtype), value=-1)
        ctx.save_for_backward(vectors, kept, index, mean, *lengths)
        return sums

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
        """Returns the gradient.

        With d = (u − m) / c, t = g · d, e = (g − t d) / c, the gradient of g · d by v is inverse · (e − (e · u) u): a
        sum of g, v and m with one number per row each.
        """
        vectors, kept, index, mean, *rest = ctx.saved_tensors
        parts = []
        across = None if mean is None else along(grad, mean.to(kept.dtype))
        at_once = max(1, len(vectors)) if vectors.dtype == kept.dtype else _HALF_ROWS_AT_ONCE
        for begin in range(0, max(1, len(vectors)), at_once):
            rows = slice(begin, begin + at_once)
            part = _Lengths(*(value[rows] for value in rest))
            block, ids = vectors[rows].to(kept.dtype), index[rows]
            along_g = torch.ops.geoguide3d.segment_dot(block, grad, ids, None) * part.inverse
            turn = along_g if across is None else along_g - across[ids]
            turn = (turn / part.distance.square()).masked_fill(part.near, 0)  # t / c
            pull = (along_g - turn * (part.squared - part.on_mean)) / part.distance  # e · u
            turn, scale = turn / part.distance, kept[rows] * part.inverse
            by_v = scale * part.inverse * (turn + pull.masked_fill(part.clamped, 0))
            made = torch.ops.geoguide3d.segment_expand(grad, scale / part.distance, ids, None, kept.dtype)
            made.addcmul_(block, by_v[:, None], value=-1)
            if mean is not None:
                made.addcmul_((scale * turn)[:, None], mean.to(kept.dtype))
            parts.append(made.to(vectors.dtype))
        return parts[0] if len(parts) == 1 else torch.cat(parts), None, None, None, None
