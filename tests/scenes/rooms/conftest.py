"""One furnished room, made once for all tests of this folder that only look at it."""

from __future__ import annotations

import pytest

from geoguide3d.scenes.rooms import Room, make_room
from geoguide3d.scenes.scene import Scene


@pytest.fixture(scope="session")
def bedroom() -> Room:
    return make_room(0)


@pytest.fixture(scope="session")
def bedroom_scene(bedroom: Room) -> Scene:
    pytest.importorskip("open3d")
    return bedroom.scene()
