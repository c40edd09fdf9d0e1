"""Softmax of scores within each segment, composed of the other segment ops."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.ops.csr_transpose import RowLists, segments_by_row
from geoguide3d.ops.segment_reduce import dense_rows, listed_rows


def segment_softmax(scores: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns exp(scores) / Σ exp(scores of the same segment), in the shape and dtype of scores.

    Args:
        scores: (N,) or (N, C) floats; the columns are independent.
        index: (N,) int64 in [0, num_segments), in any order: the segment of each score.
        num_segments: S.

    Raises:
        ValueError, RuntimeError: as `segment_sum`.
    """
    table = _as_table(scores)
    return _softmax(table, dense_rows(table, index, num_segments)).reshape(scores.shape)


def segment_softmax_csr(scores: Tensor, offsets: Tensor) -> Tensor:
    """Returns what `segment_softmax` does for scores in the order of their segments.

    Args:
        scores: (N,) or (N, C) floats; for overlapping masks, one score per entry of the list.
        offsets: (S + 1,) int64, rising from 0 to N: segment s has scores[offsets[s]:offsets[s + 1]].

    Raises:
        ValueError, RuntimeError: as `segment_sum_csr`.
    """
    table = _as_table(scores)
    return _softmax(table, listed_rows(table, offsets, None)).reshape(scores.shape)


def _as_table(scores: Tensor) -> Tensor:
    if scores.ndim not in (1, 2) or not scores.is_floating_point():
        raise ValueError(f"scores must be (N,) or (N, C) floats, got {tuple(scores.shape)} {scores.dtype}")
    return scores[:, None] if scores.ndim == 1 else scores


def _softmax(scores: Tensor, rows: RowLists) -> Tensor:
    ops, lists = torch.ops.geoguide3d, segments_by_row(rows, len(scores))
    with torch.no_grad():  # what is subtracted cancels out
        maxima = ops.segment_extremum(scores, rows.row_ids, rows.offsets, True, rows.dense)
        maxima = maxima.masked_fill(maxima == -torch.inf, 0)  # a segment of masked scores: 0 / 0 is NaN, not −∞ + ∞
        shift = ops.segment_expand(maxima, None, *lists, maxima.dtype)
    powers = (scores - shift).exp()
    sums, _ = ops.segment_sum(powers, None, *rows)
    shares = powers / ops.segment_expand(sums, None, *lists, sums.dtype)
    assert isinstance(shares, Tensor)
    return shares.to(scores.dtype)
