"""Footprint: the solid boxes of placed things, and where the next one fits among them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoguide3d.scenes.rooms.primitives import Floats, about_z
from geoguide3d.scenes.rooms.shape import Shape

_TOUCH_M = 0.015  # things may touch, and stand on a rug


@dataclass(frozen=True)
class Pose:
    """Where an object's origin is in the room (metres), and its turn about the vertical (radians)."""

    x: float
    y: float
    z: float
    yaw: float

    @property
    def rotation(self) -> Floats:
        """(3, 3) room-from-object rotation."""
        return about_z(self.yaw)

    @property
    def position(self) -> Floats:
        """(3,) position of the object's origin in the room."""
        return np.array([self.x, self.y, self.z])

    def to_room(self, x: float, y: float) -> tuple[float, float]:
        """Returns the room's (x, y) of a point given in the object's frame."""
        moved = self.rotation[:2, :2] @ (x, y)
        return self.x + float(moved[0]), self.y + float(moved[1])

    def from_room(self, x: float, y: float) -> tuple[float, float, float]:
        """Returns the object's (x, y, z) of a point of the room's floor."""
        own = self.rotation.T @ (np.array([x, y, 0.0]) - self.position)
        return float(own[0]), float(own[1]), float(own[2])


@dataclass(frozen=True)
class Boxes:
    """Upright boxes, turned about the vertical.

    Args:
        center: (B, 2) metres.
        half: (B, 2) half sizes along the box's own axes.
        yaw: (B,) radians.
        z: (B, 2) lowest and highest.
    """

    center: Floats
    half: Floats
    yaw: Floats
    z: Floats

    @classmethod
    def of(cls, shape: Shape, pose: Pose) -> Boxes:
        """Returns one box around each part of a shape."""
        bounds = shape.part_bounds()
        middle = bounds.mean(axis=1) @ pose.rotation.T + pose.position
        half = (bounds[:, 1] - bounds[:, 0])[:, :2] / 2
        return cls(middle[:, :2], half, np.full(len(half), pose.yaw), bounds[:, :, 2] + pose.z)

    def joined(self, other: Boxes) -> Boxes:
        """Returns these boxes and the other's."""
        pairs = ((self.center, other.center), (self.half, other.half), (self.yaw, other.yaw), (self.z, other.z))
        return Boxes(*(np.concatenate(pair) for pair in pairs))

    def corners(self) -> Floats:
        """(B, 4, 2) corners of the footprints."""
        x = np.stack([np.cos(self.yaw), np.sin(self.yaw)], axis=1) * self.half[:, :1]
        y = np.stack([-np.sin(self.yaw), np.cos(self.yaw)], axis=1) * self.half[:, 1:]
        return np.stack([self.center + i * x + j * y for i, j in ((-1, -1), (1, -1), (1, 1), (-1, 1))], axis=1)

    def overlaps(self, other: Boxes, tolerance_m: float = _TOUCH_M) -> np.ndarray:
        """Returns (B, O) bool: which pairs share more than `tolerance_m` along every separating axis."""
        offset = other.center[None] - self.center[:, None]
        turn = self.yaw[:, None] - other.yaw[None]
        cosine, sine = np.abs(np.cos(turn)), np.abs(np.sin(turn))
        shared = np.minimum(self.z[:, None, 1], other.z[None, :, 1]) - np.maximum(
            self.z[:, None, 0], other.z[None, :, 0]
        )
        hit = shared > tolerance_m
        a, b = self.half[:, None], other.half[None]
        for yaw, x_reach, y_reach in (
            (
                self.yaw[:, None],
                a[..., 0] + cosine * b[..., 0] + sine * b[..., 1],
                a[..., 1] + sine * b[..., 0] + cosine * b[..., 1],
            ),
            (
                other.yaw[None],
                b[..., 0] + cosine * a[..., 0] + sine * a[..., 1],
                b[..., 1] + sine * a[..., 0] + cosine * a[..., 1],
            ),
        ):
            along = np.abs(offset[..., 0] * np.cos(yaw) + offset[..., 1] * np.sin(yaw))
            across = np.abs(offset[..., 1] * np.cos(yaw) - offset[..., 0] * np.sin(yaw))
            hit &= (along < x_reach - tolerance_m) & (across < y_reach - tolerance_m)
        return np.asarray(hit)


def box_around(low: tuple[float, float, float], high: tuple[float, float, float]) -> Boxes:
    """Returns the box between two corners, its sides along the room's axes."""
    lower, upper = np.array([low]), np.array([high])
    center, half = (lower + upper)[:, :2] / 2, (upper - lower)[:, :2] / 2
    return Boxes(center, half, np.zeros(1), np.stack([lower[:, 2], upper[:, 2]], axis=1))
