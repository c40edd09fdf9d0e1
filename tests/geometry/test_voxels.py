"""Voxel grids, against a dictionary of cells."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geoguide3d.geometry.voxels import voxelize


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 300), st.floats(0.01, 2.0), st.floats(-1e6, 1e6))
def test_equals_a_dictionary_of_cells(seed: int, count: int, size: float, shift: float) -> None:
    points = torch.randn(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 2 + shift
    cells = [tuple(math.floor(value / size) for value in point) for point in points.tolist()]
    smallest = [min(cell[axis] for cell in cells) for axis in range(3)]
    first: dict[tuple[int, ...], int] = {}
    for index, cell in enumerate(cells):
        first.setdefault(tuple(c - s for c, s in zip(cell, smallest, strict=True)), index)
    grid = voxelize(points, size)
    assert len(grid) == len(first)
    assert [tuple(cell) for cell in grid.cells.tolist()] == sorted(first)
    assert grid.point_of_voxel.tolist() == [first[cell] for cell in sorted(first)]
    own_cells = grid.cells[grid.voxel_of_point] + torch.tensor(smallest)
    assert [tuple(cell) for cell in own_cells.tolist()] == cells


def test_the_division_is_in_float64() -> None:
    """float32(0.7) is less than 0.7 and belongs to cell 6; divided in float32 it rounds up to 7."""
    points = torch.tensor([[0.0, 0.0, 0.0], [0.3, 0.0, 0.0], [0.7, 0.0, 0.0]])
    assert voxelize(points, 0.1).cells[:, 0].tolist() == [0, 3, 6]


def test_the_largest_extent_fits_and_one_more_is_refused() -> None:
    ends = torch.tensor([[0.5, 0.5, 0.5], [2**21 - 0.5, 0.5, 2**21 - 0.5]], dtype=torch.float64)
    assert voxelize(ends, 1.0).cells.tolist() == [[0, 0, 0], [2**21 - 1, 0, 2**21 - 1]]
    with pytest.raises(ValueError, match="larger voxel_size_m"):
        voxelize(ends + torch.tensor([[0.0, 0.0, 0.0], [0.0, 2**21, 0.0]]), 1.0)


@pytest.mark.parametrize("size", [0.0, -0.1, math.nan, math.inf])
def test_a_size_that_is_not_positive_is_refused(size: float) -> None:
    with pytest.raises(ValueError, match="voxel_size_m"):
        voxelize(torch.zeros(1, 3), size)
