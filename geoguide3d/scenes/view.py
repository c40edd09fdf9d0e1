"""View: one posed frame, read from disk only when somebody asks for its pixels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor

from geoguide3d.geometry.cameras import Camera


@dataclass(frozen=True)
class View:
    """A posed image, with depth where a sensor gave it.

    Args:
        name: stem of the frame's files, the key under which others store what belongs to it.
        camera: camera of the colour image, in the world of the scene's file.
        read_color: returns (H, W, 3) uint8 RGB; H × W is the camera's size.
        read_depth: returns (h, w) float32 z-depth in metres along the optical axis, 0 = missing. It covers the same
            field of view as the image, in its own resolution. None: there is no sensor depth.
    """

    name: str
    camera: Camera
    read_color: Callable[[], Tensor]
    read_depth: Callable[[], Tensor] | None = None
