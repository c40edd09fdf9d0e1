"""Sums of directions of rows per segment. The contract is written in csrc/direction_sums.h.

They are all that cosines of points with one vector per segment need: Σ over p of cos(a[p], b[q[p]]) =
Σ over q of direction(b[q]) · Σ over p in q of direction(a[p]), so the cosines of N points with their Q superpoints are
Q products, and no (N, C) array of gathered targets is made.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from geoguide3d.ops.csr_transpose import RowLists, check_index, pairs, rows_by_index
from geoguide3d.ops.segment_reduce import check_values, sum_dtype
from geoguide3d.ops.unit_rows import through_unit_rows, unit_rows

SUMS = "geoguide3d::direction_sums"
DOT = "geoguide3d::direction_dot"
BACKWARD = "geoguide3d::direction_sums_backward"

NEAREST = 1e-3  # unit vectors nearer to the mean than this say no direction: float32 has lost it. csrc/direction_sums.h

Context = Any  # torch's autograd context is not typed


def direction_sums(
    vectors: Tensor,  # (N, C)
    index: Tensor,  # (N,)
    num_segments: int,
    counts: Tensor | None = None,  # (N,)
    mean: Tensor | None = None,  # (C,)
) -> Tensor:
    """Returns (S, C) sums of the directions of the rows of each segment, 0 where it is empty.

    The direction of a row is (u − mean) / max(|u − mean|, NEAREST), u the row divided by max(length, 1e-8); without a
    mean it is u. Gradients reach vectors alone; there is no second derivative. One (N, C) array is made, the gradient.

    Args:
        vectors: (N, C) float32, float64, float16 or bfloat16; half types are read as such and added up in float32.
        index: (N,) int64 in [0, num_segments), the segment of each row.
        num_segments: S.
        counts: (N,) bool, the rows that are summed; None: all.
        mean: (C,) floats, what unit vectors are seen from; None is 0.

    Returns:
        float64 for float64 vectors, float32 for all others.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, an index outside [0, num_segments) (on CUDA a device-side
            assertion).
        RuntimeError: a second derivative is asked for.
    """
    check_values(vectors)
    check_index(vectors, index, num_segments)
    _check(vectors, counts, mean)
    rows = rows_by_index(index, num_segments)
    return _tensor(torch.ops.geoguide3d.direction_sums(vectors, counts, _wide(mean, vectors), *rows))


def direction_total(
    vectors: Tensor,  # (N, C)
) -> Tensor:
    """Returns (C,), the sum of all rows divided by their lengths, without gradient; dtypes as in `direction_sums`."""
    check_values(vectors)
    offsets = torch.tensor([0, len(vectors)], device=vectors.device)
    rows = RowLists(None, offsets, None)
    return _tensor(torch.ops.geoguide3d.direction_sums(vectors.detach(), None, None, *rows)).squeeze(0)


def direction_dot(
    vectors: Tensor,  # (N, C)
    segments: Tensor,  # (S, C)
    index: Tensor,  # (N,)
    mean: Tensor | None = None,  # (C,)
) -> Tensor:
    """Returns (N,): the direction of each row, as in `direction_sums`, times the row of its segment. No gradient.

    Args:
        segments: (S, C) floats; for cosines, directions.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, an index outside [0, S).
    """
    check_values(vectors)
    check_index(vectors, index, len(segments))
    _check(vectors, None, mean)
    if segments.ndim != 2 or segments.shape[1] != vectors.shape[1] or segments.device != vectors.device:
        raise ValueError(
            f"segments must be (S, {vectors.shape[1]}) on {vectors.device}, got {tuple(segments.shape)} on "
            f"{segments.device}"
        )
    wide = segments.detach().to(sum_dtype(vectors))
    return _tensor(torch.ops.geoguide3d.direction_dot(vectors.detach(), wide, _wide(mean, vectors), index))


def _check(vectors: Tensor, counts: Tensor | None, mean: Tensor | None) -> None:
    if counts is not None and (counts.shape != vectors.shape[:1] or counts.dtype != torch.bool):
        raise ValueError(f"counts must be ({len(vectors)},) bool, got {tuple(counts.shape)} {counts.dtype}")
    if mean is not None and (mean.shape != vectors.shape[1:] or not mean.is_floating_point()):
        raise ValueError(f"mean must be ({vectors.shape[1]},) floats, got {tuple(mean.shape)} {mean.dtype}")
    for name, tensor in (("counts", counts), ("mean", mean)):
        if tensor is not None and tensor.device != vectors.device:
            raise ValueError(f"{name} must be on {vectors.device} as vectors are, got {tensor.device}")


def _wide(mean: Tensor | None, vectors: Tensor) -> Tensor | None:
    return None if mean is None else mean.detach().to(sum_dtype(vectors))


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value


# --- references: obvious PyTorch, run on any device that has no kernel ------------------------------------------------


def _directions(values: Tensor, mean: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Returns directions and unit rows (N, C), and the lengths (N, 1) that made them."""
    unit, lengths = unit_rows(values.to(sum_dtype(values)))
    if mean is None:
        return unit, unit, torch.ones_like(lengths), lengths
    seen = unit - mean
    distance = seen.norm(dim=1, keepdim=True).clamp(min=NEAREST)
    return seen / distance, unit, distance, lengths


