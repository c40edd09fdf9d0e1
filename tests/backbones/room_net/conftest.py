"""Clouds of fake rooms, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoguide3d.backbones.room_net.clouds import CloudCounts, write_clouds
from tests.backbones.room_net.fake_rooms import fake_scene


@pytest.fixture(scope="session")
def fake_clouds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 4 rooms to learn from and 2 validation rooms."""
    folder = tmp_path_factory.mktemp("clouds")
    write_clouds(folder, CloudCounts(4, 2, 0), fake_scene)
    return folder
