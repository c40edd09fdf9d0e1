"""Doors and windows, which stand on the wall's face."""

from __future__ import annotations

from functools import partial

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


DOORS = tuple(
    Variant(style, partial(_door, style=style), "wall", (0.0, 0.0))
    for style in ("flush", "panelled", "glazed", "planked", "porthole")
)
WINDOWS = tuple(
    Variant(style, partial(_window, style=style), "wall", (0.9, 1.0))
    for style in ("single", "two wings", "lattice", "sash", "transom")
)
