"""Procedural rooms: seeded, furnished, with a camera walk and ground truth. Nothing is downloaded."""

from geoguide3d.scenes.rooms.categories import CATEGORIES, COLORS, MATERIALS
from geoguide3d.scenes.rooms.room import Room, RoomObject, make_room
from geoguide3d.scenes.rooms.shot import Frame
from geoguide3d.scenes.rooms.splits import Split, is_held_out

__all__ = [
    "CATEGORIES",
    "COLORS",
    "MATERIALS",
    "Frame",
    "Room",
    "RoomObject",
    "Split",
    "is_held_out",
    "make_room",
]
