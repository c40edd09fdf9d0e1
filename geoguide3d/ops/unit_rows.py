"""Rows brought to unit length, and the gradient through that, for references: below autograd they make their own."""

from __future__ import annotations

from torch import Tensor

SHORTEST_ROW = 1e-8  # csrc/row_length.h


def unit_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the rows divided by their lengths, at least SHORTEST_ROW, and those lengths (N, 1)."""
    lengths = rows.norm(dim=1, keepdim=True).clamp(min=SHORTEST_ROW)
    return rows / lengths, lengths


def through_unit_rows(grad: Tensor, unit: Tensor, lengths: Tensor) -> Tensor:
    """Returns the gradient of the rows, given that of `unit`: what lies along a row is lost, unless it was clamped."""
    along = (grad * unit).sum(1, keepdim=True) * (lengths > SHORTEST_ROW)
    return (grad - along * unit) / lengths
