"""A written room reads back as the room."""

from __future__ import annotations

from pathlib import Path

import torch

from geoguide3d.scenes.point_files import read_scene
from geoguide3d.scenes.posed_folder import open_posed_folder
from geoguide3d.scenes.rooms import make_room
from geoguide3d.scenes.rooms.export import write_room


def test_a_written_room_reads_back(tmp_path: Path) -> None:
    room = make_room(3)
    folder = write_room(room, tmp_path, view_count=2)
    scene, read = room.scene(), read_scene(folder)
    assert folder == tmp_path / room.name
    assert torch.equal(read.points, scene.points)
    for name in ("labels", "instances"):
        assert torch.equal(getattr(read, name), getattr(scene, name))
    views = open_posed_folder(folder)
    assert len(views) == 2
    expected = room.cameras(2)[1]
    torch.testing.assert_close(views[1].camera.camera_from_world, expected.camera_from_world, atol=1e-6, rtol=0)
    torch.testing.assert_close(views[1].camera.intrinsics, expected.intrinsics)
