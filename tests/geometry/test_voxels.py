"""Voxel grids: the typed door to ops.voxel_hash, whose own tests hold the rest."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.geometry.voxels import voxelize


def test_names_what_the_op_returns() -> None:
    points = torch.tensor([[1.0, 0.0, 2.5], [-0.5, 0.0, 0.0], [1.9, 0.9, 2.1], [-0.1, 0.0, 3.0]])
    grid = voxelize(points, 1.0)
    assert len(grid) == 3
    assert grid.voxel_size_m == 1.0
    assert grid.cells.tolist() == [[0, 0, 0], [0, 0, 3], [2, 0, 2]]
    assert grid.point_of_voxel.tolist() == [1, 3, 0]
    assert grid.voxel_of_point.tolist() == [2, 0, 2, 1]


def test_refuses_what_the_op_refuses() -> None:
    with pytest.raises(ValueError, match="voxel_size_m must be positive"):
        voxelize(torch.zeros(1, 3), 0.0)
