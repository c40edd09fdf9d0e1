"""The 2D teachers of the ablation: RoomCLIP on rendered frames, or true words spoilt as 2D networks spoil them."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from ablation_study.simulated import SimulatedEncoder
from ablation_study.view_errors import Errors
from geoguide3d.encoders.prompts import class_prompt
from geoguide3d.encoders.room_clip import RoomClipImageEncoder, RoomClipTextEncoder
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.scenes.rooms import CATEGORIES
from geoguide3d.scenes.rooms.room import Room


@dataclass(frozen=True)
class Teacher:
    """RoomCLIP, whose errors are those of a real network that sees things from different sides."""

    def fuse(self, room: Room, views: int) -> Tensor:
        """Returns (N, C) fused features of the room's points; 0 where no view sees them."""
        return fuse_views(room.scene(), room.views(views), RoomClipImageEncoder.load()).features


@dataclass(frozen=True)
class SimulatedTeacher:
    """True words with errors of controlled strength.

    Args:
        strength: 0 says the truth, 1 makes all of the errors; scales all four kinds.
        seed: of what is drawn.
        errors: those of strength 1.
    """

    strength: float
    seed: int = 0
    errors: Errors = field(default_factory=lambda: Errors(bleeding_px=8.0, flips=0.4, parts=0.5, drift_degrees=35.0))

    def fuse(self, room: Room, views: int) -> Tensor:
        """Returns (N, C) fused features of the room's points; 0 where no view sees them."""
        walk = room.views(views)
        cameras = {view.name: view.camera for view in walk}
        encoder = SimulatedEncoder(room, cameras, category_words(), self.errors.scaled(self.strength), self.seed)
        return fuse_views(room.scene(), walk, encoder).features


def category_words() -> Tensor:
    """Returns (K, C) unit vectors of CATEGORIES as RoomCLIP's text encoder says them."""
    return RoomClipTextEncoder.load().encode_text([class_prompt(name, "a {}") for name in CATEGORIES])
