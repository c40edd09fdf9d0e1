"""clouds: what is read is what was written, and rooms to learn from have no labels."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from geoguide3d.backbones.room_net.clouds import CloudCounts, TrainingRooms, judged_rooms, write_clouds
from geoguide3d.scenes.rooms.splits import Split
from geoguide3d.scenes.scene import Scene
from tests.backbones.room_net.fake_rooms import fake_scene


def test_training_rooms_have_no_labels(fake_clouds: Path) -> None:
    for path in (fake_clouds / "train").iterdir():
        names = set(load_file(path))
        assert names == {"points", "colors", "normals", "piece", "described", "described_row"}
    scene = TrainingRooms(fake_clouds, 4)[0].scene
    assert scene.labels is None
    assert scene.instances is None


def test_judged_rooms_come_back(fake_clouds: Path) -> None:
    first, _ = judged_rooms(fake_clouds, "validation", 2)
    made = fake_scene(0, "validation")
    assert torch.equal(first.points, made.points)
    assert first.labels is not None and made.labels is not None
    assert first.colors is not None and made.colors is not None
    assert first.normals is not None and made.normals is not None
    assert torch.equal(first.labels, made.labels)
    assert first.instances is not None
    assert torch.equal(first.instances, made.instances)
    assert torch.allclose(first.colors, made.colors, atol=0.5 / 255 + 1e-6)
    assert torch.allclose(first.normals, made.normals, atol=1e-3)


def test_pieces_are_parts_of_things(fake_clouds: Path) -> None:
    room = TrainingRooms(fake_clouds, 4)[1]
    instances = fake_scene(1, "train").instances
    assert instances is not None
    things = instances > 0
    shared = torch.unique(torch.stack([room.piece[things], instances[things]]), dim=1)
    assert len(shared[0].unique()) == shared.shape[1]  # no piece reaches from one thing to another
    largest = torch.bincount(room.piece[instances == 4]).max()
    assert int(largest) > 0.8 * int((instances == 4).sum())
    assert len(room.described_row) == len(room.scene)
    assert int(room.described_row.max()) + 1 == len(room.described)
    # The first descriptor is the height above the floor, in metres, of voxels of 8 cm.
    heights = room.described[room.described_row, 0]
    assert float((heights - room.scene.points[:, 2]).abs().max()) < 0.12


def test_a_stopped_run_goes_on(tmp_path: Path) -> None:
    made = []

    def make(seed: int, split: Split) -> Scene:
        made.append((split, seed))
        return fake_scene(seed, split)

    write_clouds(tmp_path, CloudCounts(1, 1, 0), make)
    write_clouds(tmp_path, CloudCounts(2, 1, 1), make)
    assert made == [("validation", 0), ("train", 0), ("train", 1), ("test", 0)]


def test_absent_rooms_are_named(fake_clouds: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"room_00004\.safetensors is missing"):
        TrainingRooms(fake_clouds, 5)
    with pytest.raises(FileNotFoundError, match="test"):
        judged_rooms(fake_clouds, "test", 1)


def test_slices_are_lists_of_rooms(fake_clouds: Path) -> None:
    rooms = TrainingRooms(fake_clouds, 4)
    assert len(rooms) == 4
    assert [len(room.piece) for room in rooms[1:3]] == [len(rooms[1].piece), len(rooms[2].piece)]
