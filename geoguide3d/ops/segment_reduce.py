"""Sums, means and maxima of rows per segment. The contract is written in csrc/segment_reduce.h.

Compiled kernels and the references below are registered for the same operators; the dispatcher chooses by device.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any

SUM = "geoguide3d::segment_sum"
EXPAND = "geoguide3d::segment_expand"
DOT = "geoguide3d::segment_dot"
MAX = "geoguide3d::segment_max"

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
        ValueError: shapes, dtypes or devices that do not fit.
        RuntimeError: an index outside [0, num_segments); on CUDA a device-side assertion.
    """
    _check(values, index, num_segments)
    sums, _ = torch.ops.geoguide3d.segment_sum(values, None, index, num_segments)
    return _tensor(sums)


def segment_mean(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns (S, C) means of the rows of each segment, 0 where it is empty. Arguments and errors: `segment_sum`."""
    _check(values, index, num_segments)
    sums, count = torch.ops.geoguide3d.segment_sum(values, None, index, num_segments)
    return _tensor(sums / count.clamp(min=1)[:, None])


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
        ValueError, RuntimeError: as `segment_sum`.
    """
    _check(values, index, num_segments)
    if weights.shape != index.shape or not weights.is_floating_point() or weights.device != values.device:
        raise ValueError(
            f"weights must be ({len(index)},) floats on {values.device}, "
            f"got {tuple(weights.shape)} {weights.dtype} on {weights.device}"
        )
    weights = weights.to(_sum_dtype(values))
    sums, mass = torch.ops.geoguide3d.segment_sum(values, weights, index, num_segments)
    return _tensor(sums / (mass + eps)[:, None])


def segment_max(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns (S, C) maxima of the rows of each segment, in the dtype of values; 0 where it is empty.

    The gradient goes to the first row that holds the maximum. NaN counts as the greatest value.
    Arguments and errors: `segment_sum`.
    """
    _check(values, index, num_segments)
    maxima, _ = torch.ops.geoguide3d.segment_max(values, index, num_segments)
    return _tensor(maxima.to(values.dtype))


def _check(values: Tensor, index: Tensor, num_segments: int) -> None:
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(f"values must be (N, C) floats, got {tuple(values.shape)} {values.dtype}")
    if index.shape != values.shape[:1] or index.dtype != torch.int64:
        raise ValueError(
            f"index must be ({len(values)},) int64 for values {tuple(values.shape)}, "
            f"got {tuple(index.shape)} {index.dtype}"
        )
    if index.device != values.device:
        raise ValueError(f"index must be on {values.device} as values are, got {index.device}")
    if num_segments < 0:
        raise ValueError(f"num_segments must not be negative, got {num_segments}")


def _sum_dtype(values: Tensor) -> torch.dtype:
    return torch.float64 if values.dtype == torch.float64 else torch.float32


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


# --- references: obvious PyTorch, run on any device that has no kernel ------------------------------------------------


def segment_sum_reference(
    values: Tensor, weights: Tensor | None, index: Tensor, num_segments: int
) -> tuple[Tensor, Tensor]:
    rows = values.to(_sum_dtype(values))
    weights = rows.new_ones(len(rows)) if weights is None else weights
    sums = rows.new_zeros(num_segments, rows.shape[1]).index_add(0, index, rows * weights[:, None])
    mass = rows.new_zeros(num_segments).index_add(0, index, weights)
    return sums, mass


def segment_expand_reference(segments: Tensor, weights: Tensor | None, index: Tensor) -> Tensor:
    rows = segments.index_select(0, index)
    return rows if weights is None else rows * weights[:, None]


def segment_dot_reference(values: Tensor, segments: Tensor, index: Tensor) -> Tensor:
    return (values.to(segments.dtype) * segments.index_select(0, index)).sum(1)


def segment_max_reference(values: Tensor, index: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    rows = values.to(_sum_dtype(values))
    target = index[:, None].expand_as(rows)
    shape = (num_segments, rows.shape[1])
    maxima = rows.new_zeros(shape).scatter_reduce(0, target, rows, "amax", include_self=False)
    number = torch.arange(len(rows), device=rows.device)[:, None]
    holds_it = (rows == maxima.index_select(0, index)) | rows.isnan()
    candidates = torch.where(holds_it, number, len(rows))
    first = index.new_full(shape, len(rows)).scatter_reduce(0, target, candidates, "amin")
    return maxima, first


# --- shapes -----------------------------------------------------------------------------------------------------------


def _sum_shape(values: Tensor, weights: Tensor | None, index: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    dtype = _sum_dtype(values)
    return values.new_empty(num_segments, values.shape[1], dtype=dtype), values.new_empty(num_segments, dtype=dtype)


def _expand_shape(segments: Tensor, weights: Tensor | None, index: Tensor) -> Tensor:
    return segments.new_empty(index.shape[0], segments.shape[1])


def _dot_shape(values: Tensor, segments: Tensor, index: Tensor) -> Tensor:
    return segments.new_empty(index.shape[0])


def _max_shape(values: Tensor, index: Tensor, num_segments: int) -> tuple[Tensor, Tensor]:
    shape = (num_segments, values.shape[1])
    return values.new_empty(shape, dtype=_sum_dtype(values)), index.new_empty(shape)


# --- gradients: sum, expand and dot are the partial derivatives of Σ_n weights[n] · values[n] · segments[index[n]] ----


def _save_sum(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    values, weights, index, ctx.num_segments = inputs
    ctx.dtype = values.dtype
    ctx.save_for_backward(values if ctx.needs_input_grad[1] else None, weights, index)


def _sum_gradient(ctx: Context, grad_sums: Tensor, grad_mass: Tensor) -> tuple[Tensor | None, ...]:
    values, weights, index = ctx.saved_tensors
    grad_values = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_values = torch.ops.geoguide3d.segment_expand(grad_sums, weights, index).to(ctx.dtype)
    if ctx.needs_input_grad[1]:
        grad_weights = torch.ops.geoguide3d.segment_dot(values, grad_sums, index) + grad_mass.index_select(0, index)
    return grad_values, grad_weights, None, None


def _save_expand(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _expand_gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    segments, weights, index = ctx.saved_tensors
    grad_segments = grad_weights = None
    if ctx.needs_input_grad[0]:
        grad_segments, _ = torch.ops.geoguide3d.segment_sum(grad, weights, index, segments.shape[0])
    if ctx.needs_input_grad[1]:
        grad_weights = torch.ops.geoguide3d.segment_dot(grad, segments, index)
    return grad_segments, grad_weights, None


def _save_dot(ctx: Context, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs)


def _dot_gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, segments, index = ctx.saved_tensors
    grad_values = grad_segments = None
    if ctx.needs_input_grad[0]:
        grad_values = torch.ops.geoguide3d.segment_expand(segments, grad, index).to(values.dtype)
    if ctx.needs_input_grad[1]:
        grad_segments, _ = torch.ops.geoguide3d.segment_sum(values, grad, index, segments.shape[0])
    return grad_values, grad_segments, None


def _save_max(ctx: Context, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    values, _, _ = inputs
    ctx.num_rows, ctx.dtype = values.shape[0], values.dtype
    ctx.mark_non_differentiable(output[1])
    ctx.save_for_backward(output[1])


def _max_gradient(ctx: Context, grad_maxima: Tensor, grad_rows: Any) -> tuple[Tensor | None, ...]:
    (rows,) = ctx.saved_tensors
    # One row more than values have takes what belongs to empty segments.
    grad_values = grad_maxima.new_zeros(ctx.num_rows + 1, grad_maxima.shape[1]).scatter(0, rows, grad_maxima)
    return grad_values[:-1].to(ctx.dtype), None, None


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(SUM, "(Tensor values, Tensor? weights, Tensor index, SymInt num_segments) -> (Tensor, Tensor)")
torch.library.impl(SUM, "CompositeExplicitAutograd", segment_sum_reference)
torch.library.register_fake(SUM, _sum_shape)
torch.library.register_autograd(SUM, _sum_gradient, setup_context=_save_sum)

torch.library.define(EXPAND, "(Tensor segments, Tensor? weights, Tensor index) -> Tensor")
torch.library.impl(EXPAND, "CompositeExplicitAutograd", segment_expand_reference)
torch.library.register_fake(EXPAND, _expand_shape)
torch.library.register_autograd(EXPAND, _expand_gradient, setup_context=_save_expand)

torch.library.define(DOT, "(Tensor values, Tensor segments, Tensor index) -> Tensor")
torch.library.impl(DOT, "CompositeExplicitAutograd", segment_dot_reference)
torch.library.register_fake(DOT, _dot_shape)
torch.library.register_autograd(DOT, _dot_gradient, setup_context=_save_dot)

torch.library.define(MAX, "(Tensor values, Tensor index, SymInt num_segments) -> (Tensor, Tensor)")
torch.library.impl(MAX, "CompositeExplicitAutograd", segment_max_reference)
torch.library.register_fake(MAX, _max_shape)
torch.library.register_autograd(MAX, _max_gradient, setup_context=_save_max)
