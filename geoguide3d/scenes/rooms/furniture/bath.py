"""Sinks, toilets, bathtubs: what stands in a bathroom."""

from __future__ import annotations

from functools import partial

from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _tap(shape: Shape, y: float, z: float) -> None:
    shape.cylinder("metal", 0.018, 0.14, (0, y, z))
    shape.box("metal", (0.025, 0.13, 0.02), (0, y + 0.06, z + 0.13))


def _sink(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(0.55), vary(0.45, 0.08), vary(0.82, 0.05)
    if style == "pedestal":
        shape.turned("main", [(0, 0), (0.13, 0), (0.09, 0.2), (0.08, height - 0.16), (0, height - 0.16)], (0, -0.06, 0))
        shape.tub("main", (width, depth, 0.18), (0, 0, height - 0.18), 0.35)
    elif style == "vanity":
        shape.box("frame", (width + 0.1, depth, height - 0.12), (0, 0, 0))
        for x in (-0.25, 0.25):
            shape.box("frame", (width * 0.5, 0.015, height - 0.22), (x * (width + 0.08), depth / 2 + 0.008, 0.05))
        shape.box("white", (width + 0.14, depth + 0.03, 0.03), (0, 0, height - 0.12))
        shape.tub("main", (width * 0.8, depth * 0.8, 0.13), (0, 0.02, height - 0.09), 0.1, wall=0.03)
    elif style == "wall":
        shape.tub("main", (width, depth, 0.2), (0, 0, 0), 0.6)
        shape.box("main", (width * 0.9, 0.06, 0.24), (0, -depth / 2 + 0.02, 0))
        _tap(shape, -depth / 2 + 0.05, 0.22)
        return
    elif style == "legs":
        shape.legs("metal", (width, depth - 0.06), height - 0.15, 0.018)
        shape.tub("main", (width + 0.1, depth, 0.16), (0, 0, height - 0.16), 0.8)
    else:
        long = width * 1.9
        shape.box("frame", (long, depth + 0.1, height - 0.05), (0, 0, 0))
        for side in (-1, 1):
            door = (long / 2 - 0.02, 0.016, height - 0.14)
            shape.box("white", door, (side * long / 4, (depth + 0.1) / 2 + 0.008, 0.05))
        shape.box("main", (long + 0.02, depth + 0.13, 0.03), (0, 0, height - 0.05))
        shape.tub("main", (width, depth * 0.95, 0.09), (-long * 0.2, 0.02, height - 0.02), 0.8, wall=0.025)
    _tap(shape, -depth / 2 + 0.05, height - 0.03)


def _toilet(shape: Shape, vary: Vary, style: str) -> None:
    width, length, seat = vary(0.38, 0.08), vary(0.5, 0.08), vary(0.4, 0.06)
    squareness = 0.6 if style == "square" else 0.1
    if style == "wall":
        shape.tub("main", (width, length, 0.26), (0, 0.06, seat - 0.26), squareness)
        shape.box("main", (width * 1.2, 0.16, 1.05), (0, -length / 2, 0))
        shape.box("metal", (0.2, 0.012, 0.12), (0, -length / 2 + 0.085, 0.85))
    else:
        foot = 0.75 if style == "skirted" else 0.5
        shape.turned(
            "main", [(0, 0), (width * foot / 2, 0), (width * 0.36, seat - 0.1), (0, seat - 0.1)], (0, 0, 0), 1.4
        )
        shape.tub("main", (width, length, 0.2), (0, 0.05, seat - 0.2), squareness)
        shape.box("main", (width * 0.55, 0.3, seat), (0, -length / 2 + 0.06, 0))
        tank = vary(0.38, 0.08)
        low = seat if style != "high tank" else 1.45
        shape.block("main", (width * 1.05, 0.18, tank), (0, -length / 2, low), roundness=0.12)
        shape.block("metal", (0.05, 0.05, 0.02), (0, -length / 2, low + tank), 0.8)
        if style == "high tank":
            shape.cylinder("metal", 0.02, low - seat + 0.1, (0, -length / 2, seat - 0.1))
    if style in ("close", "square"):
        shape.block("main", (width * 0.95, 0.035, length * 0.85), (0, -length / 2 + 0.11, seat), roundness=0.3, lean=4)
    else:
        shape.turned("main", [(0, 0), (width / 2, 0), (width / 2, 0.03), (0, 0.03)], (0, 0.05, seat), length / width)


def _surround(shape: Shape, role: str, long: float, deep: float, height: float) -> None:
    """Adds the four walls around a built-in bath."""
    for side in (-1, 1):
        shape.box(role, (long, 0.1, height), (0, side * (deep / 2 - 0.05), 0))
        shape.box(role, (0.1, deep - 0.2, height), (side * (long / 2 - 0.05), 0, 0))


def _bathtub(shape: Shape, vary: Vary, style: str) -> None:
    long, deep, height = vary(1.6, 0.06), vary(0.74, 0.06), vary(0.56, 0.06)
    if style == "panelled":
        _surround(shape, "main", long, deep, height - 0.02)
        shape.tub("main", (long - 0.06, deep - 0.06, height - 0.03), (0, 0, 0.03), 0.8, wall=0.06)
    elif style == "clawfoot":
        shape.legs("metal", (long * 0.6, deep * 0.55), 0.14, 0.04)
        shape.tub("main", (long, deep, height - 0.08), (0, 0, 0.12), 0.1, wall=0.04)
    elif style == "oval":
        shape.tub("main", (long, deep, height), (0, 0, 0), 0.0, wall=0.06)
    elif style == "tiled":
        _surround(shape, "tiles", long, deep, height)
        shape.tub("main", (long - 0.2, deep - 0.2, height * 0.9), (0, 0, 0.03), 0.8, wall=0.03)
    else:
        shape.tub("main", (long, deep, height), (0, 0, 0), 0.85, wall=0.05)
    shape.cylinder("metal", 0.02, 0.16, (-long / 2 + 0.06, 0, height))
    shape.box("metal", (0.16, 0.03, 0.025), (-long / 2 + 0.13, 0, height + 0.15))


SINKS = (
    Variant("pedestal", partial(_sink, style="pedestal")),
    Variant("vanity", partial(_sink, style="vanity")),
    Variant("wall", partial(_sink, style="wall"), "wall", (0.62, 0.7)),
    Variant("counter", partial(_sink, style="counter")),
    Variant("legs", partial(_sink, style="legs")),
)
TOILETS = tuple(
    Variant(style, partial(_toilet, style=style)) for style in ("close", "skirted", "wall", "high tank", "square")
)
BATHTUBS = tuple(
    Variant(style, partial(_bathtub, style=style)) for style in ("panelled", "clawfoot", "oval", "tiled", "square")
)
