"""Doors and windows, which stand on the wall's face."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from geoguide3d.scenes.rooms.primitives import about_z, box, lathe
from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _door(shape: Shape, vary: Vary, style: str) -> None:
    width, height = vary(0.85, 0.06), vary(2.02, 0.02)
    for side in (-1, 1):
        shape.box("frame", (0.07, 0.06, height + 0.06), (side * (width / 2 + 0.035), 0, 0))
    shape.box("frame", (width, 0.06, 0.06), (0, 0, height))
    shape.box("main", (width, 0.04, height), (0, -0.01, 0))
    face = 0.012
    if style == "panelled":
        for x in (-0.24, 0.24):
            for z, tall in ((0.12, 0.32), (0.5, 0.4)):
                shape.box("main", (width * 0.36, 0.02, height * tall), (x * width, face, z * height))
    elif style == "glazed":
        shape.box("glass", (width * 0.66, 0.012, height * 0.5), (0, face, height * 0.42))
    elif style == "planked":
        for step in range(5):
            shape.box("main", (width / 5 - 0.012, 0.02, height - 0.02), ((step - 2) * width / 5, face, 0.01))
    elif style == "porthole":
        for low in (0.45, 0.62, 0.79):
            shape.box("glass", (width * 0.5, 0.012, height * 0.11), (0, face, low * height))
    shape.box("metal", (0.04, 0.02, 0.14), (width * 0.4, 0.03, 0.95))
    shape.box("metal", (0.12, 0.02, 0.02), (width * 0.36, 0.05, 1.03))


def _louvred_door(shape: Shape, vary: Vary) -> None:
    """Two narrow leaves that fold, each with slanting slats between its posts and rails."""
    width, height = vary(0.86, 0.06), vary(2.02, 0.02)
    for side in (-1, 1):
        shape.box("frame", (0.05, 0.06, height + 0.05), (side * (width / 2 + 0.025), 0, 0))
    shape.box("frame", (width, 0.06, 0.05), (0, 0, height))
    leaf, post, rails = width / 2, 0.055, (0.0, height * 0.44, height - 0.1)
    steps = vary.count(14, 16)  # slats between two rails
    for side in (-1, 1):
        middle = side * leaf / 2
        for x in (middle - (leaf - post) / 2 + 0.003, middle + (leaf - post) / 2 - 0.003):
            shape.box("main", (post, 0.04, height - 0.01), (x, 0, 0.005))
        for low in rails:
            shape.box("main", (leaf - post, 0.036, 0.1), (middle, 0, low))
        for low, high in pairwise(rails):
            for step in range(steps):
                z = low + 0.1 + step * (high - low - 0.1) / steps
                shape.box("main", (leaf - 2 * post, 0.008, 0.085), (middle, 0.024, z), lean=36)
        shape.block("metal", (0.035, 0.04, 0.035), (side * 0.04, 0.04, 0.98), roundness=0.9)


def _window(shape: Shape, vary: Vary, style: str) -> None:
    width, height = vary(1.0, 0.12), vary(1.05, 0.12)
    bars: list[tuple[float, float, float, float]] = []  # x, z, width, height of the middle bars
    if style == "two wings":
        bars = [(0.0, 0.0, 0.06, height)]
    elif style == "lattice":
        bars = [(x * width, 0.0, 0.03, height) for x in (-0.17, 0.17)]
        bars += [(0.0, z * height, width, 0.03) for z in (0.33, 0.66)]
    elif style == "sash":
        bars = [(0.0, height * 0.48, width, 0.06)]
    elif style == "transom":
        bars = [(0.0, height * 0.7, width, 0.05), (0.0, 0.0, 0.05, height * 0.7)]
    shape.box("pane", (width, 0.02, height), (0, -0.01, 0))
    for side in (-1, 1):
        shape.box("main", (0.07, 0.06, height + 0.14), (side * (width / 2 + 0.035), 0, -0.07))
        shape.box("main", (width, 0.06, 0.07), (0, 0, -0.07 if side < 0 else height))
    for x, z, wide, tall in bars:
        shape.box("main", (wide, 0.045, tall), (x, 0, z))
    shape.box("main", (width + 0.2, 0.12, 0.03), (0, 0.03, -0.1))


def _arched_window(shape: Shape, vary: Vary) -> None:
    """An upright pane whose top is half an ellipse, with one bar down the middle."""
    half, height = vary(0.48, 0.12), vary(1.1, 0.1)
    rise = half * vary(0.85, 0.12)
    spring = height - rise  # where the sides end and the arch begins
    shape.box("pane", (2 * half, 0.02, spring), (0, -0.01, 0))
    middle = (0.0, 0.0, spring)
    disc = lathe([(0, 0), (half, 0), (half, 0.02), (0, 0.02)], middle, aspect=rise / half, sides=32)
    shape.add("pane", disc.tilted(90, middle))
    for side in (-1, 1):
        shape.box("main", (0.07, 0.06, spring + 0.07), (side * (half + 0.035), 0, -0.07))
    shape.box("main", (2 * half, 0.06, 0.07), (0, 0, -0.07))
    ends = np.linspace(-np.pi / 2, np.pi / 2, 11)
    arch = np.column_stack([np.sin(ends) * (half + 0.035), np.cos(ends) * (rise + 0.035) + spring])
    for (x0, z0), (x1, z1) in pairwise(arch):
        piece = box((0.06, 0.07, float(np.hypot(x1 - x0, z1 - z0)) + 0.02), (0, 0, -0.01))
        piece = piece.tilted(float(np.rad2deg(np.arctan2(x1 - x0, z1 - z0))), (0, 0, 0))
        shape.add("main", piece.moved(about_z(np.pi / 2), (x0, 0.0, z0)))  # what leaned to -y now leans to +x
    shape.box("main", (0.05, 0.045, height), (0, 0, 0))
    shape.box("main", (2 * half + 0.2, 0.12, 0.03), (0, 0.03, -0.1))


DOORS = (
    *(
        Variant(style, partial(_door, style=style), "wall", (0.0, 0.0))
        for style in ("flush", "panelled", "glazed", "planked")
    ),
    Variant("louvred", _louvred_door, "wall", (0.0, 0.0)),
    Variant("porthole", partial(_door, style="porthole"), "wall", (0.0, 0.0)),
)
WINDOWS = (
    *(
        Variant(style, partial(_window, style=style), "wall", (0.9, 1.0))
        for style in ("single", "two wings", "lattice", "sash")
    ),
    Variant("arched", _arched_window, "wall", (0.9, 1.0)),
    Variant("transom", partial(_window, style="transom"), "wall", (0.9, 1.0)),
)
