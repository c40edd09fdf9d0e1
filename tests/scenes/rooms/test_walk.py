"""The walk stays on free floor, upright, at a person's height, and turns to everything."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from geoguide3d.scenes.rooms import Room, Split, make_room
from geoguide3d.scenes.rooms.placement import box_around
from geoguide3d.scenes.rooms.plan import Plan
from geoguide3d.scenes.rooms.walk import free_positions, look_at

pytest.importorskip("open3d")


@pytest.mark.parametrize("split", ["train", "test"])
@pytest.mark.parametrize("seed", range(6))
def test_cameras_stand_in_free_space(seed: int, split: Split) -> None:
    room = make_room(seed, split)
    for camera in room.cameras():
        x, y, z = camera.center_world.tolist()
        assert 1.2 <= z <= 1.7
        eye = box_around((x - 0.05, y - 0.05, 0.2), (x + 0.05, y + 0.05, 1.7))
        assert room.plan.holds(eye)
        assert not room.solid.overlaps(eye).any(), room.name
        assert camera.up_world[2] > 0.3


def test_camera_matrices_are_rigid_and_look_at_their_target(bedroom: Room) -> None:
    for camera in bedroom.cameras(5, 64, 48):
        rotation = camera.camera_from_world[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double())
        assert torch.linalg.det(rotation) > 0
    camera = look_at(np.array([0.0, 0.0, 1.0]), np.array([0.0, 2.0, 1.0]), 64, 48)
    local = camera.camera_from_world @ torch.tensor([1.0, 2.0, 1.5, 1.0]).double()
    assert local.tolist() == pytest.approx([1.0, -0.5, 2.0, 1.0])  # x right, y down, z forward


def test_a_walk_of_any_length_and_size(bedroom: Room) -> None:
    cameras = bedroom.cameras(50, 160, 120)
    assert len(cameras) == 50
    assert {(camera.width, camera.height) for camera in cameras} == {(160, 120)}


def test_the_walk_turns_to_everything(bedroom: Room) -> None:
    seen = torch.cat([bedroom.render(camera).instances.flatten() for camera in bedroom.cameras()])
    assert len(seen.unique()) >= len(bedroom.objects) - 1


def test_a_room_full_of_boxes_has_no_floor_to_walk_on() -> None:
    with pytest.raises(ValueError, match="no floor"):
        free_positions(Plan(2.0, 2.0, 2.5), box_around((0, 0, 0), (2, 2, 1)))
