"""Codes along curves: upstream's numbers, and what makes a curve a curve."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from geoguide3d.backbones.ptv3.serialization import MAX_DEPTH, ORDERS, curve_codes, curve_depth


def cube(depth: int) -> Tensor:
    axis = torch.arange(2**depth)
    grid = torch.cartesian_prod(axis, axis, axis)
    return torch.cat([torch.zeros(len(grid), 1, dtype=torch.int64), grid], dim=1)


@pytest.mark.parametrize("depth", [1, 2, 3, 5, 7, 8, 9, 10, 13, 16])
def test_codes_are_upstreams(shared_fixtures: Path, depth: int) -> None:
    recorded = load_file(shared_fixtures / "backbones" / "serialization" / "codes.safetensors")
    batch, grid = recorded[f"d{depth}.batch"], recorded[f"d{depth}.grid_coord"]
    cells = torch.cat([batch.unsqueeze(1), grid], dim=1).to(torch.int64)
    assert torch.equal(curve_codes(cells, depth), recorded[f"d{depth}.code"])


def test_orders_of_two_cells_per_axis_by_hand() -> None:
    cells = torch.tensor([[0, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0], [2, 1, 1, 1]])
    assert curve_codes(cells, 1, ["z"]).tolist() == [[0, 1, 2, 4, 23]]
    assert curve_codes(cells, 1, ["z-trans"]).tolist() == [[0, 1, 4, 2, 23]]


@pytest.mark.parametrize("depth", [1, 2, 4])
@pytest.mark.parametrize("order", ORDERS)
def test_a_curve_visits_every_cell_once(order: str, depth: int) -> None:
    codes = curve_codes(cube(depth), depth, [order])[0]
    assert torch.equal(codes.sort().values, torch.arange(8**depth))


@pytest.mark.parametrize("depth", [1, 2, 5])
@pytest.mark.parametrize("order", ["hilbert", "hilbert-trans"])
def test_hilbert_steps_to_a_neighbor(order: str, depth: int) -> None:
    cells = cube(depth)
    path = cells[curve_codes(cells, depth, [order])[0].argsort(), 1:]
    assert bool(((path[1:] - path[:-1]).abs().sum(dim=1) == 1).all())


@given(st.integers(1, MAX_DEPTH), st.integers(0, 2**32))
def test_trans_swaps_x_and_y(depth: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    cells = torch.randint(2**depth, (20, 4), generator=generator)
    cells[:, 0] %= 2
    swapped = cells[:, [0, 2, 1, 3]]
    assert torch.equal(curve_codes(cells, depth)[[1, 3]], curve_codes(swapped, depth)[[0, 2]])


@pytest.mark.parametrize(("largest", "depth"), [(0, 1), (1, 2), (2, 2), (3, 3), (126, 7), (127, 8), (65534, 16)])
def test_depth(largest: int, depth: int) -> None:
    assert curve_depth(torch.tensor([[5, 0, largest, 0]])) == depth


def test_rejects_what_it_cannot_code() -> None:
    with pytest.raises(ValueError, match=r"along y they are 65535 … 65535: .*tiles\.core_m"):
        curve_depth(torch.tensor([[0, 0, 65535, 0]]))
    with pytest.raises(ValueError, match="along y they are -1 … -1"):
        curve_depth(torch.tensor([[0, 0, -1, 0]]))
    with pytest.raises(ValueError, match="unknown orders"):
        curve_codes(torch.zeros(1, 4, dtype=torch.int64), 1, ["peano"])


def test_no_cells() -> None:
    cells = torch.zeros(0, 4, dtype=torch.int64)
    assert curve_codes(cells, curve_depth(cells)).shape == (4, 0)
