"""Which cells of a sparse grid meet at each tap of a convolution. The contract is written in csrc/kernel_map.h.

Compiled kernels and the references below are registered for the same operators; the dispatcher chooses by device.
Results are integers and carry no gradient.
"""

from __future__ import annotations

from typing import NoReturn

import torch
from torch import Tensor

import geoguide3d.ops.kernels  # noqa: F401  registers the compiled kernels, where there are any

SUBMANIFOLD = "geoguide3d::submanifold_map"
STRIDED = "geoguide3d::strided_map"


def submanifold_map(cells: Tensor, kernel_size: int) -> Tensor:
    """Returns (K, M) int32 neighbours, K = kernel_size³: the row of the cell that each tap reads, −1 where none is.

    Tap (i, j, k) has the number (i·kernel_size + j)·kernel_size + k and reads the cell that is (i, j, k) − centre away
    in (x, y, z), in the same batch.

    Args:
        cells: (M, 4) int64: batch, x, y, z; in any order, no cell twice.
        kernel_size: odd, so that the kernel has a centre.

    Raises:
        ValueError: an even size, a shape or dtype that does not fit, a cell that occurs twice, an extent (batch · x · y
            · z) beyond 2⁶³ cells.
    """
    _check_cells(cells)
    if kernel_size < 1 or kernel_size % 2 == 0:
        raise ValueError(f"kernel_size must be odd, got {kernel_size}")
    neighbours = torch.ops.geoguide3d.submanifold_map(cells, kernel_size)
    assert isinstance(neighbours, Tensor)
    return neighbours


