"""Tables, desks and nightstands."""

from __future__ import annotations

from functools import partial

from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _table(shape: Shape, vary: Vary, style: str) -> None:
    low = vary.count(0, 2) == 0
    height = vary(0.42 if low else 0.73, 0.06)
    width, depth = vary(1.0 if low else 1.3, 0.2), vary(0.6 if low else 0.8, 0.12)
    top = vary(0.035, 0.3)
    if style == "four legs":
        shape.legs("frame", (width - 0.12, depth - 0.12), height, vary(0.03, 0.3), square=True)
        shape.box("main", (width, depth, top), (0, 0, height))
    elif style == "round":
        depth = width = vary(0.9, 0.15)
        shape.cylinder("frame", 0.28, 0.03, (0, 0, 0))
        shape.cylinder("frame", 0.05, height - 0.03, (0, 0, 0.03))
        shape.cylinder("main", width / 2, top, (0, 0, height))
    elif style == "trestle":
        for x in (-width * 0.36, width * 0.36):
            shape.box("frame", (0.05, depth * 0.8, 0.05), (x, 0, 0))
            shape.box("frame", (0.06, 0.12, height), (x, 0, 0))
        shape.box("frame", (width * 0.7, 0.05, 0.08), (0, 0, height * 0.45))
        shape.box("main", (width, depth, top), (0, 0, height))
    elif style == "slab sides":
        for x in (-width / 2 + 0.03, width / 2 - 0.03):
            shape.box("main", (0.06, depth, height), (x, 0, 0))
        shape.box("main", (width, depth, top * 1.4), (0, 0, height))
    elif style == "sawbuck":
        for x in (-width * 0.34, width * 0.34):
            shape.crossed_legs("frame", x, depth * 0.82, height, 0.055)
            shape.box("frame", (0.12, depth * 0.85, 0.04), (x, 0, height - 0.04))
        shape.box("frame", (width * 0.66, 0.05, 0.06), (0, 0, height / 2 - 0.03))
        for step in range(5):
            shape.box("main", (width, depth / 5 - 0.008, top), (0, (step - 2) * depth / 5, height))
    else:
        shape.legs("metal", (width * 0.72, depth * 0.62), height, 0.025)
        shape.turned("main", [(0, 0), (width / 2, 0), (width / 2, top), (0, top)], (0, 0, height), depth / width)
    edge = 0.62 if style in ("round", "oval") else 0.86
    thick = top * 1.4 if style == "slab sides" else top
    shape.support(height + thick, (width * edge, depth * edge))


