"""Frames of procedural rooms for RoomCLIP; the one place where its training meets the rooms (and so open3d)."""

from __future__ import annotations

from pathlib import Path

from geoguide3d.encoders.room_clip.frames import FrameFolder, RoomCounts, render_frames


def render_room_frames(folder: Path, counts: RoomCounts) -> None:
    """Renders what the folder lacks of `counts` rooms."""
    from geoguide3d.scenes.rooms import CATEGORIES, COLORS, is_held_out, make_room

    held_out = tuple((category, color) for category in CATEGORIES for color in COLORS if is_held_out(category, color))
    render_frames(folder, FrameFolder(tuple(CATEGORIES), tuple(COLORS), held_out), counts, make_room)
