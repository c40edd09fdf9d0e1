"""Curtains, pictures and mirrors: what hangs on a wall."""

from __future__ import annotations

from functools import partial

import numpy as np

from geoguide3d.scenes.rooms import primitives
from geoguide3d.scenes.rooms.primitives import Triple
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


def _disc(shape: Shape, role: str, radius: float, thick: float, at: Triple) -> None:
    """Adds a disc that faces the front, with its middle at `at`."""
    disc = primitives.lathe([(0, -thick / 2), (radius, -thick / 2), (radius, thick / 2), (0, thick / 2)], (0, 0, 0))
    shape.add(role, disc.tilted(-90, (0, 0, 0)).moved(np.eye(3), at))


def _pelmet_curtain(shape: Shape, vary: Vary) -> None:
    """Adds box-pleated drapes below a pelmet with a scalloped edge."""
    width, reach, high = vary(0.3, 0.15), vary(0.62, 0.1), vary(1.6, 0.06)
    span, scallops, folds = 2 * reach + width, 6, 4
    low = high - 0.15
    shape.box("main", (span, 0.12, 0.15), (0, 0, low))
    shape.box("frame", (span + 0.01, 0.13, 0.02), (0, 0, high - 0.015))
    for scallop in range(scallops):
        x = ((scallop + 0.5) / scallops - 0.5) * span
        _disc(shape, "main", span / scallops / 2, 0.03, (x, 0.04, low))
    for side in (-1, 1):
        for fold in range(folds):
            x = side * reach + (fold - (folds - 1) / 2) * width / folds
            shape.box("main", (width / folds, 0.03, low), (x, -0.035 + 0.035 * (fold % 2), 0))


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


def _scroll(shape: Shape, vary: Vary) -> None:
    """Adds a hanging scroll: a picture on a paper strip between two round rods, on a cord."""
    width, height = vary(0.45, 0.15), vary(0.9, 0.12)
    rod, rise = 0.018, 0.13
    shape.box("paper", (width, 0.006, height), (0, 0, rod))
    shape.box("main", (width * 0.82, 0.012, height * 0.66), (0, 0, rod + height * 0.17))
    _disc(shape, "accent", width * 0.16, 0.016, (width * 0.14, 0, rod + height * 0.62))
    shape.box("dark", (width * 0.82, 0.015, height * 0.12), (0, 0, rod + height * 0.17))
    long = width + 0.1
    for z in (rod, rod + height):
        bar = primitives.lathe([(0, 0), (rod, 0), (rod, long), (0, long)], (0, 0, 0), sides=10)
        bar = bar.tilted(-90, (0, 0, 0)).moved(primitives.about_z(-np.pi / 2), (-long / 2, 0, z))
        shape.add("frame", bar)
    length, slope = float(np.hypot(width / 2, rise)), float(np.arctan2(rise, width / 2))
    for side in (-1, 1):
        cord = primitives.box((length, 0.008, 0.008), (0, 0, 0)).moved(primitives.about_z(-side * slope), (0, 0, 0))
        cord = cord.tilted(90, (0, 0, 0))
        shape.add("dark", cord.moved(np.eye(3), (side * width / 4, 0, rod + height + rise / 2)))
    _disc(shape, "metal", 0.014, 0.03, (0, 0, rod + height + rise))


def _arched_mirror(shape: Shape, vary: Vary) -> None:
    """Adds a glass with a round arch on top, and a ledge below it."""
    width, height, edge = vary(0.55, 0.2), vary(0.55, 0.2), vary(0.05, 0.25)
    shape.box("main", (width, 0.025, height), (0, 0, 0))
    _disc(shape, "main", width / 2, 0.025, (0, 0, height))
    shape.box("mirror", (width - 2 * edge, 0.034, height - edge), (0, 0, edge))
    _disc(shape, "mirror", width / 2 - edge, 0.034, (0, 0, height))
    shape.box("main", (width + 0.08, 0.09, 0.03), (0, 0.03, -0.03))


CURTAINS = (
    *(Variant(style, partial(_curtain, style=style), "wall", (0.0, 0.0)) for style in ("long", "short", "single")),
    Variant("pelmet", _pelmet_curtain, "wall", (0.0, 0.0)),
    Variant("gathered", partial(_curtain, style="gathered"), "wall", (0.0, 0.0)),
)
PICTURES = (
    *(
        Variant(style, partial(_framed, style=style, face="main"), "wall", (1.25, 1.5))
        for style in ("framed", "canvas", "pair", "tall")
    ),
    Variant("scroll", _scroll, "wall", (1.15, 1.35)),
    Variant("round", partial(_framed, style="round", face="main"), "wall", (1.25, 1.5)),
)
MIRRORS = (
    *(
        Variant(style, partial(_framed, style=style, face="mirror"), "wall", (1.05, 1.25))
        for style in ("framed", "round", "tall", "frameless")
    ),
    Variant("arched", _arched_mirror, "wall", (1.05, 1.25)),
    Variant("oval", partial(_framed, style="oval", face="mirror"), "wall", (1.05, 1.25)),
)
