"""Plants, books, vases and rugs."""

from __future__ import annotations

from functools import partial

import numpy as np

from geoguide3d.scenes.rooms import primitives
from geoguide3d.scenes.rooms.shape import Shape, Variant, Vary


def _leaf(shape: Shape, angle: float, length: float, rise: float, z: float) -> None:
    """Adds a leaf that grows outwards from the middle at a height z and climbs by `rise` degrees."""
    blade = primitives.block((0.24 * length, length, 0.03), (0.0, length / 2, 0.0), roundness=0.9)
    blade = blade.tilted(rise, (0.0, 0.0, 0.0)).moved(primitives.about_z(angle), (0.0, 0.0, z))
    shape.add("main", blade)


def _plant(shape: Shape, vary: Vary, style: str) -> None:
    small = style in ("potted", "cactus", "succulent")
    radius = vary(0.07 if small else 0.15, 0.15)
    pot = radius * vary(1.7, 0.15)
    profile = [(0, 0), (radius * 0.7, 0), (radius, pot), (radius * 0.86, pot), (radius * 0.84, pot * 0.85)]
    shape.turned("pot", profile, (0, 0, 0))
    shape.cylinder("soil", radius * 0.84, 0.01, (0, 0, pot * 0.85))
    if style in ("potted", "fern", "succulent"):
        length = radius * vary(2.4, 0.15) * (1.4 if style == "fern" else 1.0)
        leaves = 12 if style != "succulent" else 16
        for leaf in range(leaves):
            rise = vary(65, 0.2) if leaf % 2 else vary(30, 0.4)
            _leaf(shape, leaf * 2.4, length * (0.6 if style == "succulent" else 1.0), rise, pot * 0.85)
    elif style == "cactus":
        shape.block("main", (radius, radius, radius * 3.4), (0, 0, pot * 0.85), roundness=0.5)
        shape.block("main", (radius * 0.5, radius * 0.5, radius * 1.4), (radius * 0.6, 0, pot + radius), roundness=0.6)
    elif style == "tree":
        trunk = vary(0.7)
        shape.cylinder("frame", 0.025, trunk, (0, 0, pot * 0.85))
        for x, y, z in ((0, 0, 0), (0.14, 0.06, -0.12), (-0.13, 0.08, -0.05), (0.02, -0.14, -0.1), (0, 0.05, 0.16)):
            size = vary(0.3, 0.15)
            shape.block("main", (size, size, size * 0.9), (x, y, pot + trunk + z - 0.1), roundness=0.9)
    elif style == "palm":
        trunk = vary(0.5)
        shape.cylinder("frame", 0.03, trunk, (0, 0, pot * 0.85), top=0.02)
        for leaf in range(11):
            _leaf(shape, leaf * 2.4, vary(0.5), vary(35, 0.8), pot * 0.85 + trunk)
    else:
        for leaf in range(8):
            _leaf(shape, leaf * 2.4, vary(0.75, 0.2), vary(78, 0.08), pot * 0.85)


def _climber(shape: Shape, vary: Vary) -> None:
    """Adds a square pot with a pole, and broad round leaves that hang all around it."""
    radius, tall = vary(0.15, 0.12), vary(0.8)
    pot = radius * vary(1.6, 0.12)
    shape.tub("pot", (2 * radius, 2 * radius, pot), (0, 0, 0), 0.75, wall=0.02)
    bed, top = radius * 0.8, pot * 0.85
    soil = [(0, 0), (bed, 0), (bed, 0.01), (0, 0.01)]
    shape.add("soil", primitives.lathe(soil, (0, 0, top), squareness=0.75))
    shape.cylinder("frame", 0.03, tall, (0, 0, top * 0.9))
    leaves = 22
    for leaf in range(leaves):
        share = leaf / (leaves - 1)
        size = vary(0.2, 0.15) * (1.0 - 0.35 * share)
        blade = primitives.block((size * 0.85, size, 0.02), (0, size / 2 + 0.01, 0), roundness=0.9)
        blade = blade.tilted(vary(-52, 0.25), (0, 0, 0))
        shape.add("main", blade.moved(primitives.about_z(leaf * 2.4), (0, 0, top + 0.22 + share * (tall - 0.2))))


