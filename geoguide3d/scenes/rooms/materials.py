"""Paints: what a surface reflects at a point, from a colour word, a material word and a texture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from geoguide3d.scenes.rooms.categories import COLORS
from geoguide3d.scenes.rooms.primitives import Floats, Ints, Triple
from geoguide3d.scenes.rooms.splits import Split
from geoguide3d.scenes.rooms.textures import TEXTURES, Singles

TEXTURES_OF: dict[str, tuple[str, ...]] = {
    "wood": ("grain", "grain", "planks", "boards"),
    "metal": ("plain", "brushed"),
    "fabric": ("weave", "stripes", "plain", "pebble"),
    "leather": ("pebble",),
    "ceramic": ("plain",),
    "plastic": ("plain",),
    "glass": ("plain", "sheen"),
    "stone": ("speckle",),
    "tile": ("tiles",),
    "paper": ("plain",),
    "plaster": ("pebble", "plain", "wallpaper"),
}
HELD_OUT_TEXTURES_OF: dict[str, tuple[str, ...]] = {
    "wood": ("rings",),
    "fabric": ("checker", "dots"),
    "stone": ("marble",),
    "ceramic": ("marble",),
    "tile": ("bricks",),
}
_SIDE_ROLES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {  # colours and materials of what is not "main"
    "frame": (("brown", "beige", "white", "black", "gray"), ("wood", "wood", "metal")),
    "accent": (("red", "yellow", "blue", "orange", "pink"), ("paper",)),
    "pot": (("brown", "white", "orange", "gray", "blue"), ("ceramic",)),
    "stem": (("green",), ("plastic",)),
}
_LAMP_GLOW = 0.5
_HOLES = {"metal": 0.12, "glass": 0.55, "ceramic": 0.03, "leather": 0.02}
_BLACK_HOLES = 0.2
_PLASTER_WHITE = 0.5  # share of white in wall paint
GAMMA = 2.0  # of the pictures; a square root is far cheaper than 2.2


@dataclass(frozen=True)
class Paint:
    """How one surface looks.

    Args:
        texture: a name in `TEXTURES`.
        base: linear RGB where the texture is 0.
        other: linear RGB where the texture is 1.
        scale: texture features per metre.
        glow: light that it sends out by itself, as a multiple of its colour.
        holes: share of its pixels in which a depth sensor sees nothing.
    """

    texture: str
    base: Triple
    other: Triple
    scale: float = 10.0
    glow: float = 0.0
    holes: float = 0.0


def _linear(color: Sequence[float] | Floats) -> Triple:
    """Returns linear RGB in [0, 1] of picture values in [0, 255]."""
    red, green, blue = np.clip(np.asarray(color, dtype=np.float64) / 255.0, 0.0, 1.0) ** GAMMA
    return float(red), float(green), float(blue)


def _fixed(texture: str, base: Triple, other: Triple, scale: float, holes: float = 0.0) -> Paint:
    return Paint(texture, _linear(base), _linear(other), scale, holes=holes)


FIXED: dict[str, Paint] = {
    "dark": _fixed("plain", (32, 32, 34), (32, 32, 34), 1.0, holes=0.15),
    "white": _fixed("weave", (236, 234, 228), (222, 220, 214), 60.0),
    "metal": _fixed("plain", (168, 170, 172), (168, 170, 172), 1.0, holes=0.25),
    "glass": _fixed("sheen", (138, 168, 178), (172, 196, 202), 5.0, holes=0.5),
    "mirror": _fixed("sheen", (170, 192, 204), (222, 234, 240), 6.0, holes=0.6),
    "screen": _fixed("sheen", (14, 18, 28), (48, 60, 84), 8.0, holes=0.45),
    "pane": Paint("sky", _linear((96, 128, 88)), _linear((168, 204, 236)), 1.0, glow=0.75, holes=0.5),
    "soil": _fixed("speckle", (62, 44, 32), (40, 28, 20), 90.0),
    "paper": _fixed("plain", (230, 224, 206), (230, 224, 206), 1.0),
    "tiles": _fixed("tiles", (222, 226, 228), (150, 158, 162), 8.0),
    "trim": _fixed("plain", (232, 230, 224), (232, 230, 224), 1.0),
}


def draw_paint(color: str, material: str, split: Split, random: np.random.Generator) -> Paint:
    """Returns a jittered paint for a colour word and a material word; test rooms use held-out textures often."""
    jitter = random.normal(0.0, 4.5, 3) + random.normal(0.0, 12.0)
    mixed = np.array(COLORS[color]) + jitter
    if material == "plaster":
        mixed = (1 - _PLASTER_WHITE) * mixed + _PLASTER_WHITE * 246.0
    textures = TEXTURES_OF[material]
    if split == "test" and random.random() < 0.7:
        textures = HELD_OUT_TEXTURES_OF.get(material, textures)
    name = textures[int(random.integers(len(textures)))]
    texture = TEXTURES[name]
    other = mixed * np.sqrt(random.uniform(*texture.shade))
    if mixed.mean() < 70:
        other = mixed + 38.0  # on black only a lighter pattern shows
    holes = _HOLES.get(material, 0.0) + (_BLACK_HOLES if color == "black" else 0.0)
    return Paint(name, _linear(mixed), _linear(other), texture.scale * float(random.uniform(0.75, 1.3)), holes=holes)


def draw_paints(color: str, material: str, split: Split, random: np.random.Generator) -> dict[str, Paint]:
    """Returns the paint of every role that a part may have, for an object of this colour and material."""
    paints = {**FIXED, "main": draw_paint(color, material, split, random)}
    paints["lit"] = replace(paints["main"], glow=_LAMP_GLOW, holes=0.0)
    for role, (colors, materials) in _SIDE_ROLES.items():
        side_color, side_material = (words[int(random.integers(len(words)))] for words in (colors, materials))
        paints[role] = draw_paint(side_color, side_material, split, random)
    return paints


class PaintTable:
    """Evaluates many paints at many points at once.

    Args:
        paints: row i is the paint with id i.

    Attributes:
        glow: (P,) and
        holes: (P,) the paints' own.
    """

    def __init__(self, paints: Sequence[Paint]) -> None:
        names = list(TEXTURES)
        self._texture = np.array([names.index(paint.texture) for paint in paints])
        self._base = np.array([paint.base for paint in paints], dtype=np.float32)
        self._change = np.array([paint.other for paint in paints], dtype=np.float32) - self._base
        self._scale = np.array([paint.scale for paint in paints], dtype=np.float32)
        self.glow = np.array([paint.glow for paint in paints], dtype=np.float32)
        self.holes = np.array([paint.holes for paint in paints], dtype=np.float32)

    def albedo(self, points: Singles, ids: Ints) -> Singles:
        """Returns (M, 3) linear RGB of the paints `ids` (M,) at points (M, 3), metres in the objects' own frames."""
        mix = np.zeros(len(points), dtype=np.float32)
        textures = self._texture[ids]
        for index, texture in enumerate(TEXTURES.values()):
            rows = np.flatnonzero(textures == index)
            if len(rows) == 0:
                continue
            scaled = points[rows] + np.float32(0.0137)  # off the faces, which lie on the patterns' seams
            mix[rows] = texture.pattern(scaled * self._scale[ids[rows], None])
        return self._base.take(ids, axis=0) + np.clip(mix, 0.0, 1.0)[:, None] * self._change.take(ids, axis=0)
