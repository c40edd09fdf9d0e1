"""Sinks, toilets, bathtubs: what stands in a bathroom."""

from __future__ import annotations

from functools import partial

import numpy as np

from geoguide3d.scenes.rooms import primitives
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


def _vessel_sink(shape: Shape, vary: Vary) -> None:
    """Adds a round bowl on a board that brackets hold on the wall, with a tall tap and an open trap below."""
    width, depth, radius = vary(0.7, 0.12), vary(0.48, 0.05), vary(0.19, 0.06)
    board, rear = 0.05, -depth / 2
    shape.box("frame", (width, depth, board), (0, 0, 0))
    for x in (-width * 0.38, width * 0.38):
        shape.box("metal", (0.025, depth * 0.8, 0.025), (x, rear + depth * 0.4, -0.025))
        shape.box("metal", (0.025, 0.02, 0.16), (x, rear + 0.01, -0.185))
    outside = [(0, 0), (radius * 0.5, 0), (radius * 0.85, 0.06), (radius, 0.14)]
    inside = [(radius - 0.015, 0.14), (radius * 0.78, 0.065), (radius * 0.42, 0.02), (0, 0.02)]
    shape.turned("main", [*outside, *inside], (0, 0.03, board))
    shape.cylinder("metal", 0.025, 0.004, (0, 0.03, board + 0.02))
    shape.cylinder("metal", 0.03, 0.16, (0, 0.03, -0.16))
    shape.box("metal", (0.03, depth / 2 + 0.03, 0.03), (0, rear / 2 + 0.015, -0.12))
    shape.cylinder("metal", 0.014, 0.24, (0, rear + 0.04, board))
    shape.box("metal", (0.025, 0.17, 0.02), (0, rear + 0.12, board + 0.22))


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


def _tankless_toilet(shape: Shape, vary: Vary) -> None:
    """Adds a one-piece toilet: an egg-shaped body down to the floor, a low hump behind it, an oval lid turned up."""
    width, length, seat = vary(0.38, 0.08), vary(0.52, 0.08), vary(0.4, 0.06)
    edge, aspect = width / 2, length / width
    outside = [(0, 0), (edge * 0.84, 0), (edge * 0.86, seat * 0.5), (edge, seat * 0.85), (edge, seat)]
    inside = [(edge - 0.06, seat), (edge * 0.5, seat - 0.14), (0, seat - 0.17)]
    shape.turned("main", [*outside, *inside], (0, 0.06, 0), aspect)
    ring = [(edge - 0.065, 0), (edge + 0.004, 0), (edge + 0.004, 0.022), (edge - 0.065, 0.022), (edge - 0.065, 0)]
    shape.turned("white", ring, (0, 0.06, seat), aspect)
    hinge = 0.06 - length / 2 + 0.09
    shape.block("main", (width * 0.96, 0.26, seat + 0.12), (0, hinge - 0.15, 0), roundness=0.3)
    shape.box("main", (width * 0.74, 0.2, seat * 0.92), (0, hinge - 0.08, 0))  # closes the gap between the two
    shape.box("metal", (0.09, 0.04, 0.008), (0, hinge - 0.16, seat + 0.12))
    lid = [(0, 0), (edge, 0), (edge, 0.02), (0, 0.02)]
    oval = primitives.lathe(lid, (0, length * 0.44, 0), aspect=aspect * 0.88, sides=28)
    shape.add("main", oval.tilted(98, (0, 0, 0)).moved(np.eye(3), (0, hinge, seat + 0.02)))


def _surround(shape: Shape, role: str, long: float, deep: float, height: float) -> None:
    """Adds the four walls around a built-in bath."""
    for side in (-1, 1):
        shape.box(role, (long, 0.1, height), (0, side * (deep / 2 - 0.05), 0))
        shape.box(role, (0.1, deep - 0.2, height), (side * (long / 2 - 0.05), 0, 0))


def _bath_tap(shape: Shape, long: float, height: float) -> None:
    """Adds the tap on the rim at the left end."""
    shape.cylinder("metal", 0.02, 0.16, (-long / 2 + 0.06, 0, height))
    shape.box("metal", (0.16, 0.03, 0.025), (-long / 2 + 0.13, 0, height + 0.15))


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
    _bath_tap(shape, long, height)


def _slipper_bath(shape: Shape, vary: Vary) -> None:
    """Adds a bath on a foot, flared to a rolled rim that sweeps up at the right end."""
    long, deep, height = vary(1.6, 0.06), vary(0.74, 0.06), vary(0.52, 0.06)
    radius, aspect = long / 2, deep / long
    foot = [(0, 0), (radius * 0.68, 0), (radius * 0.62, 0.1), (0, 0.1)]
    shape.turned("main", foot, (0, 0, 0), aspect)
    outside = [(0.0, 0.09), (0.6, 0.09), (0.78, height * 0.5), (0.9, height - 0.05), (1.0, height - 0.03)]
    inside = [(1.0, height), (0.91, height), (0.72, height * 0.5), (0.52, 0.15), (0.0, 0.14)]
    hull = primitives.lathe([(r * radius, z) for r, z in outside + inside], (0, 0, 0), aspect=aspect, sides=32)
    x, _, z = hull.vertices.T
    sweep = vary(0.26, 0.15) * (z / height) ** 2 * np.clip((x + 0.3 * radius) / (1.3 * radius), 0.0, None) ** 2
    shape.add("main", primitives.Mesh(hull.vertices + np.outer(sweep, (0.0, 0.0, 1.0)), hull.triangles))
    _bath_tap(shape, long, height)


SINKS = (
    Variant("pedestal", partial(_sink, style="pedestal")),
    Variant("vanity", partial(_sink, style="vanity")),
    Variant("wall", partial(_sink, style="wall"), "wall", (0.62, 0.7)),
    Variant("counter", partial(_sink, style="counter")),
    Variant("vessel", _vessel_sink, "wall", (0.66, 0.74)),
    Variant("legs", partial(_sink, style="legs")),
)
TOILETS = (
    *(Variant(style, partial(_toilet, style=style)) for style in ("close", "skirted", "wall", "high tank")),
    Variant("tankless", _tankless_toilet),
    Variant("square", partial(_toilet, style="square")),
)
BATHTUBS = (
    *(Variant(style, partial(_bathtub, style=style)) for style in ("panelled", "clawfoot", "oval", "tiled")),
    Variant("slipper", _slipper_bath),
    Variant("square", partial(_bathtub, style="square")),
)
