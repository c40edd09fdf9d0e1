"""Sums and means of rows per segment. The contract is written in csrc/segment_reduce.h.

Compiled kernels and the references below are registered for the same operators; the dispatcher chooses by device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geoguide3d.ops.csr_transpose import (
    RowLists,
    SegmentLists,
    check_index,
    check_offsets,
    pairs,
    rows_by_index,
    rows_by_segment,
    segments_by_row,
)

SUM = "geoguide3d::segment_sum"
EXPAND = "geoguide3d::segment_expand"
DOT = "geoguide3d::segment_dot"

Context = Any  # torch's autograd context is not typed


def segment_sum(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns (S, C) sums of the rows of each segment, 0 where it is empty.

    Args:
        values: (N, C) float32, float64, float16 or bfloat16.
        index: (N,) int64 in [0, num_segments), in any order: the segment of each row.
        num_segments: S.

    Returns:
        float64 for float64 values, float32 for all others (half types are added up in float32).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, an index outside [0, num_segments) (on CUDA a device-side
            assertion).
    """
    return _sum(values, dense_rows(values, index, num_segments))


def segment_sum_csr(values: Tensor, offsets: Tensor, row_ids: Tensor | None = None) -> Tensor:
    """Returns (S, C) sums of the rows of each segment, 0 where it is empty. Segments may overlap.

    Args:
        values: (N, C) float32, float64, float16 or bfloat16.
        offsets: (S + 1,) int64, rising from 0 to E: segment s has the rows row_ids[offsets[s]:offsets[s + 1]].
        row_ids: (E,) int64 in [0, N); None: 0, 1, 2, …, N − 1, rows that lie in the order of their segments.

    Returns:
        float64 for float64 values, float32 for all others (half types are added up in float32).

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, offsets that fall or do not lead from 0 to E, a row id
            outside [0, N). On CUDA what tensors hold is checked by device-side assertions.
    """
    return _sum(values, listed_rows(values, offsets, row_ids))


