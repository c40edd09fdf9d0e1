from __future__ import annotations

from pathlib import Path

import pytest

from geoguide3d.encoders.room_clip.frames import RoomCounts, render_frames
from tests.encoders.room_clip.fake_rooms import NAMES, FakeRoom


@pytest.fixture(scope="session")
def fake_frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of frames of fake rooms: 8 to train on, 3 each to validate and test on, 3 frames of each."""
    folder = tmp_path_factory.mktemp("frames")
    render_frames(folder, NAMES, RoomCounts(8, 3, 3, views=3), FakeRoom)
    return folder