def _book(shape: Shape, vary: Vary, style: str) -> None:
    deep, high = vary(0.16), vary(0.23)
    if style in ("flat", "stack"):
        z = 0.0
        for copy in range(1 if style == "flat" else vary.count(3, 4)):
            thick = vary(0.035, 0.3)
            width = high * vary(1.0, 0.08)
            shape.box("main" if copy % 2 == 0 else "frame", (width, deep, thick), (0, 0, z))
            z += thick
    elif style in ("row", "leaning"):
        copies = vary.count(5, 8)
        x = -copies * 0.019
        for copy in range(copies):
            thick, tall = vary(0.036, 0.3), high * vary(1.0, 0.12)
            shape.box("frame" if copy % 3 == 2 else "main", (thick - 0.003, deep, tall), (x, 0, 0))
            x += thick
        if style == "leaning":
            shape.box("main", (0.03, deep, high * 0.9), (x + 0.02, 0, 0))
            shape.box("main", (high * 0.8, deep, 0.03), (x + 0.16, 0, 0))
    else:
        for side in (-1, 1):
            shape.box("paper", (0.155, high, 0.014), (side * 0.08, 0, 0.012))
        shape.box("main", (0.39, high + 0.06, 0.012), (0, 0, 0))


def _standing_book(shape: Shape, vary: Vary) -> None:
    """Adds a book that stands upright, half open to the front, its pages fanned out."""
    deep, high = vary(0.16), vary(0.23)
    opening = float(np.deg2rad(vary(36, 0.2)))
    rear = (0.0, -deep / 2, 0.0)
    for side in (-1, 1):
        cover = primitives.box((0.008, deep, high), (0, deep / 2, 0))
        shape.add("main", cover.moved(primitives.about_z(side * opening), rear))
    shape.box("main", (0.04, 0.008, high), rear)
    for sheet in (-0.75, -0.5, -0.2, 0.15, 0.45, 0.8):
        pages = primitives.box((0.008, deep - 0.01, high - 0.012), (0, deep / 2 - 0.005, 0.004))
        shape.add("paper", pages.moved(primitives.about_z(sheet * opening), rear))


def _vase(shape: Shape, vary: Vary, style: str) -> None:
    radius, height = vary(0.075, 0.2), vary(0.26, 0.2)
    profiles = {
        "bottle": [(0, 0), (0.8, 0), (1.0, 0.4), (0.35, 0.7), (0.35, 1), (0.28, 1), (0.28, 0.7)],
        "bowl": [(0, 0), (0.6, 0), (1.5, 0.5), (1.4, 0.5), (0.5, 0.08), (0, 0.08)],
        "urn": [(0, 0), (0.6, 0), (0.5, 0.1), (1.2, 0.6), (0.7, 0.85), (0.9, 1), (0.8, 1), (0.6, 0.85)],
        "cylinder": [(0, 0), (0.7, 0), (0.7, 1), (0.6, 1), (0.6, 0.05), (0, 0.05)],
        "hourglass": [(0, 0), (0.9, 0), (0.4, 0.5), (1.0, 1), (0.9, 1), (0.3, 0.5)],
    }
    shape.turned("main", [(r * radius, z * height) for r, z in profiles[style]], (0, 0, 0))
    if style in ("cylinder", "bottle") and vary.count(0, 1):
        for flower in range(3):
            shape.cylinder("stem", 0.004, height * 0.5, ((flower - 1) * 0.03, 0, height * 0.8))
            shape.block("accent", (0.06, 0.06, 0.05), ((flower - 1) * 0.05, 0, height * 1.3), roundness=0.9)


def _moon_vase(shape: Shape, vary: Vary) -> None:
    """Adds a flask: a round body, flat from the side, on a foot, with a narrow neck between two ears."""
    size = vary(0.21, 0.15)
    shape.turned("main", [(0, 0), (size * 0.3, 0), (size * 0.22, 0.03), (0, 0.03)], (0, 0, 0), 0.7)
    shape.block("main", (size, size * 0.42, size), (0, 0, 0.015), roundness=1.0)
    shoulder = 0.015 + size * 0.95
    neck = [(0, 0), (0.13, 0), (0.1, 0.2), (0.16, 0.32), (0.12, 0.32), (0.07, 0.2), (0, 0.2)]
    shape.turned("main", [(r * size, z * size) for r, z in neck], (0, 0, shoulder))
    for side in (-1, 1):
        shape.box("main", (0.013, 0.018, size * 0.25), (side * size * 0.25, 0, shoulder - size * 0.1))
        shape.box("main", (size * 0.2, 0.018, 0.013), (side * size * 0.17, 0, shoulder + size * 0.14))