def direction_sums_reference(
    values: Tensor,
    counts: Tensor | None,
    mean: Tensor | None,
    row_ids: Tensor | None,
    offsets: Tensor,
    index: Tensor | None = None,
) -> Tensor:
    ids, owners = pairs(row_ids, offsets, len(values))
    rows, _, _, _ = _directions(values, mean)
    if counts is not None:
        rows = rows.masked_fill(~counts[:, None], 0)
    return rows.new_zeros(len(offsets) - 1, rows.shape[1]).index_add(0, owners, rows.index_select(0, ids))


def direction_dot_reference(values: Tensor, segments: Tensor, mean: Tensor | None, index: Tensor) -> Tensor:
    ids, _ = pairs(index, None, len(segments))
    return (_directions(values, mean)[0] * segments.index_select(0, ids)).sum(1)


def direction_sums_backward_reference(
    values: Tensor, counts: Tensor | None, mean: Tensor | None, grad: Tensor, index: Tensor, added: Tensor | None
) -> Tensor:
    ids, _ = pairs(index, None, len(grad))
    directions, unit, distance, lengths = _directions(values, mean)
    of_rows = grad.index_select(0, ids)
    if mean is not None:
        along = (of_rows * directions).sum(1, keepdim=True) * (distance > NEAREST)
        of_rows = (of_rows - along * directions) / distance
    made = through_unit_rows(of_rows, unit, lengths)
    if counts is not None:
        made = made.masked_fill(~counts[:, None], 0)
    return (made if added is None else made + added).to(values.dtype)


# --- shapes -----------------------------------------------------------------------------------------------------------


def _sums_shape(
    values: Tensor,
    counts: Tensor | None,
    mean: Tensor | None,
    row_ids: Tensor | None,
    offsets: Tensor,
    index: Tensor | None,
) -> Tensor:
    return values.new_empty(offsets.shape[0] - 1, values.shape[1], dtype=sum_dtype(values))


def _dot_shape(values: Tensor, segments: Tensor, mean: Tensor | None, index: Tensor) -> Tensor:
    return segments.new_empty(values.shape[0])


def _backward_shape(
    values: Tensor, counts: Tensor | None, mean: Tensor | None, grad: Tensor, index: Tensor, added: Tensor | None
) -> Tensor:
    return values.new_empty(values.shape)


# --- gradient ---------------------------------------------------------------------------------------------------------


def _save(ctx: Context, inputs: tuple[Any, ...], output: Tensor) -> None:
    values, counts, mean, _, _, index = inputs
    ctx.save_for_backward(values, counts, mean, index)


def _gradient(ctx: Context, grad: Tensor) -> tuple[Tensor | None, ...]:
    values, counts, mean, index = ctx.saved_tensors
    if torch.is_grad_enabled():
        raise RuntimeError("direction_sums has no second derivative: call backward without create_graph")
    made = torch.ops.geoguide3d.direction_sums_backward(values, counts, mean, grad, index, None)
    return made, None, None, None, None, None


# --- registration -----------------------------------------------------------------------------------------------------

torch.library.define(
    SUMS,
    "(Tensor values, Tensor? counts, Tensor? mean, Tensor? row_ids, Tensor offsets, Tensor? index) -> Tensor",
)
torch.library.impl(SUMS, "CompositeExplicitAutograd", direction_sums_reference)
torch.library.register_fake(SUMS, _sums_shape)
torch.library.register_autograd(SUMS, _gradient, setup_context=_save)

torch.library.define(DOT, "(Tensor values, Tensor segments, Tensor? mean, Tensor index) -> Tensor")
torch.library.impl(DOT, "CompositeExplicitAutograd", direction_dot_reference)
torch.library.register_fake(DOT, _dot_shape)

torch.library.define(
    BACKWARD, "(Tensor values, Tensor? counts, Tensor? mean, Tensor grad, Tensor index, Tensor? added) -> Tensor"
)
torch.library.impl(BACKWARD, "CompositeExplicitAutograd", direction_sums_backward_reference)
torch.library.register_fake(BACKWARD, _backward_shape)
