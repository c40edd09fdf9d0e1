"""Curtains, pictures and mirrors: what hangs on a wall."""

from __future__ import annotations

from functools import partial

import numpy as np

from geoguide3d.scenes.rooms import primitives
from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _curtain(shape: Shape, vary: Vary, style: str) -> None:
    """Adds drapes on both sides of the origin, or one wide one, and the rod that they hang from."""
    width = vary(0.34, 0.15)
    high = vary(2.0, 0.06) if style in ("long", "gathered") else vary(1.35, 0.06)
    reach, folds, wide = vary(0.62, 0.1), 5, width
    sides: tuple[float, ...] = (-1.0, 1.0)
    if style == "single":
        folds, wide, sides = 8, width * 1.6, (vary.pick((-1.0, 1.0)),)
    shape.box("metal", (2 * (reach + wide / 2), 0.025, 0.025), (0, 0, high))
    for side in sides:
        if style == "gathered":
            shape.box("frame", (wide * 0.7, 0.1, 0.05), (side * reach, 0, high * 0.43))
        for fold in range(folds):
            x = side * reach + (fold - (folds - 1) / 2) * wide / folds
            radius = wide / folds * 0.56
            if style == "gathered":
                waist = [(0, 0), (radius, 0), (radius * 0.5, high * 0.45), (radius, high), (0, high)]
                shape.turned("main", waist, (x, 0, 0), 1.2)
            else:
                shape.turned("main", [(0, 0), (radius, 0), (radius, high), (0, high)], (x, 0, 0), 1.2)


def _framed(shape: Shape, vary: Vary, style: str, face: str) -> None:
    width, height = vary(0.55, 0.3), vary(0.5, 0.25)
    if style == "tall":
        width, height = vary(0.42, 0.15), vary(1.1, 0.12)
    edge = vary(0.045, 0.3)
    edging = "frame" if face == "main" else "main"
    if style in ("round", "oval"):
        flat = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
        radius, aspect = width * 0.55, 1.0 if style == "round" else 1.4
        for role, r, thick in ((edging, radius, 0.02), (face, radius - edge, 0.026)):
            disc = primitives.lathe([(0, 0), (r, 0), (r, thick), (0, thick)], (0, 0, 0), aspect=aspect, sides=28)
            shape.add(role, disc.moved(flat @ np.diag([1.0, -1.0, -1.0]), (0, 0, radius * aspect)))
    else:
        panels = 2 if style == "pair" else 1
        for panel in range(panels):
            wide = width / (1.4 if style == "pair" else 1.0)
            x = (panel - (panels - 1) / 2) * (wide + 0.08)
            if style == "frameless":
                shape.box(edging, (wide - edge, 0.025, 0.03), (x, 0.005, edge - 0.03))
            else:
                shape.box(edging, (wide, 0.025, height), (x, 0, 0))
            shape.box(face, (wide - 2 * edge, 0.034, height - 2 * edge), (x, 0, edge))
            if style == "canvas" and face == "main":
                shape.box("accent", (wide * 0.4, 0.04, height * 0.3), (x + wide * 0.1, 0, height * 0.35))


CURTAINS = tuple(
    Variant(style, partial(_curtain, style=style), "wall", (0.0, 0.0))
    for style in ("long", "short", "single", "gathered")
)
PICTURES = tuple(
    Variant(style, partial(_framed, style=style, face="main"), "wall", (1.25, 1.5))
    for style in ("framed", "canvas", "pair", "tall", "round")
)
MIRRORS = tuple(
    Variant(style, partial(_framed, style=style, face="mirror"), "wall", (1.05, 1.25))
    for style in ("framed", "round", "tall", "frameless", "oval")
)