def strided_map(cells: Tensor, kernel_size: int, stride: int, padding: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Returns (coarse (P, 4) int64, children (K, P) int32, parents (K, M) int32), K = kernel_size³.

    An output at o reads the cells at o·stride − padding + (i, j, k) by the taps (i, j, k), numbered as in
    `submanifold_map`. The grid begins at 0 and has no end: `coarse` holds all o ≥ 0 that read a cell, with its batch,
    in lexicographic order. (spconv's SparseConv3d cuts its outputs off at the end of a spatial shape, too.)
    `children` is the row in `cells` that each tap of an output reads, `parents` the row in `coarse` that reads a cell
    by that tap; −1 where there is none.

    Args:
        cells: (M, 4) int64: batch, x, y, z; in any order, no cell twice; x, y and z in [0, 2⁶²).
        kernel_size: in [1, 1000]. Below stride, outputs leave cells out.
        stride: at least 1.
        padding: in [0, 2³¹).

    Raises:
        ValueError: a size or coordinate out of its range, else as `submanifold_map`; a cell that occurs twice may go
            unseen where no output reads it.
    """
    _check_cells(cells)
    if not 1 <= kernel_size <= 1000 or stride < 1 or not 0 <= padding < 2**31:
        raise ValueError(
            "kernel_size must be in [1, 1000], stride at least 1 and padding in [0, 2^31), "
            f"got {kernel_size}, {stride} and {padding}"
        )
    coarse, children, parents = torch.ops.geoguide3d.strided_map(cells, kernel_size, stride, padding)
    return coarse, children, parents


def _check_cells(cells: Tensor) -> None:
    if cells.ndim != 2 or cells.shape[1] != 4 or cells.dtype != torch.int64:
        raise ValueError(f"cells must be (M, 4) int64, got {tuple(cells.shape)} {cells.dtype}")


# --- references: obvious PyTorch, run on any device that has no kernel ------------------------------------------------


def submanifold_map_reference(cells: Tensor, kernel_size: int) -> Tensor:
    neighbours = cells.new_full((kernel_size**3, len(cells)), -1, dtype=torch.int32)
    if len(cells) == 0:
        return neighbours
    reach = kernel_size // 2
    keys, steps = _keys(cells, reach)
    ordered, rows = keys.sort()
    _check_distinct(cells, ordered, rows)
    taps = torch.cartesian_prod(*[torch.arange(-reach, reach + 1)] * 3).view(-1, 3)
    for tap, offset in enumerate(taps.tolist()):
        wanted = ordered + sum(o * s for o, s in zip(offset, steps[1:], strict=True))
        place = torch.searchsorted(ordered, wanted).clamp(max=len(cells) - 1)
        found = torch.where(ordered[place] == wanted, rows[place], -1)
        neighbours[tap, rows] = found.to(torch.int32)
    return neighbours


def strided_map_reference(
    cells: Tensor, kernel_size: int, stride: int, padding: int = 0
) -> tuple[Tensor, Tensor, Tensor]:
    wrong = ((cells[:, 1:] < 0) | (cells[:, 1:] >= 2**62)).nonzero()
    if len(wrong):
        got = int(cells[:, 1:][tuple(wrong[0])])
        raise ValueError(f"x, y and z of a strided map must be in [0, 2^62), got {got}")
    taps = torch.cartesian_prod(*[torch.arange(kernel_size, device=cells.device)] * 3).view(-1, 3)
    places = cells[:, 1:] + padding - taps[:, None]  # (K, M, 3)
    tap, row = ((places >= 0) & (places % stride == 0)).all(dim=2).nonzero().T
    outputs = torch.cat([cells[row, :1], places[tap, row] // stride], dim=1)
    if len(outputs):
        _keys(outputs, 0)
    coarse, parent = torch.unique(outputs, dim=0, return_inverse=True)
    rows, parent = row.to(torch.int32), parent.to(torch.int32)
    children = rows.new_full((len(taps), len(coarse)), -1)
    children[tap, parent] = rows
    parents = rows.new_full((len(taps), len(cells)), -1)
    parents[tap, row] = parent
    twice = (children[tap, parent] != rows).nonzero()
    if len(twice):
        _refuse_twice(cells[row[twice[0]][0]])
    return coarse, children, parents


def _keys(cells: Tensor, reach: int) -> tuple[Tensor, list[int]]:
    """Returns (M,) keys in the order of cells, and what one step along batch, x, y and z adds to a key."""
    low, high = (corner.tolist() for corner in cells.aminmax(dim=0))
    extents = [high[0] - low[0] + 1, *(h - s + 1 + 2 * reach for h, s in zip(high[1:], low[1:], strict=True))]
    steps = [extents[1] * extents[2] * extents[3], extents[2] * extents[3], extents[3], 1]
    if steps[0] * extents[0] >= 2**63:
        raise ValueError(f"cells span {extents} along batch, x, y and z: more than 2^63 cells")
    return ((cells - cells.amin(dim=0)) * torch.tensor(steps, device=cells.device)).sum(dim=1), steps


def _check_distinct(cells: Tensor, ordered: Tensor, rows: Tensor) -> None:
    twice = (ordered[1:] == ordered[:-1]).nonzero()
    if len(twice):
        _refuse_twice(cells[rows[int(twice[0])]])


def _refuse_twice(cell: Tensor) -> NoReturn:
    raise ValueError(f"cells must differ, {cell.tolist()} occurs twice")


# --- shapes and registration ------------------------------------------------------------------------------------------


def _submanifold_shape(cells: Tensor, kernel_size: int) -> Tensor:
    return cells.new_empty(kernel_size**3, cells.shape[0], dtype=torch.int32)


def _strided_shape(cells: Tensor, kernel_size: int, stride: int, padding: int) -> tuple[Tensor, Tensor, Tensor]:
    outputs = torch.library.get_ctx().new_dynamic_size()
    return (
        cells.new_empty(outputs, 4),
        cells.new_empty(kernel_size**3, outputs, dtype=torch.int32),
        cells.new_empty(kernel_size**3, cells.shape[0], dtype=torch.int32),
    )


torch.library.define(SUBMANIFOLD, "(Tensor cells, int kernel_size) -> Tensor")
torch.library.impl(SUBMANIFOLD, "CompositeExplicitAutograd", submanifold_map_reference)
torch.library.register_fake(SUBMANIFOLD, _submanifold_shape)

torch.library.define(STRIDED, "(Tensor cells, int kernel_size, int stride, int padding) -> (Tensor, Tensor, Tensor)")
torch.library.impl(STRIDED, "CompositeExplicitAutograd", strided_map_reference)
torch.library.register_fake(STRIDED, _strided_shape)
