"""Chairs, armchairs, stools and sofas."""

from __future__ import annotations

from functools import partial

import numpy as np

from geoguide3d.scenes.rooms.primitives import about_z, block
from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _chair(shape: Shape, vary: Vary, back: str, base: str) -> None:
    width, depth, seat = vary(0.44), vary(0.43), vary(0.45, 0.06)
    thick = vary(0.04, 0.3)
    if base == "legs":
        shape.legs("frame", (width - 0.05, depth - 0.05), seat, vary(0.02, 0.2))
    elif base == "square":
        shape.legs("main", (width - 0.05, depth - 0.05), seat, vary(0.022, 0.2), square=True)
    elif base == "sled":
        for x in (-width / 2 + 0.02, width / 2 - 0.02):
            shape.box("metal", (0.025, depth, 0.025), (x, 0, 0))
            shape.box("metal", (0.025, 0.025, seat), (x, depth / 2 - 0.02, 0))
            shape.box("metal", (0.025, 0.025, seat), (x, -depth / 2 + 0.02, 0))
    else:
        _wheels(shape, seat, width * 0.6)
    shape.block("main", (width, depth, thick * 1.5), (0, 0, seat), roundness=0.2)
    top = seat + thick
    rear = -depth / 2 + 0.025
    high = vary(0.42)
    if back == "panel":
        shape.block("main", (width * 0.95, 0.045, high), (0, rear, top), roundness=0.25, lean=vary(8, 0.5))
    elif back == "slats":
        for x in (-0.42, 0.42):
            shape.box("main", (0.035, 0.03, high), (x * width, rear, top), lean=6)
        for step in range(3):
            shape.box("main", (width * 0.85, 0.018, 0.06), (0, rear - 0.02 * step, top + 0.1 + step * high * 0.3))
    elif back == "spindles":
        for step in range(5):
            shape.cylinder("main", 0.011, high, ((step - 2) * width * 0.2, rear, top))
        shape.box("main", (width * 0.95, 0.03, 0.06), (0, rear, top + high))
    else:
        for x in (-0.42, 0.42):
            shape.box("metal", (0.03, 0.03, high), (x * width, rear, top))
        shape.block("main", (width, 0.05, high * 0.55), (0, rear + 0.01, top + high * 0.5), roundness=0.3)
    if base == "wheels":
        for x in (-width / 2 - 0.02, width / 2 + 0.02):
            shape.box("dark", (0.04, depth * 0.6, 0.03), (x, 0, seat + 0.2))
            shape.box("dark", (0.03, 0.04, 0.2), (x, -0.05, seat))


def _wheels(shape: Shape, seat: float, spread: float) -> None:
    shape.cylinder("dark", 0.03, seat - 0.06, (0, 0, 0.06))
    shape.box("dark", (2 * spread, 0.045, 0.04), (0, 0, 0.05))
    shape.box("dark", (0.045, 2 * spread, 0.04), (0, 0, 0.05))
    for x, y in ((spread, 0), (-spread, 0), (0, spread), (0, -spread)):
        shape.block("dark", (0.05, 0.05, 0.06), (x * 0.95, y * 0.95, 0), roundness=0.8)


def _tulip_chair(shape: Shape, vary: Vary) -> None:
    """A shell that is bent around the sitter, on one trumpet-shaped foot."""
    width, depth, seat = vary(0.44), vary(0.42), vary(0.45, 0.06)
    high = vary(0.36)
    foot = [(0, 0), (0.22, 0), (0.22, 0.012), (0.09, 0.05), (0.035, 0.17), (0.045, seat - 0.08), (0.13, seat - 0.02)]
    shape.turned("main", [*foot, (0, seat - 0.02)], (0, 0, 0))
    shape.block("main", (width, depth, 0.08), (0, 0, seat - 0.04), roundness=0.6)
    shape.block("frame", (width * 0.8, depth * 0.8, 0.05), (0, 0.02, seat + 0.015), roundness=0.5)
    radius, lean = depth / 2 - 0.03, vary(12, 0.4)
    for degrees in range(-72, 73, 18):
        tall = high * (0.35 + 0.65 * float(np.cos(np.deg2rad(degrees))))
        panel = block((radius * 0.62, 0.035, tall), (0, -radius, 0), 0.3).tilted(lean, (0, -radius, 0))
        shape.add("main", panel.moved(about_z(np.deg2rad(degrees)), (0, 0, seat - 0.02)))


