"""RoomCLIP: a small dense image-text model for demos and tests, trained from scratch on procedural rooms.

It knows furnished rooms of `geoguide3d.scenes.rooms` and about as many words as they need; it is no substitute for
CLIP. docs/room_clip.md is its model card, `tools/train_room_clip.py` reproduces the weights.
"""

from geoguide3d.encoders.room_clip.encoders import TEXT_SPACE, RoomClipImageEncoder, RoomClipTextEncoder

__all__ = ["TEXT_SPACE", "RoomClipImageEncoder", "RoomClipTextEncoder"]
