"""Lamps that stand, hang or sit on a table."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _shade(shape: Shape, radius: float, height: float, z: float, taper: float, y: float = 0.0) -> None:
    """Adds a lit shade, open below, whose top has radius · taper."""
    top, wall = radius * taper, 0.012
    profile = [
        (radius - wall, 0),
        (radius, 0),
        (top, height),
        (0, height),
        (0, height - wall),
        (top - wall, height - wall),
    ]
    shape.turned("lit", [*profile, (radius - wall, 0)], (0, y, z))


def _floor_lamp(shape: Shape, vary: Vary, style: str) -> None:
    height, radius = vary(1.4, 0.1), vary(0.2, 0.2)
    if style == "tripod":
        for x, y in ((0.0, 0.22), (-0.19, -0.11), (0.19, -0.11)):
            shape.cylinder("frame", 0.015, height * 0.6, (x, y, 0))
        shape.cylinder("frame", 0.25, 0.025, (0, 0, height * 0.58))
        shape.cylinder("frame", 0.015, height * 0.45, (0, 0, height * 0.58))
    else:
        shape.cylinder("frame", 0.14, 0.025, (0, 0, 0))
        shape.cylinder("frame", 0.014, height, (0, 0, 0.02))
    if style == "globe":
        shape.block("lit", (radius * 1.5, radius * 1.5, radius * 1.5), (0, 0, height), roundness=1.0)
    else:
        _shade(shape, radius, radius * 1.3, height - 0.05, vary(0.7, 0.25))


def _arc_lamp(shape: Shape, vary: Vary) -> None:
    """A heavy foot behind, and a rod that bends far forward and lets its shade hang."""
    reach, radius = vary(0.4), vary(0.17, 0.15)
    straight, rise = vary(0.85, 0.08), vary(0.7, 0.08)
    shape.cylinder("frame", 0.16, 0.06, (0, -reach, 0))
    shape.cylinder("metal", 0.014, straight - 0.05, (0, -reach, 0.06))
    turns = np.deg2rad(np.linspace(0, 130, 9))
    bend = np.column_stack([-reach * np.cos(turns), straight + rise * np.sin(turns)])
    for (y0, z0), (y1, z1) in pairwise(bend):
        length, lean = float(np.hypot(y1 - y0, z1 - z0)), float(np.rad2deg(np.arctan2(y0 - y1, z1 - z0)))
        shape.box("metal", (0.022, 0.022, length + 0.008), (0, float(y0), float(z0)), lean=lean)
    y, z = (float(value) for value in bend[-1])
    shape.cylinder("metal", 0.01, 0.08, (0, y, z - 0.07))
    _shade(shape, radius, radius * 0.9, z - 0.06 - radius * 0.9, vary(0.45, 0.2), y)


def _table_lamp(shape: Shape, vary: Vary, style: str) -> None:
    radius = vary(0.14, 0.15)
    if style == "vase foot":
        shape.turned("frame", [(0, 0), (0.06, 0), (0.085, 0.08), (0.03, 0.2), (0, 0.2)], (0, 0, 0))
    else:
        shape.cylinder("frame", 0.07, 0.02, (0, 0, 0))
        shape.cylinder("frame", 0.012, 0.2, (0, 0, 0.02))
    _shade(shape, radius, radius * 1.2, 0.2, vary(0.65, 0.2))


def _ceiling_lamp(shape: Shape, vary: Vary, style: str) -> None:
    radius = vary(0.22, 0.2)
    if style == "pendant":
        drop = vary(0.55, 0.2)
        shape.cylinder("dark", 0.008, drop, (0, 0, -drop))
        _shade(shape, radius, radius * 0.8, -drop - radius * 0.7, vary(0.35, 0.3))
    elif style == "disc":
        shape.cylinder("frame", radius * 1.05, 0.03, (0, 0, -0.03))
        shape.turned("lit", [(0, 0), (radius * 0.8, 0.01), (radius, 0.06), (0, 0.06)], (0, 0, -0.09))
    else:
        shape.cylinder("frame", 0.012, 0.4, (0, 0, -0.4))
        shape.box("frame", (radius * 3.2, 0.025, 0.025), (0, 0, -0.42))
        shape.box("frame", (0.025, radius * 3.2, 0.025), (0, 0, -0.42))
        for x, y in ((1.5, 0), (-1.5, 0), (0, 1.5), (0, -1.5)):
            shape.block("lit", (0.13, 0.13, 0.16), (x * radius, y * radius, -0.57), roundness=0.9)


LAMPS = (
    Variant("standing", partial(_floor_lamp, style="standing")),
    Variant("pendant", partial(_ceiling_lamp, style="pendant"), "ceiling"),
    Variant("table", partial(_table_lamp, style="rod"), "surface"),
    Variant("disc", partial(_ceiling_lamp, style="disc"), "ceiling"),
    Variant("globe", partial(_floor_lamp, style="globe")),
    Variant("vase foot", partial(_table_lamp, style="vase foot"), "surface"),
    Variant("chandelier", partial(_ceiling_lamp, style="chandelier"), "ceiling"),
    Variant("arc", _arc_lamp),
    Variant("tripod", partial(_floor_lamp, style="tripod")),
)
