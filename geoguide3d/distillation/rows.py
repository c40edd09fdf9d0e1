"""Features of many points, in memory or on disk, of which a few rows at a time are looked at."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.store.feature_file import FeatureFile

_ROWS_AT_ONCE = 65_536

Rows = Tensor | FeatureFile  # (n, channels), any float dtype


def channels_of(rows: Rows) -> int:
    """Returns the width."""
    return rows.shape[1] if isinstance(rows, Tensor) else rows.description.channels


def read_rows(
    rows: Rows,
    which: slice | Tensor,  # (k,) int64
) -> Tensor:
    """Returns (k, channels) float32; of a file, only these are read."""
    return (rows[which] if isinstance(rows, Tensor) else rows.rows(which)).to(torch.float32)


def check_finite(scene: str, what: str, rows: Rows) -> None:
    """Passes where all numbers are finite. Files are not read: their writer takes no others.

    Raises:
        ValueError: some are not, or rows that are not (n, channels) floats; names scene, what, and how many points.
    """
    if isinstance(rows, FeatureFile):
        return
    if rows.ndim != 2 or not rows.is_floating_point():
        raise ValueError(f"{scene}: {what} must be (n, channels) floats, got {tuple(rows.shape)} {rows.dtype}")
    wrong = sum(int((~piece.isfinite()).any(dim=1).sum()) for piece in torch.split(rows, _ROWS_AT_ONCE))
    if wrong:
        raise ValueError(
            f"{scene}: {what} of {wrong} points of {len(rows)} are not finite as {rows.dtype}; compute them again, or "
            "take the scene off the list"
        )
