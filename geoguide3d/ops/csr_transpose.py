"""Lists of rows per segment, and of segments per row. The contract is written in csrc/csr_transpose.h."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any
from geoguide3d.ops.check_range import check_range

TRANSPOSE = "geoguide3d::csr_transpose"


class RowLists(NamedTuple):
    """The rows of each segment, as the segment ops take them."""

    row_ids: Tensor | None  # (E,) int64; None: 0, 1, 2, …, N − 1
    offsets: Tensor  # (S + 1,) int64: segment s has row_ids[offsets[s]:offsets[s + 1]]
    dense: Tensor | None  # (N,) int64 where every row is in one segment: its id


class SegmentLists(NamedTuple):
    """The segments of each row."""

    segment_ids: Tensor  # (E,) int64
    row_offsets: Tensor | None  # (N + 1,) int64; None: row n is in segment_ids[n] alone


def csr_transpose(ids: Tensor, offsets: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Returns for each of `count` ids who has it: (owners (E,), offsets (count + 1,)), owners in ascending order.

    Args:
        ids: (E,) int64 in [0, count): owner k has ids[offsets[k]:offsets[k + 1]].
        offsets: (K + 1,) int64; None where owner k has the one id ids[k]. Then this is the stable sort of the ids.

    Raises:
        ValueError: shapes, dtypes or devices that do not fit, offsets that fall or do not lead from 0 to E, an id
            outside [0, count). On CUDA what tensors hold is checked by device-side assertions.
    """
    if ids.ndim != 1 or ids.dtype != torch.int64:
        raise ValueError(f"ids must be (E,) int64, got {tuple(ids.shape)} {ids.dtype}")
    if count < 0:
        raise ValueError(f"count must not be negative, got {count}")
    if offsets is not None:
        check_offsets(offsets, len(ids), ids.device)
    owners, begins = torch.ops.geoguide3d.csr_transpose(ids, offsets, count)
    return owners, begins


def rows_by_index(index: Tensor, num_segments: int) -> RowLists:
    """Returns the lists of segments whose rows come in any order."""
    row_ids, offsets = torch.ops.geoguide3d.csr_transpose(index, None, num_segments)
    return RowLists(row_ids, offsets, index)


def segments_by_row(rows: RowLists, num_rows: int) -> SegmentLists:
    """Returns the same pairs of rows and segments from the rows' side, which gradients need."""
    if rows.dense is not None:
        return SegmentLists(rows.dense, None)
    segment_ids, row_offsets = torch.ops.geoguide3d.csr_transpose(rows.row_ids, rows.offsets, num_rows)
    return SegmentLists(segment_ids, None if rows.row_ids is None else row_offsets)


def rows_by_segment(segments: SegmentLists, num_segments: int) -> RowLists:
    """Undoes `segments_by_row`."""
    row_ids, offsets = torch.ops.geoguide3d.csr_transpose(*segments, num_segments)
    return RowLists(row_ids, offsets, segments.segment_ids if segments.row_offsets is None else None)


def check_index(values: Tensor, index: Tensor, num_segments: int) -> None:
    """Raises ValueError unless index (N,) may name the segments of values (N, …)."""
    if index.shape != values.shape[:1] or index.dtype != torch.int64:
        raise ValueError(
            f"index must be ({len(values)},) int64 for values {tuple(values.shape)}, "
            f"got {tuple(index.shape)} {index.dtype}"
        )
    if index.device != values.device:
        raise ValueError(f"index must be on {values.device} as values are, got {index.device}")
    if num_segments < 0:
        raise ValueError(f"num_segments must not be negative, got {num_segments}")


def check_offsets(offsets: Tensor, entries: int, device: torch.device) -> None:
    """Raises ValueError unless offsets may list so many entries.

    What they hold is read on the CPU only, where that costs little, and not while compiling; the kernels check it too.
    """
    if offsets.ndim != 1 or len(offsets) == 0 or offsets.dtype != torch.int64:
        raise ValueError(f"offsets must be (S + 1,) int64, got {tuple(offsets.shape)} {offsets.dtype}")
    if offsets.device != device:
        raise ValueError(f"offsets must be on {device} as values are, got {offsets.device}")
    if device.type != "cpu" or torch.compiler.is_compiling():
        return
    if offsets[0] != 0 or offsets[-1] != entries:
        raise ValueError(f"offsets must lead from 0 to {entries}, got {int(offsets[0])} to {int(offsets[-1])}")
    falls = offsets[1:] < offsets[:-1]
    if falls.any():
        at = int(falls.long().argmax())
        raise ValueError(f"offsets must not fall, got offsets[{at}:{at + 2}] = {offsets[at : at + 2].tolist()}")


# --- reference, shape and registration --------------------------------------------------------------------------------


def pairs(ids: Tensor | None, offsets: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    """Returns (ids, owners), both (E,), of a list of ids in [0, count); of all of them where `ids` is None."""
    if ids is not None:
        check_range(ids, count, "index")
    if offsets is None:
        assert ids is not None
        return ids, torch.arange(len(ids), device=ids.device)
    owners = torch.arange(len(offsets) - 1, device=offsets.device).repeat_interleave(offsets.diff())
    return torch.arange(count, device=offsets.device) if ids is None else ids, owners


def csr_transpose_reference(ids: Tensor | None, offsets: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    ids, owners = pairs(ids, offsets, count)
    sizes = ids.new_zeros(count).index_add(0, ids, torch.ones_like(ids))
    order = ids.sort(stable=True).indices
    return owners[order], torch.cat([sizes.new_zeros(1), sizes.cumsum(0)])


def _transpose_shape(ids: Tensor | None, offsets: Tensor | None, count: int) -> tuple[Tensor, Tensor]:
    like = offsets if ids is None else ids
    assert like is not None
    return like.new_empty(count if ids is None else ids.shape[0]), like.new_empty(count + 1)


torch.library.define(TRANSPOSE, "(Tensor? ids, Tensor? offsets, SymInt count) -> (Tensor, Tensor)")
torch.library.impl(TRANSPOSE, "CompositeExplicitAutograd", csr_transpose_reference)
torch.library.register_fake(TRANSPOSE, _transpose_shape)
