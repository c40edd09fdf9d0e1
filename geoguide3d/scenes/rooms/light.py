"""Light: a lamp under the ceiling, the windows' daylight, and what the walls throw back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from geoguide3d.scenes.rooms.primitives import Floats, Ints
from geoguide3d.scenes.rooms.surface import Surface

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

    def shade(self, surface: Surface, points: Floats, normals: Floats, triangles: Ints) -> Floats:
        """Returns (M, 3) sRGB in [0, 1] of points on the surface.

        Args:
            points: (M, 3) metres.
            normals: (M, 3) unit, towards the viewer.
            triangles: (M,) the triangle under each point.
        """
        to_lamp = self.lamp - points
        distance = np.sqrt((to_lamp**2).sum(axis=1))
        facing = (to_lamp * normals).sum(axis=1) / np.maximum(distance, 1e-6)
        strength = np.clip(facing, 0.0, None) / (0.6 + 0.12 * distance**2)
        lit = strength > 0.01
        rows = np.flatnonzero(lit)
        dark = surface.blocked(points[rows] + 0.004 * normals[rows], np.broadcast_to(self.lamp, (len(rows), 3)))
        strength[rows[dark]] *= _SHADOW
        day = np.clip(normals @ self.day + 0.25, 0.0, None) / 1.25
        above = 0.75 + 0.25 * normals[:, 2]
        radiance = (
            strength[:, None] * self.lamp_color + day[:, None] * self.day_color + above[:, None] * self.ambient
        ) + surface.paints.glow[surface.triangle_paint[triangles], None]
        return np.clip(self.exposure * radiance * surface.albedo(points, triangles), 0.0, 1.0) ** (1 / 2.2)
