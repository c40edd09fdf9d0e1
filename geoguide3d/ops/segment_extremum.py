"""Maxima and minima of rows per segment. The contract is written in csrc/segment_extremum.h."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geoguide3d.ops.csr_transpose import RowLists, pairs, segments_by_row
from geoguide3d.ops.segment_reduce import dense_rows, listed_rows, sum_dtype

EXTREMUM = "geoguide3d::segment_extremum"
FIRST = "geoguide3d::segment_first"
PLACE = "geoguide3d::segment_place"

Context = Any  # torch's autograd context is not typed


def segment_max(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns (S, C) maxima of the rows of each segment, in the dtype of values; 0 where it is empty.

    The gradient goes to the first row that holds the maximum. NaN counts as the greatest value.
    Arguments and errors: `segment_sum`.
    """
    return _extremum(values, dense_rows(values, index, num_segments), largest=True)


def segment_min(values: Tensor, index: Tensor, num_segments: int) -> Tensor:
    """Returns (S, C) minima of the rows of each segment, in the dtype of values; 0 where it is empty.

    The gradient goes to the first row that holds the minimum. NaN counts as the smallest value.
    Arguments and errors: `segment_sum`.
    """
    return _extremum(values, dense_rows(values, index, num_segments), largest=False)


def segment_max_csr(values: Tensor, offsets: Tensor, row_ids: Tensor | None = None) -> Tensor:
    """Returns what `segment_max` does for lists of rows. Arguments and errors: `segment_sum_csr`."""
    return _extremum(values, listed_rows(values, offsets, row_ids), largest=True)


def segment_min_csr(values: Tensor, offsets: Tensor, row_ids: Tensor | None = None) -> Tensor:
    """Returns what `segment_min` does for lists of rows. Arguments and errors: `segment_sum_csr`."""
    return _extremum(values, listed_rows(values, offsets, row_ids), largest=False)


def _extremum(values: Tensor, rows: RowLists, *, largest: bool) -> Tensor:
    row_ids, offsets, index = rows
    extrema = torch.ops.geoguide3d.segment_extremum(values, row_ids, offsets, largest, index)
    assert isinstance(extrema, Tensor)
    return extrema.to(values.dtype)


# --- references -------------------------------------------------------------------------------------------------------


def segment_extremum_reference(
    values: Tensor, row_ids: Tensor | None, offsets: Tensor, largest: bool, index: Tensor | None = None
) -> Tensor:
    ids, owners = pairs(row_ids, offsets, len(values))
    rows = values.to(sum_dtype(values)).index_select(0, ids)
    zeros = rows.new_zeros(len(offsets) - 1, rows.shape[1])
    target = owners[:, None].expand_as(rows)
    return zeros.scatter_reduce(0, target, rows, "amax" if largest else "amin", include_self=False)


def segment_first_reference(values: Tensor, extrema: Tensor, row_ids: Tensor | None, offsets: Tensor) -> Tensor:
    ids, owners = pairs(row_ids, offsets, len(values))
    rows = values.to(extrema.dtype).index_select(0, ids)
    holds_it = (rows == extrema.index_select(0, owners)) | rows.isnan()
    entry = torch.where(holds_it, torch.arange(len(ids), device=ids.device)[:, None], len(ids))
    none = ids.new_full(extrema.shape, len(ids))
    first = none.scatter_reduce(0, owners[:, None].expand_as(entry), entry, "amin")
    return torch.cat([ids, ids.new_full((1,), len(values))])[first]


def segment_place_reference(
    segments: Tensor, rows: Tensor, segment_ids: Tensor, row_offsets: Tensor | None, dtype: torch.dtype
) -> Tensor:
    count = len(segment_ids) if row_offsets is None else len(row_offsets) - 1
    # One row more than there are takes what belongs to empty segments.
    return segments.new_zeros(count + 1, segments.shape[1]).scatter_add(0, rows, segments)[:-1].to(dtype)


# --- shapes -----------------------------------------------------------------------------------------------------------


def _extremum_shape(
    values: Tensor, row_ids: Tensor | None, offsets: Tensor, largest: bool, index: Tensor | None
) -> Tensor:
    return values.new_empty(offsets.shape[0] - 1, values.shape[1], dtype=sum_dtype(values))


def _first_shape(values: Tensor, extrema: Tensor, row_ids: Tensor | None, offsets: Tensor) -> Tensor:
    return offsets.new_empty(extrema.shape)


def _place_shape(
    segments: Tensor, rows: Tensor, segment_ids: Tensor, row_offsets: Tensor | None, dtype: torch.dtype
) -> Tensor:
    count = segment_ids.shape[0] if row_offsets is None else row_offsets.shape[0] - 1
    return segments.new_empty(count, segments.shape[1], dtype=dtype)


# --- gradients --------------------------------------------------------------------------------------------------------


def _save_extremum(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, row_ids, offsets, _, index = inputs
    ctx.save_for_backward(values, output, row_ids, offsets, index)


def _extremum_gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, extrema, row_ids, offsets, index = ctx.saved_tensors
    rows = torch.ops.geoguide3d.segment_first(values, extrema, row_ids, offsets)
    lists = segments_by_row(RowLists(row_ids, offsets, index), values.shape[0])
    return torch.ops.geoguide3d.segment_place(grad, rows, *lists, values.dtype), None, None, None, None


def _save_place(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.dtype = inputs[0].dtype
    ctx.save_for_backward(inputs[1])


def _place_gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    (rows,) = ctx.saved_tensors
    nothing = grad.new_zeros(1, grad.shape[1])  # for empty segments
    return torch.cat([grad, nothing]).gather(0, rows).to(ctx.dtype), None, None, None, None


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    EXTREMUM, "(Tensor values, Tensor? row_ids, Tensor offsets, bool largest, Tensor? index) -> Tensor"
)
torch.library.impl(EXTREMUM, "CompositeExplicitAutograd", segment_extremum_reference)
torch.library.register_fake(EXTREMUM, _extremum_shape)
torch.library.register_autograd(EXTREMUM, _extremum_gradient, setup_context=_save_extremum)

torch.library.define(FIRST, "(Tensor values, Tensor extrema, Tensor? row_ids, Tensor offsets) -> Tensor")
torch.library.impl(FIRST, "CompositeExplicitAutograd", segment_first_reference)
torch.library.register_fake(FIRST, _first_shape)

torch.library.define(
    PLACE, "(Tensor segments, Tensor rows, Tensor segment_ids, Tensor? row_offsets, ScalarType dtype) -> Tensor"
)
torch.library.impl(PLACE, "CompositeExplicitAutograd", segment_place_reference)
torch.library.register_fake(PLACE, _place_shape)
torch.library.register_autograd(PLACE, _place_gradient, setup_context=_save_place)
