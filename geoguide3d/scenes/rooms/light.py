"""Light: a lamp under the ceiling, the windows' daylight, and what the walls throw back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from geoguide3d.scenes.rooms.furnishing import Placed
from geoguide3d.scenes.rooms.plan import Plan
from geoguide3d.scenes.rooms.primitives import Floats, Ints
from geoguide3d.scenes.rooms.surface import Surface
from geoguide3d.scenes.rooms.textures import Singles

_SHADOW = 0.25  # share of the lamp's light that reaches its shadows by way of the walls


@dataclass(frozen=True)
class Light:
    """How a room is lit.

    Args:
        lamp: (3,) position of the lamp, metres.
        lamp_color: (3,) linear RGB.
        day: (3,) unit direction towards the daylight.
        day_color: (3,) linear RGB.
        ambient: linear RGB from everywhere.
        exposure: factor on the whole.
    """

    lamp: Floats
    lamp_color: Floats
    day: Floats
    day_color: Floats
    ambient: Floats
    exposure: float

    @classmethod
    def draw(cls, plan: Plan, placed: Sequence[Placed], random: np.random.Generator) -> Light:
        """Returns the light of a room: from its ceiling lamp, else from under the ceiling, and from its window."""
        lamp = np.array([plan.width / 2, plan.depth / 2, plan.height - 0.3])
        if plan.notch is not None:
            lamp[:2] *= 0.75
        for item in placed:
            if item.category == "lamp" and item.pose.z == plan.height:
                lamp = item.pose.position + np.array([0.0, 0.0, item.shape.bounds()[0, 2] - 0.02])
        windows = [item.pose for item in placed if item.category == "window"]
        yaw = windows[0].yaw if windows else 0.0
        day = np.array([np.sin(yaw), -np.cos(yaw), 0.5])
        warmth = random.uniform(0.0, 0.18)
        return cls(
            lamp=lamp,
            lamp_color=np.array([1.0, 1.0 - 0.4 * warmth, 1.0 - warmth]) * random.uniform(0.55, 0.8),
            day=day / np.linalg.norm(day),
            day_color=np.array([0.92, 0.97, 1.0]) * random.uniform(0.1, 0.3),
            ambient=np.full(3, random.uniform(0.34, 0.46)),
            exposure=float(random.uniform(0.9, 1.1)),
        )

    def shade(self, surface: Surface, points: Singles, normals: Singles, triangles: Ints) -> Singles:
        """Returns (M, 3) float32 picture RGB in [0, 1] of points on the surface.

        Args:
            points: (M, 3) metres.
            normals: (M, 3) unit, towards the viewer.
            triangles: (M,) the triangle under each point.
        """
        lamp = self.lamp.astype(np.float32)
        to_lamp = lamp - points
        squared = np.einsum("md,md->m", to_lamp, to_lamp)
        nearness = 1.0 / np.sqrt(np.maximum(squared, 1e-4))
        facing = np.clip(np.einsum("md,md->m", to_lamp, normals) * nearness, 0.0, None)
        downwards = 0.35 + 0.65 * np.clip(to_lamp[:, 2] * nearness, 0.0, None)
        dark = surface.blocked(points + np.float32(0.004) * normals, lamp)
        strength = facing * downwards / (0.6 + 0.12 * squared) * np.where(dark, np.float32(_SHADOW), np.float32(1.0))
        day = np.clip(normals @ self.day.astype(np.float32) + 0.25, 0.0, None) / 1.25
        own = surface.paints.glow[surface.triangle_paint[triangles]]
        parts = np.stack([strength, day, 0.75 + 0.25 * normals[:, 2], own], axis=1).astype(np.float32)
        colors = np.stack([self.lamp_color, self.day_color, self.ambient, np.ones(3)]).astype(np.float32)
        radiance = parts @ (np.float32(self.exposure) * colors)
        radiance *= surface.albedo(points, triangles)
        return np.sqrt(np.clip(radiance, 0.0, 1.0, out=radiance), out=radiance)
