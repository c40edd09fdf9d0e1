"""Beds and cushions."""

from __future__ import annotations

from functools import partial

import numpy as np

from geoguide3d.scenes.rooms.primitives import about_z, lathe
from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _sleigh(shape: Shape, width: float, length: float, frame: float) -> None:
    """Adds side rails, and a head and a foot that swing outwards and end in a roll."""
    for side in (-1, 1):
        shape.box("frame", (0.05, length, 0.2), (side * (width / 2 + 0.005), 0, frame - 0.16))
    shape.box("frame", (width, length, 0.04), (0, 0, frame - 0.06))
    wide = width + 0.1
    for side, straight in ((-1, 0.55), (1, 0.36)):
        y = side * (length / 2 + 0.02)
        shape.box("frame", (wide, 0.06, straight), (0, y, 0))
        for low, lean in ((0.0, 10), (0.16, 24)):
            swing = side * low * 0.18
            shape.box("frame", (wide, 0.06, 0.18), (0, y + swing, straight - 0.01 + low), lean=-side * lean)
        shape.block("frame", (wide + 0.03, 0.12, 0.12), (0, y + side * 0.1, straight + 0.28), roundness=0.4)


def _bed(shape: Shape, vary: Vary, style: str) -> None:
    width, length = vary(1.3, 0.25), vary(2.0, 0.04)
    frame = vary(0.28, 0.15)
    rear = -length / 2
    if style == "board":
        shape.legs("frame", (width - 0.08, length - 0.08), frame, 0.035, square=True)
        shape.box("frame", (width, length, 0.12), (0, 0, frame - 0.12))
        shape.box("frame", (width + 0.04, 0.05, vary(0.95)), (0, rear - 0.025, 0))
    elif style == "upholstered":
        shape.block("main", (width + 0.06, length, frame), (0, 0, 0), roundness=0.15)
        shape.block("main", (width + 0.06, 0.12, vary(1.05)), (0, rear - 0.06, 0), roundness=0.25)
    elif style == "posts":
        shape.box("frame", (width, length, 0.12), (0, 0, frame - 0.12))
        for x in (-width / 2, width / 2):
            shape.cylinder("frame", 0.04, vary(1.0), (x, rear, 0))
            shape.cylinder("frame", 0.04, 0.65, (x, -rear, 0))
        shape.box("frame", (width, 0.03, 0.35), (0, rear, 0.5))
        shape.box("frame", (width, 0.03, 0.2), (0, -rear, 0.35))
    elif style == "bars":
        shape.legs("metal", (width, length), frame, 0.022)
        shape.box("metal", (width, length, 0.05), (0, 0, frame - 0.05))
        for step in range(7):
            shape.cylinder("metal", 0.012, 0.6, ((step - 3) * width / 6.2, rear - 0.01, frame))
        shape.box("metal", (width + 0.04, 0.04, 0.04), (0, rear - 0.01, frame + 0.6))
    elif style == "sleigh":
        _sleigh(shape, width, length, frame)
    else:
        shape.box("frame", (width + 0.25, length + 0.2, 0.12), (0, 0, 0.06))
        frame = 0.18
    mattress = vary(0.2, 0.15)
    shape.block("white", (width - 0.03, length - 0.03, mattress), (0, 0, frame), roundness=0.12)
    cover = length * vary(0.68, 0.1)
    at = (0.0, length / 2 - cover / 2 + 0.015, frame + 0.03)
    shape.block("main", (width + 0.03, cover, mattress + 0.02), at, roundness=0.12)
    pillows = 2 if width > 1.25 else 1
    for place in range(pillows):
        x = (place - (pillows - 1) / 2) * width * 0.46
        size = (min(0.6, width * 0.44), 0.38, 0.14)
        shape.block("white", size, (x, rear + 0.24, frame + mattress - 0.02), roundness=0.55)
    shape.support(frame + mattress + 0.05, (width * 0.8, length * 0.5), (0, 0.15), 1.0, kind="seat")


def _cushion(shape: Shape, vary: Vary, style: str) -> None:
    width, thick = vary(0.42), vary(0.14, 0.2)
    if style == "square":
        shape.block("main", (width, thick, width), (0, 0, 0), roundness=0.45, lean=vary(14, 0.5))
    elif style == "flat":
        shape.block("main", (width, width, thick), (0, 0, 0), roundness=0.5)
    elif style == "round":
        shape.block("main", (width, width, thick * 1.1), (0, 0, 0), roundness=0.8)
    elif style == "lumbar":
        shape.block("main", (width * 1.35, thick, width * 0.65), (0, 0, 0), roundness=0.5, lean=vary(12, 0.5))
    else:
        shape.block("main", (width * 1.3, thick * 1.4, thick * 1.4), (0, 0, 0), roundness=0.35)


def _star_cushion(shape: Shape, vary: Vary) -> None:
    """Five stuffed points around a middle; it stands on two of them and leans back."""
    reach, thick, lean = vary(0.24), vary(0.15, 0.2), vary(14, 0.5)
    middle = (0.0, 0.0, reach * float(np.cos(np.deg2rad(36))) + 0.02)
    profile = [(0, 0), (thick * 0.5, 0.0), (thick * 0.45, reach * 0.3), (thick * 0.33, reach * 0.65), (0.03, reach)]
    for point in range(5):
        cone = lathe([*profile, (0, reach)], (0, 0, 0), aspect=1.25).tilted(72 * point, (0, 0, 0))
        shape.add("main", cone.moved(about_z(np.pi / 2), middle).tilted(lean, (0, 0, 0)))


BEDS = tuple(
    Variant(style, partial(_bed, style=style))
    for style in ("board", "upholstered", "posts", "bars", "sleigh", "platform")
)
CUSHIONS = (
    *(Variant(style, partial(_cushion, style=style), "surface") for style in ("square", "flat", "round", "lumbar")),
    Variant("star", _star_cushion, "surface"),
    Variant("bolster", partial(_cushion, style="bolster"), "surface"),
)