def _armchair(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, seat = vary(0.78), vary(0.76), vary(0.4, 0.08)
    arm = vary(0.14)
    inner = width - 2 * arm
    if style == "club":
        shape.block("main", (width, depth, seat), (0, 0, 0.04), roundness=0.15)
        for side in (-1, 1):
            shape.block("main", (arm, depth, seat + 0.2), (side * (width - arm) / 2, 0, 0.04), roundness=0.25)
        shape.block("main", (width, 0.2, 0.82), (0, -depth / 2 + 0.1, 0.04), roundness=0.25)
    elif style == "wing":
        shape.legs("frame", (width - 0.12, depth - 0.12), 0.16, 0.025)
        shape.block("main", (width - 0.1, depth, seat - 0.12), (0, 0, 0.15), roundness=0.2)
        shape.block("main", (width - 0.1, 0.16, 1.0), (0, -depth / 2 + 0.08, 0.15), roundness=0.25)
        for side in (-1, 1):
            x = side * (width - arm) / 2
            shape.block("main", (arm, 0.3, 0.6), (x, -depth / 2 + 0.15, 0.5), roundness=0.3)
            shape.block("main", (arm, depth, 0.45), (x, 0, 0.15), roundness=0.3)
    elif style == "wooden":
        for side in (-1, 1):
            x = side * (width - 0.06) / 2
            shape.box("frame", (0.05, 0.05, 0.6), (x, depth / 2 - 0.05, 0))
            shape.box("frame", (0.05, 0.05, 0.6), (x, -depth / 2 + 0.08, 0))
            shape.box("frame", (0.07, depth, 0.035), (x, 0, 0.6))
        shape.block("main", (width - 0.12, depth - 0.08, 0.16), (0, 0.02, seat - 0.14), roundness=0.25)
        shape.block("main", (width - 0.12, 0.15, 0.5), (0, -depth / 2 + 0.16, seat), roundness=0.3, lean=14)
    else:
        profile = [(0.0, 0.0), (width * 0.42, 0.0), (width * 0.5, 0.3), (width * 0.5, seat), (0.0, seat)]
        shape.turned("main", profile, (0, 0, 0.02), aspect=depth / width)
        for angle_x, y in ((-0.4, -0.12), (-0.22, -0.32), (0.0, -0.4), (0.22, -0.32), (0.4, -0.12)):
            shape.block("main", (0.26, 0.2, 0.42), (angle_x * width, y * depth, seat - 0.05), roundness=0.45)
    shape.support(seat + 0.03, (inner * 0.8, depth * 0.4), (0, 0.05), 0.8, kind="seat")


def _lounge_chair(shape: Shape, vary: Vary) -> None:
    """Pads in a leaning wooden shell, which turns on a metal disc."""
    width, depth, seat = vary(0.76), vary(0.7), vary(0.4, 0.08)
    lean, tall = vary(20, 0.25), vary(0.72, 0.08)
    shape.cylinder("metal", 0.3, 0.025, (0, 0.05, 0))
    shape.cylinder("metal", 0.035, seat - 0.18, (0, 0.05, 0.025))
    inner = width - 0.24
    shape.box("frame", (inner + 0.04, depth * 0.8, 0.025), (0, 0.11, seat - 0.16))
    shape.block("main", (inner, depth * 0.75, 0.15), (0, 0.13, seat - 0.135), roundness=0.35)
    rear = 0.08 - depth * 0.27
    back = np.array([0.0, -np.sin(np.deg2rad(lean)), np.cos(np.deg2rad(lean))])
    shape.box("frame", (inner + 0.04, 0.025, tall + 0.03), (0, rear - 0.06, seat - 0.155), lean=lean)
    for low, share in ((0.05, 0.58), (0.66, 0.34)):
        y, z = rear + back[1] * low * tall, seat - 0.1 + back[2] * low * tall
        shape.block("main", (inner, 0.13, share * tall), (0, float(y), float(z)), roundness=0.4, lean=lean)
    for side in (-1, 1):
        x = side * (width / 2 - 0.06)
        shape.box("metal", (0.03, 0.05, 0.32), (x, 0.08, seat - 0.16))
        shape.box("metal", (0.1, 0.05, 0.025), (x - side * 0.04, 0.08, seat - 0.16))
        shape.block("main", (0.11, depth * 0.52, 0.06), (x, 0.08, seat + 0.15), roundness=0.4)
    shape.support(seat + 0.03, (inner * 0.9, depth * 0.4), (0, 0.17), 0.8, kind="seat")


def _stool(shape: Shape, vary: Vary, style: str) -> None:
    radius, height = vary(0.17), vary(0.5, 0.25)
    if style == "round":
        shape.legs("frame", (radius * 1.3, radius * 1.3), height, 0.018)
        shape.cylinder("main", radius, 0.045, (0, 0, height))
    elif style == "square":
        shape.legs("main", (radius * 1.7, radius * 1.7), height, 0.02, square=True)
        shape.box("main", (radius * 2, radius * 2, 0.04), (0, 0, height))
    elif style == "pouf":
        shape.block("main", (radius * 2.6, radius * 2.6, height * 0.85), (0, 0, 0), roundness=0.45)
    elif style == "bar":
        shape.cylinder("metal", radius * 1.1, 0.03, (0, 0, 0))
        shape.cylinder("metal", 0.03, 0.66, (0, 0, 0.03))
        shape.block("main", (radius * 2.1, radius * 2.1, 0.1), (0, 0, 0.69), roundness=0.35)
    else:
        for x in (-radius * 0.9, radius * 0.9):
            shape.box("main", (0.035, radius * 1.6, height), (x, 0, 0))
        shape.box("main", (radius * 2.6, radius * 1.8, 0.04), (0, 0, height))


def _camp_stool(shape: Shape, vary: Vary) -> None:
    """A cloth between two rails on legs that cross, so that it folds flat."""
    radius, height = vary(0.2), vary(0.46, 0.12)
    for side in (-1, 1):
        shape.crossed_legs("frame", side * radius * 0.8, radius * 1.9, height, 0.03)
        shape.box("frame", (radius * 2, 0.035, 0.03), (0, side * radius * 0.9, height - 0.01))
        shape.box("frame", (radius * 1.6, 0.022, 0.022), (0, side * radius * 0.72, 0.06))
        shape.box("main", (radius * 1.9, radius * 0.62, 0.012), (0, side * radius * 0.64, height + 0.006), side * 9)
    shape.box("main", (radius * 1.9, radius * 0.7, 0.012), (0, 0, height - 0.012))


def _sofa(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, seat = vary(1.8, 0.15), vary(0.85, 0.08), vary(0.42, 0.08)
    arm = vary(0.18, 0.25)
    lift = 0.05
    if style in ("legged", "tall"):
        lift = 0.15
        shape.legs("frame", (width - 0.15, depth - 0.12), lift, 0.028)
    shape.block("main", (width - 0.04, depth - 0.02, seat - lift - 0.12), (0, 0, lift), roundness=0.12)
    back = vary(0.85 if style != "tall" else 1.05, 0.06)
    shape.block("main", (width, 0.22, back - lift), (0, -depth / 2 + 0.11, lift), roundness=0.22)
    inner = width - (2 * arm if style != "armless" else 0.04)
    seats = vary.count(2, 3)
    for place in range(seats):
        x = (place - (seats - 1) / 2) * inner / seats
        shape.block("main", (inner / seats - 0.01, depth - 0.24, 0.15), (x, 0.1, seat - 0.13), roundness=0.22)
    for side in (-1, 1):
        x = side * (width - arm) / 2
        if style in ("legged", "corner"):
            shape.block("main", (arm, depth, 0.62 - lift), (x, 0, lift), roundness=0.2)
        elif style == "rolled":
            shape.block("main", (arm * 0.8, depth, 0.5), (x, 0, lift), roundness=0.2)
            shape.block("main", (arm * 1.4, depth, 0.2), (x, 0, 0.48), roundness=0.7)
        elif style == "tall":
            shape.block("main", (arm, depth, back - lift - 0.05), (x, 0, lift), roundness=0.25)
    if style == "corner":
        side = vary.pick((-1, 1))
        x = side * (width / 2 - 0.35)
        shape.block("main", (0.7, 0.75, seat - lift), (x, depth / 2 + 0.36, lift), roundness=0.15)
    shape.support(seat + 0.03, (inner * 0.9, depth * 0.3), (0, -0.06), 0.8, kind="seat")


def _futon(shape: Shape, vary: Vary) -> None:
    """A folded mattress in an open wooden frame with slats."""
    width, depth, seat = vary(1.8, 0.15), vary(0.85, 0.08), vary(0.42, 0.08)
    thick, high, lean = vary(0.18), vary(0.5, 0.1), vary(14, 0.3)
    inner, front, rear = width - 0.14, depth / 2 - 0.03, -depth / 2 + 0.2
    for side in (-1, 1):
        x = side * (width / 2 - 0.03)
        for y in (front, -front):
            shape.box("frame", (0.06, 0.06, 0.58), (x, y, 0))
        shape.box("frame", (0.09, depth, 0.035), (x, 0, 0.58))
        shape.box("frame", (0.03, depth - 0.12, 0.05), (x, 0, 0.12))
        for step in range(5):
            shape.box("frame", (0.02, 0.045, 0.42), (x, (step - 2) * depth * 0.15, 0.16))
        shape.box("frame", (inner, 0.03, 0.1), (0, side * front, seat - thick - 0.08))
    for step in range(5):
        shape.box("frame", (inner, 0.07, 0.02), (0, (step - 1.6) * depth * 0.18, seat - thick - 0.01))
    for step in range(11):
        x = (step - 5) * (inner - 0.05) / 10
        shape.box("frame", (0.05, 0.02, high + 0.1), (x, rear - thick / 2 - 0.02, seat - thick + 0.01), lean=lean)
    shape.block("main", (inner, depth * 0.8, thick), (0, depth * 0.1, seat - thick + 0.01), roundness=0.25)
    shape.block("main", (inner, thick, high), (0, rear, seat - 0.02), roundness=0.25, lean=lean)
    shape.support(seat + 0.03, (inner * 0.9, depth * 0.35), (0, depth * 0.13), 0.8, kind="seat")


CHAIRS = (
    Variant("panel back", partial(_chair, back="panel", base="legs")),
    Variant("slat back", partial(_chair, back="slats", base="square")),
    Variant("office", partial(_chair, back="pad", base="wheels")),
    Variant("sled", partial(_chair, back="pad", base="sled")),
    Variant("tulip", _tulip_chair),
    Variant("spindle back", partial(_chair, back="spindles", base="legs")),
)
ARMCHAIRS = (
    Variant("club", partial(_armchair, style="club")),
    Variant("wing", partial(_armchair, style="wing")),
    Variant("wooden arms", partial(_armchair, style="wooden")),
    Variant("lounge", _lounge_chair),
    Variant("tub", partial(_armchair, style="tub")),
)
STOOLS = (
    Variant("round", partial(_stool, style="round")),
    Variant("square", partial(_stool, style="square")),
    Variant("pouf", partial(_stool, style="pouf")),
    Variant("bar", partial(_stool, style="bar")),
    Variant("camp", _camp_stool),
    Variant("bench", partial(_stool, style="bench")),
)
SOFAS = (
    Variant("legged", partial(_sofa, style="legged")),
    Variant("rolled arms", partial(_sofa, style="rolled")),
    Variant("armless", partial(_sofa, style="armless")),
    Variant("corner", partial(_sofa, style="corner")),
    Variant("futon", _futon),
    Variant("tall", partial(_sofa, style="tall")),
)