def _desk(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(1.3), vary(0.65, 0.1), vary(0.73, 0.04)
    shape.box("main", (width, depth, 0.035), (0, 0, height))
    if style in ("drawers", "double"):
        sides = (-1, 1) if style == "double" else (vary.pick((-1, 1)),)
        for side in sides:
            x = side * (width / 2 - 0.2)
            shape.box("main", (0.38, depth - 0.06, height), (x, 0, 0))
            for step in range(3):
                shape.box("frame", (0.34, 0.012, height / 3 - 0.03), (x, depth / 2 - 0.025, 0.02 + step * height / 3))
                shape.box("metal", (0.12, 0.02, 0.015), (x, depth / 2 - 0.005, (step + 0.55) * height / 3))
        if style == "drawers":
            shape.box("main", (0.035, depth - 0.06, height), (-sides[0] * (width / 2 - 0.02), 0, 0))
    elif style == "legs":
        shape.legs("metal", (width - 0.08, depth - 0.08), height, 0.025, square=True)
        shape.box("main", (width - 0.1, 0.02, 0.25), (0, -depth / 2 + 0.06, height - 0.25))
    elif style == "panels":
        for x in (-width / 2 + 0.02, width / 2 - 0.02):
            shape.box("main", (0.035, depth, height), (x, 0, 0))
        shape.box("main", (width - 0.08, 0.02, 0.4), (0, -depth / 2 + 0.05, height - 0.4))
    else:
        for x in (-width * 0.38, width * 0.38):
            shape.box("frame", (0.08, depth * 0.9, 0.04), (x, 0, 0))
            shape.box("frame", (0.07, 0.07, height - 0.04), (x, 0, 0.04))
        shape.box("main", (width * 0.9, 0.02, 0.3), (0, -depth / 2 + 0.01, height + 0.035))
    shape.support(height + 0.035, (width * 0.9, depth * 0.75))


def _secretary(shape: Shape, vary: Vary) -> None:
    """A desk with a row of drawers under its top and a tower of pigeonholes at each end, joined by a shelf."""
    width, depth, height = vary(1.2), vary(0.68, 0.08), vary(0.73, 0.04)
    tall, deep = vary(0.42), vary(0.22, 0.08)
    shape.legs("main", (width - 0.08, depth - 0.08), height - 0.13, 0.028)
    shape.box("main", (width, depth - 0.02, 0.13), (0, 0, height - 0.13))
    for step in range(3):
        x = (step - 1) * (width - 0.02) / 3
        shape.box("frame", (width / 3 - 0.04, 0.015, 0.1), (x, depth / 2 - 0.004, height - 0.115))
        shape.block("metal", (0.025, 0.025, 0.025), (x, depth / 2 + 0.012, height - 0.08), 0.9)
    shape.box("main", (width + 0.02, depth, 0.03), (0, 0, height))
    top, back = height + 0.03, -depth / 2 + deep / 2
    shape.box("main", (width, deep, 0.025), (0, back, top + tall))
    shape.box("main", (width, deep, 0.02), (0, back, top + tall * 0.58))
    for side in (-1, 1):
        for x in (width / 2 - 0.01, width / 4):
            shape.box("main", (0.02, deep, tall), (side * x, back, top))
        shape.box("main", (width / 4, deep, 0.015), (side * width * 0.375, back, top + tall * 0.28))
        shape.box("main", (width / 4, 0.012, tall), (side * width * 0.375, -depth / 2 + 0.006, top))
    shape.support(top, (width * 0.9, depth - deep - 0.04), (0, deep / 2), 1.0)


def _nightstand(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, height = vary(0.45), vary(0.4, 0.1), vary(0.5)
    if style == "drawers":
        shape.box("main", (width, depth, height), (0, 0, 0))
        for step in range(2):
            shape.box(
                "frame", (width - 0.05, 0.015, height / 2 - 0.05), (0, depth / 2 + 0.007, 0.03 + step * height / 2)
            )
            shape.block("metal", (0.03, 0.03, 0.03), (0, depth / 2 + 0.03, (step + 0.5) * height / 2), 0.9)
    elif style == "open":
        for x in (-width / 2 + 0.015, width / 2 - 0.015):
            shape.box("main", (0.03, depth, height), (x, 0, 0))
        shape.box("main", (width - 0.06, depth, 0.025), (0, 0, 0.12))
        shape.box("main", (width, depth, 0.025), (0, 0, height))
    elif style == "legged":
        shape.legs("frame", (width - 0.06, depth - 0.06), height * 0.55, 0.02)
        shape.box("main", (width, depth, height * 0.45), (0, 0, height * 0.55))
        shape.box("frame", (width - 0.06, 0.015, height * 0.3), (0, depth / 2 + 0.007, height * 0.62))
    elif style == "pedestal":
        shape.box("main", (width * 0.8, depth * 0.8, 0.03), (0, 0, 0))
        shape.box("main", (0.09, 0.09, height - 0.2), (0, 0, 0.03))
        shape.box("main", (width * 0.86, depth * 0.86, 0.17), (0, 0, height - 0.17))
        shape.box("frame", (width * 0.76, 0.015, 0.12), (0, depth * 0.43 + 0.007, height - 0.145))
        shape.block("metal", (0.03, 0.03, 0.03), (0, depth * 0.43 + 0.025, height - 0.1), 0.9)
        shape.box("main", (width, depth, 0.025), (0, 0, height))
    else:
        shape.cylinder("main", width / 2, height, (0, 0, 0))
        shape.cylinder("frame", width / 2 + 0.015, 0.025, (0, 0, height))
    shape.support(height + 0.025, (width * 0.7, depth * 0.7))


TABLES = tuple(
    Variant(style, partial(_table, style=style))
    for style in ("four legs", "round", "trestle", "slab sides", "sawbuck", "oval")
)
DESKS = (
    *(Variant(style, partial(_desk, style=style)) for style in ("drawers", "legs", "panels", "double")),
    Variant("secretary", _secretary),
    Variant("column legs", partial(_desk, style="column legs")),
)
NIGHTSTANDS = tuple(
    Variant(style, partial(_nightstand, style=style)) for style in ("drawers", "open", "legged", "pedestal", "round")
)
