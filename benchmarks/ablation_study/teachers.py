"""The 2D teachers of the ablation: RoomCLIP on rendered frames, or true words spoilt as 2D networks spoil them."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from geoguide3d.encoders.room_clip import RoomClipImageEncoder
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.scenes.rooms.room import Room


@dataclass(frozen=True)
class Teacher:
    """RoomCLIP, whose errors are those of a real network that sees things from different sides."""

    def fuse(self, room: Room, views: int) -> Tensor:
        """Returns (N, C) fused features of the room's points; 0 where no view sees them."""
        return fuse_views(room.scene(), room.views(views), RoomClipImageEncoder.load()).features
