"""Softmax of scores within each segment. The contract is written in csrc/segment_softmax.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geoguide3d.ops.csr_transpose import RowLists, pairs, segments_by_row
from geoguide3d.ops.segment_reduce import dense_rows, listed_rows, sum_dtype

SOFTMAX = "geoguide3d::segment_softmax"

Context = Any  # torch's autograd context is not typed


def segment_softmax(scores: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns exp(scores) / Σ exp(scores of the same segment), in the shape and dtype of scores.

    Args:
        scores: (N,) or (N, C) floats; the columns are independent.
        index: (N,) int64 in [0, num_segments), in any order: the segment of each score.
        num_segments: S.

    Raises:
        ValueError: as `segment_sum`.
    """
    table = _as_table(scores)
    return _softmax(table, dense_rows(table, index, num_segments)).reshape(scores.shape)


def segment_softmax_csr(scores: Tensor, offsets: Tensor) -> Tensor:
    """Returns what `segment_softmax` does for scores in the order of their segments.

    Args:
        scores: (N,) or (N, C) floats; for overlapping masks, one score per entry of the list.
        offsets: (S + 1,) int64, rising from 0 to N: segment s has scores[offsets[s]:offsets[s + 1]].

    Raises:
        ValueError: as `segment_sum_csr`.
    """
    table = _as_table(scores)
    return _softmax(table, listed_rows(table, offsets, None)).reshape(scores.shape)


def _as_table(scores: Tensor) -> Tensor:
    if scores.ndim not in (1, 2) or not scores.is_floating_point():
        raise ValueError(f"scores must be (N,) or (N, C) floats, got {tuple(scores.shape)} {scores.dtype}")
    return scores[:, None] if scores.ndim == 1 else scores


def _softmax(scores: Tensor, rows: RowLists) -> Tensor:
    shares = torch.ops.geoguide3d.segment_softmax(scores, *rows)
    assert isinstance(shares, Tensor)
    return shares


# --- reference, shape, gradient and registration ----------------------------------------------------------------------


def segment_softmax_reference(
    scores: Tensor, row_ids: Tensor | None, offsets: Tensor, index: Tensor | None = None
) -> Tensor:
    ids, owners = pairs(row_ids, offsets, len(scores))
    rows = scores.to(sum_dtype(scores)).index_select(0, ids)
    shape = (len(offsets) - 1, rows.shape[1])
    maxima = rows.new_zeros(shape).scatter_reduce(0, owners[:, None].expand_as(rows), rows, "amax", include_self=False)
    maxima = maxima.masked_fill(maxima == -torch.inf, 0)  # a segment of masked scores: 0 / 0 is NaN, not −∞ + ∞
    powers = (rows - maxima.index_select(0, owners)).exp()
    sums = rows.new_zeros(shape).index_add(0, owners, powers)
    shares = powers / sums.index_select(0, owners)
    return torch.empty_like(scores).index_copy(0, ids, shares.to(scores.dtype))


def _softmax_shape(scores: Tensor, row_ids: Tensor | None, offsets: Tensor, index: Tensor | None) -> Tensor:
    return scores.new_empty(scores.shape)


def _save_softmax(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.save_for_backward(output, *inputs[1:])


def _softmax_gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    shares, *lists = ctx.saved_tensors
    rows = RowLists(*lists)
    weighted = shares.to(sum_dtype(shares)) * grad
    sums, _ = torch.ops.geoguide3d.segment_sum(weighted, None, *rows)
    spread = torch.ops.geoguide3d.segment_expand(sums, None, *segments_by_row(rows, shares.shape[0]), sums.dtype)
    return (weighted - shares * spread).to(shares.dtype), None, None, None


torch.library.define(SOFTMAX, "(Tensor scores, Tensor? row_ids, Tensor offsets, Tensor? index) -> Tensor")
torch.library.impl(SOFTMAX, "CompositeExplicitAutograd", segment_softmax_reference)
torch.library.register_fake(SOFTMAX, _softmax_shape)
torch.library.register_autograd(SOFTMAX, _softmax_gradient, setup_context=_save_softmax)
