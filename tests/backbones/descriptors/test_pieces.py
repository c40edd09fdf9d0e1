"""pieces: a table in a corner is one object, the floor and the wall are not part of it."""

from __future__ import annotations

import torch

from geoguide3d.backbones.descriptors.pieces import find_pieces, mean_and_deviation_over_pieces
from geoguide3d.backbones.descriptors.samples import sample
from geoguide3d.scenes.scene import Scene

VOXEL_M = 0.04
BOTTOM, TOP, APART, TO_WALL = 3, 4, 8, 9  # columns of the object features


def corner_with_a_table() -> tuple[Scene, torch.Tensor]:
    """Returns the scene and its parts: 0 floor, 1 wall, 2 table top, 3 table leg."""
    torch.manual_seed(0)
    floor = torch.rand(12000, 3) * torch.tensor([2.0, 2.0, 0.0])
    wall = torch.rand(12000, 3) * torch.tensor([0.0, 2.0, 2.4])
    top = torch.rand(3000, 3) * torch.tensor([0.6, 1.0, 0.0]) + torch.tensor([1.0, 0.5, 0.75])
    leg = torch.rand(900, 3) * torch.tensor([0.1, 0.0, 0.75]) + torch.tensor([1.3, 1.0, 0.0])
    points = torch.cat([floor, wall, top, leg])
    part = torch.repeat_interleave(torch.arange(4), torch.tensor([12000, 12000, 3000, 900]))
    normals = torch.tensor([[0.0, 0, 1], [1.0, 0, 0], [0.0, 0, 1], [0.0, 1, 0]])[part]
    return Scene(points=points, normals=normals, up=torch.tensor([0.0, 0.0, 1.0])), part


def test_the_table_stands_alone() -> None:
    scene, part = corner_with_a_table()
    samples = sample(scene, VOXEL_M)
    pieces = find_pieces(samples, VOXEL_M)
    thing = pieces.object_of_sample[samples.voxel_of_point]
    box = pieces.object_features[samples.voxel_of_point]
    table = thing[part == 2][0]
    assert bool((thing[part == 2] == table).all())
    assert float((thing[(part == 3) & (scene.points[:, 2] > 0.15)] == table).float().mean()) == 1.0
    assert not bool((thing[part == 1] == table).any())
    on_top = box[part == 2][0]
    torch.testing.assert_close(on_top[:2], torch.tensor([1.0, 0.6], dtype=torch.float64), atol=VOXEL_M, rtol=0)
    assert abs(float(on_top[TOP]) - 0.75) < VOXEL_M
    assert float(on_top[BOTTOM]) < 0.15
    assert float(on_top[APART]) == 0.0
    assert float(box[part == 1, APART].mean()) > 0.9
    assert float(box[part == 2, TO_WALL].min()) > 0.9


def test_surfaces_have_their_own_extents() -> None:
    scene, part = corner_with_a_table()
    samples = sample(scene, VOXEL_M)
    surfaces = find_pieces(samples, VOXEL_M).surface_features[samples.voxel_of_point]
    long, short, height, middle, rise, _ = surfaces[(part == 2) & (scene.points[:, 0] < 1.2)].median(dim=0).values
    assert abs(float(long) - 1.0) < 2 * VOXEL_M
    assert abs(float(short) - 0.6) < 2 * VOXEL_M
    assert float(height) < VOXEL_M
    assert abs(float(middle) - 0.75) < VOXEL_M
    assert float(rise) > 0.99


def test_means_and_deviations_stay_within_their_piece() -> None:
    values = torch.tensor([[1.0], [3.0], [10.0]], dtype=torch.float64)
    result = mean_and_deviation_over_pieces(values, torch.tensor([0, 0, 1]))
    torch.testing.assert_close(result, torch.tensor([[2.0, 1.0], [2.0, 1.0], [10.0, 0.0]], dtype=torch.float64))