def _rug(shape: Shape, vary: Vary, style: str) -> None:
    width, depth, thick = vary(1.7, 0.2), vary(1.2, 0.15), 0.012
    if style == "plain":
        shape.box("main", (width, depth, thick), (0, 0, 0))
    elif style == "bordered":
        shape.box("frame", (width, depth, thick), (0, 0, 0))
        shape.box("main", (width - 0.24, depth - 0.24, thick + 0.003), (0, 0, 0))
    elif style == "round":
        shape.cylinder("main", depth * 0.62, thick, (0, 0, 0))
    elif style == "runner":
        shape.box("main", (width, depth * 0.5, thick), (0, 0, 0))
        for side in (-1, 1):
            shape.box("paper", (0.06, depth * 0.48, thick * 0.6), (side * (width / 2 + 0.03), 0, 0))
    else:
        shape.turned("main", [(0, 0), (width / 2, 0), (width / 2, thick), (0, thick)], (0, 0, 0), depth / width)


_HIDE_DEGREES = (0, 14, 24, 36, 46, 62, 90, 118, 136, 148, 162, 174, 180)  # from the neck to the tail
_HIDE_REACH = (0.95, 0.9, 0.74, 1.0, 0.98, 0.68, 0.6, 0.68, 1.0, 0.95, 0.72, 0.8, 0.9)


def _hide_rug(shape: Shape, vary: Vary) -> None:
    """Adds an animal's hide: legs, neck and tail reach out from the middle, and patches lie on it."""
    width, depth, thick = vary(1.75, 0.12), vary(1.25, 0.1), 0.012
    sheet = primitives.lathe([(0, 0), (1, 0), (1, thick), (0, thick)], (0, 0, 0), sides=60)
    x, y, _ = sheet.vertices.T
    far = np.interp(np.rad2deg(np.abs(np.arctan2(y, x))), _HIDE_DEGREES, _HIDE_REACH)
    scale = np.column_stack([far * width / 1.85, far * depth / 1.4, np.ones(len(far))])
    shape.add("main", primitives.Mesh(sheet.vertices * scale, sheet.triangles))
    for x_share, y_share, size in ((0.2, 0.08, 0.19), (-0.12, -0.12, 0.15), (-0.24, 0.14, 0.1)):
        profile = [(0, 0), (size, 0), (size, thick + 0.003), (0, thick + 0.003)]
        shape.turned("frame", profile, (x_share * width, y_share * depth, 0), vary(0.7, 0.2))


PLANTS = (
    Variant("fern", partial(_plant, style="fern")),
    Variant("potted", partial(_plant, style="potted"), "surface"),
    Variant("tree", partial(_plant, style="tree")),
    Variant("cactus", partial(_plant, style="cactus"), "surface"),
    Variant("palm", partial(_plant, style="palm")),
    Variant("succulent", partial(_plant, style="succulent"), "surface"),
    Variant("climber", _climber),
    Variant("sword", partial(_plant, style="sword")),
)
BOOKS = (
    *(Variant(style, partial(_book, style=style), "surface") for style in ("flat", "stack", "row", "open")),
    Variant("standing", _standing_book, "surface"),
    Variant("leaning", partial(_book, style="leaning"), "surface"),
)
VASES = (
    *(Variant(style, partial(_vase, style=style), "surface") for style in ("bottle", "bowl", "urn", "cylinder")),
    Variant("moon flask", _moon_vase, "surface"),
    Variant("hourglass", partial(_vase, style="hourglass"), "surface"),
)
RUGS = (
    *(Variant(style, partial(_rug, style=style)) for style in ("plain", "bordered", "round", "runner")),
    Variant("hide", _hide_rug),
    Variant("oval", partial(_rug, style="oval")),
)
