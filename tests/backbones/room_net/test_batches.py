"""batches: matching voxels hold the same point, and draws are balanced."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from geoguide3d.backbones.room_net.augmentation import Augmentation, two_views
from geoguide3d.backbones.room_net.batches import Sampling, draw_balanced, make_batch, one_of_each_voxel, voxelized
from geoguide3d.backbones.room_net.clouds import TrainingRooms
from tests.backbones.room_net.fake_rooms import fake_scene

CALM = Augmentation(
    side_m=(3.0, 3.0), stretch=1.0, lift_m=0.0, tilt=0.0, jitter_m=0.0, holes=0, no_color=0.0, gray=0.0, repaint=0.0
)
SAMPLING = Sampling(rooms=2, matches=200, described=100)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_matching_voxels_show_the_same_place(fake_clouds: Path) -> None:
    """Without distortion, height and colour of both voxels are those of one place; their clouds are those of a room."""
    batch = make_batch(TrainingRooms(fake_clouds, 4)[:2], CALM, SAMPLING, 0.04, seeded())
    first, second = batch.voxels.cells[batch.first, 0], batch.voxels.cells[batch.second, 0]
    assert sorted(set(first.tolist())) == [0, 2]
    assert torch.equal(first + 1, second)
    assert batch.voxels.features.shape[1] == 8
    heights = batch.voxels.features[:, 6]
    assert float((heights[batch.first] - heights[batch.second]).abs().max()) < 0.04 / 1.5 + 0.01
    colors = batch.voxels.features[:, :3]
    assert float((colors[batch.first] - colors[batch.second]).abs().mean()) < 0.2
    assert len(batch.first) == len(batch.piece) == 400
    pieces = [set(batch.piece[first == cloud].tolist()) for cloud in (0, 2)]
    assert not pieces[0] & pieces[1]


def test_descriptors_belong_to_their_voxels(fake_clouds: Path) -> None:
    rooms = TrainingRooms(fake_clouds, 4)[:2]
    batch = make_batch(rooms, CALM, SAMPLING, 0.04, seeded())
    assert batch.descriptors.shape == (400, rooms[0].described.shape[1])
    heights = 1.5 * batch.voxels.features[batch.described, 6] + 1.05
    assert float((heights - batch.descriptors[:, 0]).abs().max()) < 0.15  # voxels of 8 cm, a floor found by quantile


def test_the_same_seed_gives_the_same_batch(fake_clouds: Path) -> None:
    rooms = TrainingRooms(fake_clouds, 4)[:2]
    batches = [make_batch(rooms, Augmentation(), SAMPLING, 0.04, seeded(7)) for _ in range(2)]
    for name in ("first", "second", "piece", "described", "descriptors"):
        assert torch.equal(*(getattr(batch, name) for batch in batches))
    assert torch.equal(*(batch.voxels.features for batch in batches))


def test_a_voxel_is_matched_once() -> None:
    first = torch.tensor([4, 4, -1, 7, 7, 9])
    second = torch.tensor([-1, 0, 1, 2, 3, -1])
    assert one_of_each_voxel(first, second).tolist() == [1, 3]
    assert one_of_each_voxel(torch.tensor([-1]), torch.tensor([2])).tolist() == []


def test_draws_are_balanced_and_without_repeats() -> None:
    piece = torch.cat([torch.zeros(9000), torch.ones(1000)]).long()
    even = draw_balanced(piece, 500, 0.0, seeded())
    assert len(even.unique()) == 500
    assert 20 < int(piece[even].sum()) < 80
    assert 200 < int(piece[draw_balanced(piece, 500, 1.0, seeded())].sum()) < 300
    assert len(draw_balanced(piece[:3], 500, 1.0, seeded())) == 3
    assert len(draw_balanced(piece[:0], 500, 1.0, seeded())) == 0


def test_a_view_without_points_has_no_voxels() -> None:
    view, _ = two_views(fake_scene(0, "train"), CALM, seeded())
    none = replace(view, **{name: getattr(view, name)[:0] for name in ("points", "colors", "normals", "rows")})
    cells, values, voxel_of_point = voxelized(none, 0.04)
    assert (cells.shape, values.shape, voxel_of_point.shape) == ((0, 3), (0, 8), (0,))
