"""Refrigerators, ovens and monitors."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import numpy as np

from geoguide3d.scenes.rooms.primitives import about_z, box
from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _refrigerator(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(0.62, 0.1), vary(0.62, 0.08), vary(1.75, 0.06)
    if style == "small":
        height = vary(0.95, 0.08)
    elif style == "double":
        width = vary(0.9, 0.06)
    front = depth / 2 + 0.03
    if style == "round top":
        shape.block("main", (width, depth, height * 0.85), (0, 0, 0.03), roundness=0.15)
        shape.block("main", (width * 0.96, 0.08, height * 0.8), (0, front - 0.02, 0.06), roundness=0.2)
        shape.box("metal", (0.03, 0.04, 0.2), (width * 0.36, front + 0.035, height * 0.5))
        return
    shape.box("main", (width, depth, height), (0, 0, 0))
    shape.box("dark", (width, 0.012, height), (0, depth / 2 + 0.006, 0))
    splits = {"freezer below": (0.36,), "freezer above": (0.7,), "small": (), "double": ()}[style]
    edges = [0.02, *(height * s for s in splits), height]
    for low, high in pairwise(edges):
        doors = 2 if style == "double" else 1
        for door in range(doors):
            x = (door - (doors - 1) / 2) * width / doors
            shape.box("main", (width / doors - 0.01, 0.045, high - low - 0.015), (x, front, low + 0.007))
            side = 1 if door == 0 else -1
            grip = x + side * (width / doors / 2 - 0.06)
            shape.box("metal", (0.025, 0.04, (high - low) * 0.45), (grip, front + 0.04, low + (high - low) * 0.3))


def _french_refrigerator(shape: Shape, vary: Vary) -> None:
    """Two doors above two wide drawers, with a water dispenser in one door, on a grille."""
    width, depth, height = vary(0.86, 0.06), vary(0.64, 0.06), vary(1.75, 0.05)
    front, split = depth / 2 + 0.035, height * 0.46
    shape.box("dark", (width - 0.04, depth - 0.06, 0.08), (0, 0, 0))
    shape.box("main", (width, depth, height - 0.08), (0, 0, 0.08))
    shape.box("dark", (width - 0.01, 0.012, height - 0.1), (0, depth / 2 + 0.006, 0.09))
    for low, high in ((0.09, split * 0.55), (split * 0.55, split)):
        shape.block("main", (width - 0.006, 0.07, high - low - 0.012), (0, front, low), roundness=0.12)
        shape.box("metal", (width * 0.75, 0.025, 0.025), (0, front + 0.07, high - 0.09))
        for x in (-0.34, 0.34):
            shape.box("metal", (0.02, 0.05, 0.02), (x * width, front + 0.045, high - 0.087))
    for side in (-1, 1):
        door = (width / 2 - 0.006, 0.07, height - split)
        shape.block("main", door, (side * width / 4, front, split), roundness=0.12)
        shape.box("metal", (0.025, 0.025, 0.5), (side * 0.05, front + 0.07, split + 0.08))
        for z in (split + 0.1, split + 0.53):
            shape.box("metal", (0.02, 0.05, 0.02), (side * 0.05, front + 0.045, z))
        shape.box("dark", (0.1, 0.1, 0.025), (side * (width / 2 - 0.07), depth / 2 - 0.03, height - 0.006))
    shape.box("screen", (width * 0.24, 0.012, 0.3), (-width * 0.28, front + 0.036, split + 0.3))
    shape.box("metal", (width * 0.22, 0.03, 0.02), (-width * 0.28, front + 0.045, split + 0.3))


def _oven(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(0.6, 0.06), vary(0.6, 0.05), vary(0.87, 0.03)
    if style == "tower":
        height = vary(1.5, 0.06)
    front = depth / 2
    shape.box("main", (width, depth, height), (0, 0, 0))
    low = height * (0.5 if style == "tower" else 0.2)
    shape.box("screen", (width * 0.8, 0.02, 0.36), (0, front + 0.01, low))
    shape.box("metal", (width * 0.8, 0.035, 0.025), (0, front + 0.03, low + 0.38))
    if style == "tower":
        shape.box("screen", (width * 0.8, 0.02, 0.22), (0, front + 0.01, low + 0.5))
        return
    for knob in range(4):
        mesh_at = ((knob - 1.5) * width * 0.2, front + 0.015, height - 0.09)
        shape.block("dark", (0.05, 0.04, 0.05), mesh_at, roundness=0.8)
    if style == "gas":
        for x in (-0.24, 0.24):
            for y in (-0.22, 0.2):
                shape.cylinder("dark", 0.085, 0.02, (x * width, y * depth, height))
                shape.box("metal", (0.2, 0.02, 0.015), (x * width, y * depth, height + 0.02))
                shape.box("metal", (0.02, 0.2, 0.015), (x * width, y * depth, height + 0.02))
    elif style == "glass top":
        shape.box("screen", (width * 0.96, depth * 0.92, 0.01), (0, 0, height))
    else:
        shape.box("metal", (width, 0.05, 0.22), (0, -depth / 2 + 0.025, height))
        for x in (-0.24, 0.24):
            shape.cylinder("dark", 0.09, 0.012, (x * width, 0.0, height))


def _range_cooker(shape: Shape, vary: Vary) -> None:
    """A wide cast-iron stove: four solid doors, a rail in front, and a domed lid over each of its two plates."""
    width, depth, height = vary(0.88, 0.06), vary(0.6, 0.05), vary(0.86, 0.03)
    front = depth / 2
    shape.box("dark", (width - 0.08, depth - 0.08, 0.08), (0, 0, 0))
    shape.box("main", (width, depth, height - 0.12), (0, 0, 0.08))
    shape.block("main", (width + 0.03, depth + 0.03, 0.05), (0, 0, height - 0.045), roundness=0.15)
    tall = (height - 0.3) / 2
    for low in (0.11, 0.13 + tall):
        for side in (-1, 1):
            x = side * width / 4
            shape.block("main", (width * 0.44, 0.05, tall), (x, front + 0.01, low), roundness=0.18)
            shape.box("metal", (0.03, 0.05, 0.1), (x - side * width * 0.16, front + 0.03, low + tall * 0.55))
            for z in (0.18, 0.68):
                shape.box("metal", (0.03, 0.025, 0.05), (x + side * width * 0.2, front + 0.03, low + z * tall))
    shape.block("metal", (width * 0.96, 0.025, 0.025), (0, front + 0.075, height - 0.1), roundness=0.3)
    for side in (-1, 1):
        shape.box("metal", (0.025, 0.08, 0.03), (side * width * 0.46, front + 0.035, height - 0.103))
        shape.cylinder("dark", width * 0.2, 0.015, (side * width * 0.24, 0.02, height))
        dome = [(0, 0), (width * 0.185, 0), (width * 0.175, 0.03), (width * 0.11, 0.06), (0, 0.07)]
        shape.turned("metal", dome, (side * width * 0.24, 0.02, height + 0.015))
        shape.block("dark", (0.12, 0.03, 0.025), (side * width * 0.24, 0.02, height + 0.08), roundness=0.5)


def _monitor(shape: Shape, vary: Vary, style: str) -> None:
    width = vary(0.54, 0.15)
    high, lift = width * vary(0.58, 0.05), vary(0.12, 0.2)
    if style == "tube":
        shape.cylinder("main", 0.12, 0.03, (0, -0.05, 0))
        shape.block("main", (width * 0.75, 0.3, width * 0.62), (0, -0.12, 0.03), roundness=0.2)
        shape.box("main", (width * 0.8, 0.06, width * 0.66), (0, 0.05, 0.02))
        shape.box("screen", (width * 0.68, 0.01, width * 0.52), (0, 0.083, 0.09))
        return
    if style == "laptop":
        shape.box("main", (0.36, 0.25, 0.02), (0, 0.06, 0))
        shape.box("dark", (0.31, 0.12, 0.004), (0, 0.04, 0.02))
        shape.box("main", (0.36, 0.012, 0.24), (0, -0.07, 0.02), lean=15)
        shape.box("screen", (0.33, 0.006, 0.2), (0, -0.065, 0.045), lean=15)
        return
    panels = 2 if style == "twin" else 1
    if style == "arched":
        for x in (-width * 0.36, width * 0.36):
            shape.box("main", (0.03, 0.16, 0.015), (x, 0.0, 0))
            shape.box("main", (0.03, 0.03, lift + 0.05), (x, -0.02, 0))
    else:
        shape.turned("main", [(0, 0), (0.12, 0), (0.12, 0.015), (0, 0.015)], (0, 0, 0), 0.8)
        shape.box("main", (0.045, 0.03, lift + 0.15), (0, -0.035, 0.01))
    if panels == 2:
        shape.box("main", (width * 0.9, 0.03, 0.03), (0, -0.03, lift + high * 0.4))
    for panel in range(panels):
        size = width * (0.78 if panels == 2 else 1.0)
        x = (panel - (panels - 1) / 2) * (size + 0.015)
        shape.box("main", (size, 0.03, high), (x, 0, lift))
        shape.box("screen", (size - 0.025, 0.006, high - 0.03), (x, 0.018, lift + 0.018))


def _curved_monitor(shape: Shape, vary: Vary) -> None:
    """A wide screen bent around the viewer, on a foot with two splayed toes."""
    width, lift = vary(0.72, 0.1), vary(0.13, 0.15)
    high, radius = width * vary(0.44, 0.05), vary(0.8, 0.1)
    panels = 7
    step = width / panels / radius  # radians between two neighbouring panels
    for panel in range(panels):
        turn = about_z((panel - panels // 2) * step)
        center = (0.0, radius, 0.0)  # the viewer's head; the panels stand around it
        frame = box((width / panels + 0.003, 0.03, high), (0, -radius, lift))
        glass = box((width / panels + 0.001, 0.006, high - 0.04), (0, -radius + 0.018, lift + 0.025))
        shape.add("main", frame.moved(turn, center))
        shape.add("screen", glass.moved(turn, center))
    shape.box("main", (0.07, 0.035, lift + high * 0.5), (0, -0.045, 0.005))
    shape.box("main", (0.16, 0.03, 0.16), (0, -0.03, lift + high * 0.3))
    for side in (-1, 1):
        toe = box((0.035, 0.26, 0.015), (0, 0.11, 0))
        shape.add("main", toe.moved(about_z(side * np.deg2rad(48)), (0, -0.05, 0)))


REFRIGERATORS = (
    *(
        Variant(style, partial(_refrigerator, style=style))
        for style in ("freezer below", "double", "small", "round top")
    ),
    Variant("french doors", _french_refrigerator),
    Variant("freezer above", partial(_refrigerator, style="freezer above")),
)
OVENS = (
    *(Variant(style, partial(_oven, style=style)) for style in ("gas", "glass top", "tower")),
    Variant("range cooker", _range_cooker),
    Variant("range", partial(_oven, style="range")),
)
MONITORS = (
    *(Variant(style, partial(_monitor, style=style), "surface") for style in ("flat", "twin", "tube", "laptop")),
    Variant("curved", _curved_monitor, "surface"),
    Variant("arched", partial(_monitor, style="arched"), "surface"),
)
