"""Finds rows that are repeated bit for bit, so that each is stored once."""

from __future__ import annotations

import torch
from torch import Tensor

_ROWS_AT_ONCE = 4_096
_BITS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def without_repeats(
    rows: Tensor,  # (N, C) float
) -> tuple[Tensor, Tensor | None]:
    """Returns the (R, C) different rows in the order in which they first occur, and (N,) int64, where each row went.

    Where that would not save a tenth of the bytes, or two rows differ but have the same hash (the odds are about
    N² / 2⁶⁴), the rows come back as they are, with None.
    """
    bits = rows.detach().contiguous().view(_BITS[rows.element_size()])
    hashes, group = torch.unique(_hashes(bits), return_inverse=True)
    first = torch.full((len(hashes),), len(rows)).scatter_reduce_(0, group, torch.arange(len(rows)), "amin")
    row_bytes, index_bytes = rows.shape[1] * rows.element_size(), 4
    if len(first) * row_bytes + len(rows) * index_bytes > 0.9 * len(rows) * row_bytes:
        return rows, None
    order = first.argsort()
    first = first[order]
    inverse = torch.empty_like(order).scatter_(0, order, torch.arange(len(order)))[group]
    for begin in range(0, len(rows), _ROWS_AT_ONCE):
        piece = slice(begin, begin + _ROWS_AT_ONCE)
        if not torch.equal(bits[first[inverse[piece]]], bits[piece]):
            return rows, None
    return rows[first], inverse


def _hashes(bits: Tensor) -> Tensor:
    """Returns (N,) int64: Σ over channels of bits × a random odd number, modulo 2⁶⁴."""
    generator = torch.Generator().manual_seed(0)
    factors = torch.randint(-(2**62), 2**62, (bits.shape[1],), generator=generator) * 2 + 1
    hashes = torch.empty(len(bits), dtype=torch.int64)
    for begin in range(0, len(bits), _ROWS_AT_ONCE):
        piece = slice(begin, begin + _ROWS_AT_ONCE)
        hashes[piece] = (bits[piece] * factors).sum(dim=1)
    return hashes
