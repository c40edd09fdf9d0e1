"""The transforms in front of the network give upstream's voxels, points and features."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from geoguide3d.backbones.network_input import (
    GridSample,
    Placement,
    check_precision,
    grid_sample,
    network_input,
    normalize_color,
    room_zero,
)
from geoguide3d.scenes.scene import Scene


def assert_is_recorded(sampled: GridSample, recorded: dict[str, Tensor], prefix: str) -> Tensor:
    """Compares with upstream's rows, which lie in the order of a hash; returns the row of each of ours."""
    cells = recorded[f"{prefix}grid_coord"].to(torch.int64)
    x, y, z = cells.T
    rows = ((x << 42) | (y << 21) | z).argsort()
    assert torch.equal(sampled.cells, cells[rows])
    assert torch.equal(sampled.point_of_voxel, recorded[f"{prefix}pick"][rows].to(torch.int64))
    assert torch.equal(rows[sampled.voxel_of_point], recorded[f"{prefix}inverse"].to(torch.int64))
    return rows


@pytest.mark.parametrize("upstream_compat", [False, True])
@pytest.mark.parametrize("cloud", ["main", "second"])
def test_transforms_are_upstreams(shared_fixtures: Path, cloud: str, upstream_compat: bool) -> None:
    recorded = load_file(shared_fixtures / "backbones" / "transforms" / f"{cloud}.safetensors")
    points = recorded["raw.coord"] - room_zero(recorded["raw.coord"])
    assert torch.equal(points, recorded["shifted.coord"])
    sampled = grid_sample(points, 0.02, upstream_compat)
    rows = assert_is_recorded(sampled, recorded, "")
    picked = sampled.point_of_voxel
    colors = normalize_color(recorded["raw.color"])
    features = torch.cat([points[picked], colors[picked], recorded["raw.normal"][picked]], dim=1)
    assert torch.equal(features, recorded["feat"][rows])


@pytest.mark.parametrize(("upstream_compat", "prefix"), [(False, "f64div."), (True, "f32div.")])
def test_points_on_borders_of_voxels(shared_fixtures: Path, upstream_compat: bool, prefix: str) -> None:
    recorded = load_file(shared_fixtures / "backbones" / "transforms" / "edge.safetensors")
    points = recorded["raw.coord"] - room_zero(recorded["raw.coord"])
    assert torch.equal(points, recorded["shifted.coord"])
    assert_is_recorded(grid_sample(points, 0.02, upstream_compat), recorded, prefix)


@pytest.mark.parametrize("upstream_compat", [False, True])
def test_one_point(upstream_compat: bool) -> None:
    points = torch.tensor([[3.0, -2.0, 7.0]]) - room_zero(torch.tensor([[3.0, -2.0, 7.0]]))
    assert points.tolist() == [[0.0, 0.0, 0.0]]
    sampled = grid_sample(points, 0.02, upstream_compat)
    assert [t.tolist() for t in (sampled.cells, sampled.point_of_voxel, sampled.voxel_of_point)] == [
        [[0] * 3],
        [0],
        [0],
    ]


def test_colors_of_either_range() -> None:
    unit = torch.tensor([[0.0, 0.5, 1.0]])
    assert torch.equal(normalize_color(unit), unit)
    assert torch.equal(normalize_color(unit * 255), torch.tensor([[0.0, 127.5, 255.0]]) / 255)
    assert torch.equal(normalize_color(torch.tensor([[0, 1, 1]], dtype=torch.uint8)) * 255, torch.tensor([[0.0, 1, 1]]))
    for bad in (-0.1, 256.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="colours must be"):
            normalize_color(torch.tensor([[0.0, bad, 1.0]]))


def test_rejects_clouds_it_cannot_place() -> None:
    with pytest.raises(ValueError, match="got 2, 1 of them"):
        room_zero(torch.tensor([[0.0, 0.0, 0.0], [0.0, float("nan"), 0.0]]))
    with pytest.raises(ValueError, match="got 0"):
        room_zero(torch.zeros(0, 3))
    with pytest.raises(ValueError, match="one axis"):
        grid_sample(torch.tensor([[0.0, 0.0, 0.0], [50_000.0, 0.0, 0.0]]), 0.02)
    check_precision(torch.tensor([[1000.0, 0.0, 0.0]]), 0.02)
    with pytest.raises(ValueError, match=r"Scene\.origin"):
        check_precision(torch.tensor([[0.0, 5_400_000.0, 0.0]]), 0.02)


def test_placements_differ_in_where_zero_is() -> None:
    points = torch.tensor([[1.01, 5.0, 3.0], [1.06, 5.0, 3.0], [3.01, 7.0, 4.0]])
    scene = Scene(points, up=torch.eye(3)[2])
    found = {kind: network_input(scene, 0.02, (), placement=kind) for kind in Placement}
    expected = {
        Placement.ROOM: [[-1.0, -1.0, 0.0], [-0.95, -1.0, 0.0], [1.0, 1.0, 1.0]],
        Placement.GROUND: [[-1.0, -1.0, 3.0], [-0.95, -1.0, 3.0], [1.0, 1.0, 4.0]],
        Placement.SENSOR: points.tolist(),
    }
    for kind, seen in found.items():
        assert torch.allclose(seen.points, torch.tensor(expected[kind]), atol=1e-5)
        assert torch.equal(seen.colors, torch.zeros(3, 3))


def test_cells_are_cut_from_the_zero_of_the_placement() -> None:
    points = torch.tensor([[0.011, 0.0, 0.0], [0.029, 0.0, 0.0]])  # across a border at 0.02 from 0
    scene = Scene(points, up=torch.eye(3)[2])
    counts = {kind: len(network_input(scene, 0.02, (), placement=kind).cells) for kind in Placement}
    assert counts == {Placement.ROOM: 2, Placement.GROUND: 2, Placement.SENSOR: 2}
    shifted = Scene(points - 0.01, up=torch.eye(3)[2])  # inside one cell from 0, across the middle's border
    counts = {kind: len(network_input(shifted, 0.02, (), placement=kind).cells) for kind in Placement}
    assert counts == {Placement.ROOM: 2, Placement.GROUND: 1, Placement.SENSOR: 1}
