"""Writes a procedural room the way a scan lies on a user's disk."""

from __future__ import annotations

from pathlib import Path

from geoguide3d.scenes.ply import write_ply
from geoguide3d.scenes.posed_folder import write_posed_folder
from geoguide3d.scenes.rooms.room import WALK_VIEWS, Room


def write_room(room: Room, parent: Path, view_count: int = WALK_VIEWS) -> Path:
    """Writes parent/<room name>/ with the frames of the walk and <room name>.ply, and returns that folder.

    The point cloud carries `label` (index in CATEGORIES) and `instance` (index in room.objects).
    """
    folder = parent / room.name
    write_posed_folder(folder, room.views(view_count))
    write_ply(folder / f"{room.name}.ply", room.scene())
    return folder
