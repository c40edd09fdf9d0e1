"""Shelves, cabinets, boxes and bins."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from geoguide3d.scenes.rooms import primitives
from geoguide3d.scenes.rooms.primitives import Triple
from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _boards(shape: Shape, width: float, depth: float, heights: list[float], board: float = 0.025) -> None:
    """Adds level boards, the lowest first, and says what may stand on each."""
    for level, height in enumerate(heights):
        shape.box("main", (width, depth, board), (0, 0, height))
        clearance = heights[level + 1] - height - board if level + 1 < len(heights) else 0.5
        if clearance > 0.1:
            shape.support(height + board, (width * 0.9, depth * 0.85), clearance=clearance - 0.02)


def _shelf(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(0.85, 0.15), vary(0.32, 0.1), vary(1.75, 0.12)
    levels = vary.count(4, 5)
    if style == "low":
        height, levels, width = vary(0.85), 3, vary(1.1)
    heights = [0.05 + step * (height - 0.05) / levels for step in range(levels + 1)]
    if style in ("bookcase", "low"):
        for x in (-width / 2 - 0.0125, width / 2 + 0.0125):
            shape.box("main", (0.025, depth, height + 0.025), (x, 0, 0))
        shape.box("main", (width, 0.012, height), (0, -depth / 2 - 0.006, 0))
        _boards(shape, width, depth, heights)
    elif style == "open frame":
        shape.legs("metal", (width + 0.03, depth - 0.03), height + 0.05, 0.015, square=True)
        _boards(shape, width, depth, heights)
    elif style == "ladder":
        for x in (-width / 2 - 0.02, width / 2 + 0.02):
            shape.box("frame", (0.03, 0.04, height), (x, depth / 2 - 0.02, 0), lean=7)
            shape.box("frame", (0.03, 0.04, height), (x, -depth / 2 + 0.02, 0))
        for level, board in enumerate(heights[1:]):
            deep = depth * (1 - 0.12 * level)
            shape.box("main", (width, deep, 0.025), (0, (deep - depth) / 2 + 0.01, board))
            shape.support(
                board + 0.025, (width * 0.9, deep * 0.7), (0, (deep - depth) / 2 + 0.01), height / levels - 0.06
            )
    elif style == "wall boards":
        for board in (0.0, vary(0.35, 0.1)):
            shape.box("main", (width, 0.22, 0.03), (0, 0, board))
            for x in (-width * 0.35, width * 0.35):
                shape.box("metal", (0.02, 0.18, 0.02), (x, -0.01, board - 0.02))
                shape.box("metal", (0.02, 0.02, 0.1), (x, -0.1, board - 0.1))
            shape.support(board + 0.03, (width * 0.9, 0.17), clearance=0.2)
    else:
        columns = 2
        for step in range(columns + 1):
            shape.box("main", (0.025, depth, height), ((step / columns - 0.5) * (width + 0.025), 0, 0))
        for column in range(columns):
            x = (column + 0.5 - columns / 2) * width / columns
            for low, high in pairwise(heights):
                shape.box("main", (width / columns - 0.03, depth, 0.025), (x, 0, low))
                shape.support(low + 0.025, (width / columns * 0.8, depth * 0.85), (x, 0), high - low - 0.05)
        shape.box("main", (width + 0.05, depth, 0.03), (0, 0, height))


def _zigzag_shelf(shape: Shape, vary: Vary) -> None:
    """Adds boards that one upright each holds up, left and right in turn: an S from the front, open at the back."""
    width, depth, height = vary(0.8, 0.15), vary(0.31, 0.1), vary(1.7, 0.12)
    board, levels = 0.035, vary.count(4, 5)
    step = (height - board) / levels
    for level in range(levels + 1):
        low = level * step
        shape.box("main", (width, depth, board), (0, 0, low))
        if level < levels:
            side = 1 if level % 2 == 0 else -1
            shape.box("main", (board, depth, step - board), (side * (width - board) / 2, 0, low + board))
        clearance = step - board - 0.02 if level < levels else 0.5
        shape.support(low + board, (width * 0.84, depth * 0.85), clearance=clearance)


def _cabinet(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(0.8, 0.2), vary(0.42, 0.1), vary(0.9, 0.1)
    if style == "wardrobe":
        width, depth, height = vary(1.0, 0.2), vary(0.55, 0.08), vary(1.95, 0.06)
    elif style == "sideboard":
        width, height = vary(1.4), vary(0.62)
    elif style == "wall":
        width, depth, height = vary(0.7, 0.25), vary(0.32, 0.08), vary(0.6)
    lift = 0.12 if style in ("sideboard", "glass doors") else (0.0 if style == "wall" else 0.06)
    if lift == 0.12:
        shape.legs("frame", (width - 0.1, depth - 0.08), lift, 0.02)
    elif lift:
        shape.box("dark", (width - 0.04, depth - 0.05, lift), (0, -0.02, 0))
    shape.box("main", (width, depth, height - lift), (0, 0, lift))
    front, body = depth / 2 + 0.012, height - lift
    shape.box("dark", (width - 0.01, 0.004, body - 0.01), (0, depth / 2 + 0.002, lift + 0.005))  # shows in the gaps
    if style == "drawers":
        rows = 3
        for row in range(rows):
            shape.box("main", (width - 0.02, 0.018, body / rows - 0.015), (0, front, lift + 0.007 + row * body / rows))
            shape.box("metal", (0.14, 0.02, 0.015), (0, front + 0.018, lift + (row + 0.55) * body / rows))
    else:
        doors = 3 if style == "sideboard" else 2
        role = {"glass doors": "glass", "wardrobe": "frame"}.get(style, "main")
        for door in range(doors):
            x = (door - (doors - 1) / 2) * width / doors
            shape.box(role, (width / doors - 0.015, 0.018, body - 0.03), (x, front, lift + 0.015))
            side = 1 if door < doors / 2 else -1
            shape.box(
                "metal", (0.015, 0.025, 0.14), (x + side * width / doors * 0.38, front + 0.015, lift + body * 0.5)
            )
    if style != "wall":
        shape.box("main", (width + 0.03, depth + 0.03, 0.03), (0, 0, height))
        if height < 1.2:
            shape.support(height + 0.03, (width * 0.9, depth * 0.8))


def _stadium(shape: Shape, role: str, length: float, radius: float, z: float, height: float) -> None:
    """Adds an upright body with half-round ends, `length` between their middles."""
    shape.box(role, (length, 2 * radius, height), (0, 0, z))
    for side in (-1, 1):
        shape.cylinder(role, radius, height, (side * length / 2, 0, z))


def _fluted_cabinet(shape: Shape, vary: Vary) -> None:
    """Adds a cabinet with half-round ends and upright ribs all along its front."""
    width, depth, height = vary(0.95, 0.12), vary(0.42, 0.1), vary(0.88, 0.1)
    radius, lift = depth / 2, 0.07
    length = width - depth
    _stadium(shape, "dark", length, radius - 0.03, 0.0, lift)
    _stadium(shape, "main", length, radius, lift, height - lift)
    ribs = 2 * round(length / 0.1) + 1  # odd, so that one is in the middle, where the doors meet
    places = [((rib / (ribs - 1) - 0.5) * length, radius) for rib in range(ribs)]
    for angle in np.deg2rad(np.arange(-72, 90, 18)):
        x, y = length / 2 + radius * float(np.cos(angle)), radius * float(np.sin(angle))
        places += [(x, y), (-x, y)]
    for x, y in places:
        shape.cylinder("main", 0.02, height - lift, (x, y, lift))
    for x in (-0.04, 0.04):
        shape.box("metal", (0.018, 0.02, 0.3), (x, radius + 0.028, lift + (height - lift) * 0.45))
    _stadium(shape, "main", length, radius + 0.03, height, 0.03)
    shape.support(height + 0.03, (length + radius, depth * 0.7))


def _carton(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(0.34, 0.3), vary(0.28, 0.25), vary(0.24, 0.35)
    if style == "closed":
        shape.box("main", (width, depth, height), (0, 0, 0))
        shape.box("paper", (0.05, depth + 0.004, 0.004), (0, 0, height))
    elif style == "lidded":
        shape.box("main", (width, depth, height * 0.8), (0, 0, 0))
        shape.box("main", (width + 0.02, depth + 0.02, height * 0.2), (0, 0, height * 0.8))
        shape.box("paper", (0.08, 0.004, 0.05), (0, depth / 2 + 0.002, height * 0.4))
    else:
        wall = 0.015
        shape.box("main", (width, depth, wall), (0, 0, 0))
        for side in (-1, 1):
            shape.box("main", (wall, depth, height), (side * (width - wall) / 2, 0, 0))
            shape.box("main", (width, wall, height), (0, side * (depth - wall) / 2, 0))
        if style == "open flaps":
            for side in (-1, 1):
                at = (0.0, side * depth / 2, height)
                flap = (width * 0.96, 0.008, depth * 0.4)
                shape.box("main", flap, at, lean=-side * 50.0)
        else:
            for row in (0.25, 0.55, 0.85):
                shape.box("frame", (width + 0.01, depth + 0.01, 0.025), (0, 0, height * row - 0.02))


def _barrel(shape: Shape, role: str, radius: float, length: float, at: Triple) -> None:
    """Adds a flattened drum that lies along x, with its middle at `at`."""
    drum = primitives.lathe([(0, 0), (radius, 0), (radius, length), (0, length)], (0, 0, 0), aspect=0.75, sides=24)
    shape.add(
        role, drum.tilted(-90, (0, 0, 0)).moved(primitives.about_z(-np.pi / 2), (at[0] - length / 2, at[1], at[2]))
    )


def _trunk(shape: Shape, vary: Vary) -> None:
    """Adds a chest with a vaulted lid, held by two straps and a lock."""
    width, depth, height = vary(0.38, 0.25), vary(0.27, 0.2), vary(0.17, 0.25)
    shape.box("main", (width, depth, height), (0, 0, 0))
    _barrel(shape, "main", depth / 2, width, (0, 0, height))
    shape.box("frame", (width + 0.012, depth + 0.012, 0.02), (0, 0, height - 0.01))
    for side in (-1, 1):
        shape.box("dark", (0.03, depth + 0.008, height), (side * width * 0.3, 0, 0))
        _barrel(shape, "dark", depth / 2 + 0.004, 0.03, (side * width * 0.3, 0, height))
    shape.box("metal", (0.05, 0.016, 0.06), (0, depth / 2 + 0.008, height - 0.04))


def _bin(shape: Shape, vary: Vary, style: str) -> None:
    radius, height = vary(0.14), vary(0.36, 0.2)
    if style == "open round":
        shape.tub("main", (2 * radius, 2 * radius, height), (0, 0, 0), 0.0, wall=0.012)
    elif style == "open square":
        shape.tub("main", (2 * radius, 2 * radius, height), (0, 0, 0), 0.75, wall=0.012)
    elif style == "pedal":
        shape.cylinder("main", radius, height * 1.2, (0, 0, 0))
        shape.block("dark", (radius * 2.1, radius * 2.1, 0.08), (0, 0, height * 1.2 - 0.02), 0.6)
        shape.box("dark", (0.09, 0.06, 0.02), (0, radius + 0.02, 0.02))
    elif style == "swing lid":
        shape.box("main", (radius * 2, radius * 1.7, height * 1.4), (0, 0, 0))
        shape.block("frame", (radius * 2.05, radius * 1.75, 0.16), (0, 0, height * 1.4 - 0.03), 0.5)
    else:
        shape.cylinder("main", radius, height * 1.3, (0, 0, 0))
        shape.turned("metal", [(radius, 0), (radius, 0.05), (radius * 0.5, 0.14), (0, 0.15)], (0, 0, height * 1.3))


def _basket_bin(shape: Shape, vary: Vary) -> None:
    """Adds a basket of upright wires between three hoops, wider at the top."""
    radius, height = vary(0.15), vary(0.36, 0.2)
    foot, wire = radius * 0.7, 0.006
    shape.cylinder("main", foot, 0.012, (0, 0, 0))
    for share in (0.0, 0.5, 1.0):
        hoop = foot + (radius - foot) * share
        inner, outer = hoop - wire, hoop + wire
        profile = [(inner, 0), (outer, 0), (outer, 2 * wire), (inner, 2 * wire), (inner, 0)]
        shape.turned("main", profile, (0, 0, share * (height - 2 * wire)))
    wires, spread = 24, radius - foot
    for place in range(wires):
        rod = primitives.box((0.008, 0.008, float(np.hypot(height, spread)) - wire), (0, foot, 0))
        rod = rod.tilted(-float(np.rad2deg(np.arctan2(spread, height))), (0, foot, 0))
        shape.add("main", rod.moved(primitives.about_z(2 * np.pi * place / wires), (0, 0, 0)))


SHELVES = (
    Variant("bookcase", partial(_shelf, style="bookcase")),
    Variant("open frame", partial(_shelf, style="open frame")),
    Variant("ladder", partial(_shelf, style="ladder")),
    Variant("wall boards", partial(_shelf, style="wall boards"), "wall", (1.1, 1.4)),
    Variant("low", partial(_shelf, style="low")),
    Variant("zigzag", _zigzag_shelf),
    Variant("pigeonholes", partial(_shelf, style="pigeonholes")),
)
CABINETS = (
    Variant("two doors", partial(_cabinet, style="two doors")),
    Variant("drawers", partial(_cabinet, style="drawers")),
    Variant("wardrobe", partial(_cabinet, style="wardrobe")),
    Variant("wall", partial(_cabinet, style="wall"), "wall", (1.4, 1.55)),
    Variant("glass doors", partial(_cabinet, style="glass doors")),
    Variant("fluted", _fluted_cabinet),
    Variant("sideboard", partial(_cabinet, style="sideboard")),
)
BOXES = (
    *(Variant(style, partial(_carton, style=style)) for style in ("closed", "lidded", "open flaps")),
    Variant("trunk", _trunk),
    Variant("crate", partial(_carton, style="crate")),
)
BINS = (
    *(Variant(style, partial(_bin, style=style)) for style in ("open round", "open square", "pedal", "swing lid")),
    Variant("basket", _basket_bin),
    Variant("dome lid", partial(_bin, style="dome lid")),
)