def segment_mean(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns (S, C) means of the rows of each segment, 0 where it is empty. Arguments and errors: `segment_sum`."""
    return _mean(values, dense_rows(values, index, num_segments))


def segment_mean_csr(values: Tensor, offsets: Tensor, row_ids: Tensor | None = None) -> Tensor:
    """Returns (S, C) means of the rows of each segment, 0 where it is empty. Arguments, errors: `segment_sum_csr`."""
    return _mean(values, listed_rows(values, offsets, row_ids))


def weighted_segment_mean(
    values: Tensor, weights: Tensor, index: Tensor, num_segments: int, eps: float = 1e-6
) -> Tensor:
    """Returns (S, C): Σ weights·values / (Σ weights + eps) of each segment, 0 where it is empty.

    Gradients reach values and weights.

    Args:
        values: (N, C), as in `segment_sum`.
        weights: (N,) floats, not negative.
        eps: keeps segments whose weights are all (nearly) 0 finite.

    Raises:
        ValueError: as `segment_sum`.
    """
    return _weighted_mean(values, weights, dense_rows(values, index, num_segments), eps)


def weighted_segment_mean_csr(
    values: Tensor, weights: Tensor, offsets: Tensor, row_ids: Tensor | None = None, eps: float = 1e-6
) -> Tensor:
    """Returns (S, C): Σ weights·values / (Σ weights + eps) of each segment, 0 where it is empty.

    Weights are per row, (N,), as in `weighted_segment_mean`; the other arguments and errors: `segment_sum_csr`.
    """
    return _weighted_mean(values, weights, listed_rows(values, offsets, row_ids), eps)


def dense_rows(values: Tensor, index: Tensor, num_segments: int) -> RowLists:
    """Checks values (N, C) and index (N,), and returns the rows of each segment."""
    check_values(values)
    check_index(values, index, num_segments)
    return rows_by_index(index, num_segments)


def listed_rows(values: Tensor, offsets: Tensor, row_ids: Tensor | None) -> RowLists:
    """Checks values (N, C) and the lists, and returns the lists."""
    check_values(values)
    if row_ids is not None and (row_ids.ndim != 1 or row_ids.dtype != torch.int64):
        raise ValueError(f"row_ids must be (E,) int64, got {tuple(row_ids.shape)} {row_ids.dtype}")
    if row_ids is not None and row_ids.device != values.device:
        raise ValueError(f"row_ids must be on {values.device} as values are, got {row_ids.device}")
    check_offsets(offsets, len(values) if row_ids is None else len(row_ids), values.device)
    return RowLists(row_ids, offsets, None)


def check_values(values: Tensor) -> None:
    """Raises ValueError unless values are (N, C) floats."""
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(f"values must be (N, C) floats, got {tuple(values.shape)} {values.dtype}")


def _sum(values: Tensor, rows: RowLists) -> Tensor:
    sums, _ = torch.ops.geoguide3d.segment_sum(values, None, *rows)
    return _tensor(sums)


def _mean(values: Tensor, rows: RowLists) -> Tensor:
    sums, count = torch.ops.geoguide3d.segment_sum(values, None, *rows)
    return _tensor(sums / count.clamp(min=1)[:, None])


def _weighted_mean(values: Tensor, weights: Tensor, rows: RowLists, eps: float) -> Tensor:
    if weights.shape != values.shape[:1] or not weights.is_floating_point() or weights.device != values.device:
        raise ValueError(
            f"weights must be ({len(values)},) floats on {values.device}, "
            f"got {tuple(weights.shape)} {weights.dtype} on {weights.device}"
        )
    sums, mass = torch.ops.geoguide3d.segment_sum(values, weights.to(sum_dtype(values)), *rows)
    return _tensor(sums * (mass + eps).reciprocal()[:, None])  # the gradient of a quotient reads (S, C) more often


def sum_dtype(values: Tensor) -> torch.dtype:
    """Returns the dtype that sums of such values have."""
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


# --- references: obvious PyTorch, run on any device that has no kernel ------------------------------------------------


def segment_sum_reference(
    values: Tensor, weights: Tensor | None, row_ids: Tensor | None, offsets: Tensor, index: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    ids, owners = pairs(row_ids, offsets, len(values))
    weights = values.new_ones(len(values), dtype=sum_dtype(values)) if weights is None else weights
    rows = values.to(weights.dtype) * weights[:, None]
    sums = rows.new_zeros(len(offsets) - 1, rows.shape[1]).index_add(0, owners, rows.index_select(0, ids))
    mass = rows.new_zeros(len(offsets) - 1).index_add(0, owners, weights.index_select(0, ids))
    return sums, mass


def segment_expand_reference(
    segments: Tensor, weights: Tensor | None, segment_ids: Tensor, row_offsets: Tensor | None, dtype: torch.dtype
) -> Tensor:
    ids, owners = pairs(segment_ids, row_offsets, len(segments))
    count = len(segment_ids) if row_offsets is None else len(row_offsets) - 1
    rows = segments.new_zeros(count, segments.shape[1]).index_add(0, owners, segments.index_select(0, ids))
    return (rows if weights is None else rows * weights[:, None]).to(dtype)


def segment_dot_reference(values: Tensor, segments: Tensor, segment_ids: Tensor, row_offsets: Tensor | None) -> Tensor:
    return (values * segment_expand_reference(segments, None, segment_ids, row_offsets, segments.dtype)).sum(1)


# --- shapes -----------------------------------------------------------------------------------------------------------


def _sum_shape(
    values: Tensor, weights: Tensor | None, row_ids: Tensor | None, offsets: Tensor, index: Tensor | None
) -> tuple[Tensor, Tensor]:
    count, dtype = offsets.shape[0] - 1, sum_dtype(values)
    return values.new_empty(count, values.shape[1], dtype=dtype), values.new_empty(count, dtype=dtype)


def _expand_shape(
    segments: Tensor, weights: Tensor | None, segment_ids: Tensor, row_offsets: Tensor | None, dtype: torch.dtype
) -> Tensor:
    count = segment_ids.shape[0] if row_offsets is None else row_offsets.shape[0] - 1
    return segments.new_empty(count, segments.shape[1], dtype=dtype)


def _dot_shape(values: Tensor, segments: Tensor, segment_ids: Tensor, row_offsets: Tensor | None) -> Tensor:
    return segments.new_empty(values.shape[0])


# --- gradients: sum, expand and dot are the partial derivatives of Σ weights[n] · values[n] · segments[s] over pairs


def _save_sum(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    values, weights, row_ids, offsets, index = inputs
    ctx.num_rows, ctx.dtype = values.shape[0], values.dtype
    ctx.save_for_backward(values if ctx.needs_input_grad[1] else None, weights, row_ids, offsets, index)


def _sum_gradient(ctx: Context, grad_sums: Tensor, grad_mass: Tensor) -> tuple[Tensor | None, ...]:
    values, weights, *rows = ctx.saved_tensors
    lists = segments_by_row(RowLists(*rows), ctx.num_rows)
    expand = torch.ops.geoguide3d.segment_expand
    grad_values = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_values = expand(grad_sums, weights, *lists, ctx.dtype)
    if ctx.needs_input_grad[1]:
        of_mass = expand(grad_mass[:, None], None, *lists, grad_mass.dtype).squeeze(1)
        grad_weights = torch.ops.geoguide3d.segment_dot(values, grad_sums, *lists) + of_mass
    return grad_values, grad_weights, None, None, None


def _save_expand(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:-1])


def _expand_gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    segments, weights, *lists = ctx.saved_tensors
    grad_segments = grad_weights = None
    if ctx.needs_input_grad[0]:
        rows = rows_by_segment(SegmentLists(*lists), segments.shape[0])
        grad_segments, _ = torch.ops.geoguide3d.segment_sum(grad, weights, *rows)
    if ctx.needs_input_grad[1]:
        grad_weights = torch.ops.geoguide3d.segment_dot(grad, segments, *lists)
    return grad_segments, grad_weights, None, None, None


def _save_dot(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _dot_gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, segments, *lists = ctx.saved_tensors
    grad_values = grad_segments = None
    if ctx.needs_input_grad[0]:
        grad_values = torch.ops.geoguide3d.segment_expand(segments, grad, *lists, values.dtype)
    if ctx.needs_input_grad[1]:
        rows = rows_by_segment(SegmentLists(*lists), segments.shape[0])
        grad_segments, _ = torch.ops.geoguide3d.segment_sum(values, grad, *rows)
    return grad_values, grad_segments, None, None


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    SUM, "(Tensor values, Tensor? weights, Tensor? row_ids, Tensor offsets, Tensor? index) -> (Tensor, Tensor)"
)
torch.library.impl(SUM, "CompositeExplicitAutograd", segment_sum_reference)
torch.library.register_fake(SUM, _sum_shape)
torch.library.register_autograd(SUM, _sum_gradient, setup_context=_save_sum)

torch.library.define(
    EXPAND,
    "(Tensor segments, Tensor? weights, Tensor segment_ids, Tensor? row_offsets, ScalarType dtype) -> Tensor",
)
torch.library.impl(EXPAND, "CompositeExplicitAutograd", segment_expand_reference)
torch.library.register_fake(EXPAND, _expand_shape)
torch.library.register_autograd(EXPAND, _expand_gradient, setup_context=_save_expand)

torch.library.define(DOT, "(Tensor values, Tensor segments, Tensor segment_ids, Tensor? row_offsets) -> Tensor")
torch.library.impl(DOT, "CompositeExplicitAutograd", segment_dot_reference)
torch.library.register_fake(DOT, _dot_shape)
torch.library.register_autograd(DOT, _dot_gradient, setup_context=_save_dot)
