"""Paints: what a surface reflects at a point, from a colour word, a material and a texture in three dimensions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from geoguide3d.scenes.rooms.categories import COLORS
from geoguide3d.scenes.rooms.primitives import Floats
from geoguide3d.scenes.rooms.splits import Split

TEXTURES_OF: dict[str, tuple[str, ...]] = {
    "wood": ("grain", "planks", "plain"),
    "metal": ("plain", "brushed"),
    "fabric": ("weave", "stripes", "plain"),
    "leather": ("pebble",),
    "ceramic": ("plain", "tiles"),
    "plastic": ("plain",),
    "glass": ("plain",),
    "stone": ("speckle", "tiles"),
    "paper": ("plain",),
    "plaster": ("pebble", "plain", "stripes"),
}
HELD_OUT_TEXTURES_OF: dict[str, tuple[str, ...]] = {
    "wood": ("rings",),
    "fabric": ("checker", "dots"),
    "stone": ("marble",),
    "ceramic": ("marble",),
    "plaster": ("dots",),
}
_HOLES = {"metal": 0.12, "glass": 0.55, "ceramic": 0.03, "leather": 0.02}


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
    base: tuple[float, float, float]
    other: tuple[float, float, float]
    scale: float = 10.0
    glow: float = 0.0
    holes: float = 0.0


def linear(srgb: Sequence[float] | Floats) -> Floats:
    """Returns linear RGB in [0, 1] of sRGB values in [0, 255]."""
    values = np.clip(np.asarray(srgb, dtype=np.float64) / 255.0, 0.0, 1.0)
    return np.asarray(values**2.2)


def _triple(values: Floats) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def _plain(color: Sequence[float], glow: float = 0.0, holes: float = 0.0) -> Paint:
    base = _triple(linear(color))
    return Paint("plain", base, base, glow=glow, holes=holes)


FIXED: dict[str, Paint] = {
    "dark": _plain((32, 32, 34), holes=0.15),
    "white": Paint("weave", _triple(linear((236, 234, 228))), _triple(linear((222, 220, 214))), 60.0),
    "metal": _plain((168, 170, 172), holes=0.25),
    "glass": _plain((150, 176, 184), holes=0.5),
    "mirror": Paint("sheen", _triple(linear((176, 196, 206))), _triple(linear((222, 234, 238))), 3.0, holes=0.6),
    "screen": Paint("sheen", _triple(linear((14, 18, 28))), _triple(linear((42, 52, 72))), 4.0, holes=0.45),
    "pane": Paint("sheen", _triple(linear((150, 190, 226))), _triple(linear((226, 238, 246))), 1.5, 0.9, 0.5),
    "leaf": Paint("speckle", _triple(linear((58, 112, 48))), _triple(linear((38, 84, 36))), 60.0),
    "soil": Paint("speckle", _triple(linear((62, 44, 32))), _triple(linear((40, 28, 20))), 90.0),
    "paper": _plain((230, 224, 206)),
    "tiles": Paint("tiles", _triple(linear((214, 220, 222))), _triple(linear((150, 158, 162))), 8.0),
    "trim": _plain((232, 230, 224)),
}


def draw_paint(color: str, material: str, split: Split, random: np.random.Generator) -> Paint:
    """Returns a paint for a colour word and a material, jittered; test rooms use held-out textures where there are."""
    jitter = random.normal(0.0, 9.0, 3) + random.normal(0.0, 10.0)
    base = linear(np.array(COLORS[color]) + jitter)
    textures = TEXTURES_OF[material]
    if split == "test" and random.random() < 0.6:
        textures = HELD_OUT_TEXTURES_OF.get(material, textures)
    texture = textures[int(random.integers(len(textures)))]
    scale = _SCALES[texture] * float(random.uniform(0.75, 1.3))
    lift = float(random.uniform(0.5, 0.72))
    other = base * lift + (0.02 if base.mean() < 0.06 else 0.0)
    if texture == "tiles":
        other = np.clip(base * 0.45 + 0.12, 0.0, 0.8)
    holes = _HOLES.get(material, 0.0) + (0.2 if color == "black" else 0.0)
    return Paint(texture, _triple(base), _triple(other), scale, holes=holes)


def _hashed(cells: Floats) -> Floats:
    whole = cells.astype(np.int64)
    mixed = whole[:, 0] * 73856093 ^ whole[:, 1] * 19349663 ^ whole[:, 2] * 83492791
    mixed = (mixed ^ (mixed >> 13)) * 1274126177 & 0x7FFFFFFF
    return np.asarray((mixed ^ (mixed >> 15)) % 1024 / 1023.0)


def _texture_plain(p: Floats) -> Floats:
    return np.zeros(len(p))


def _texture_grain(p: Floats) -> Floats:
    across = p[:, 1] + 0.8 * p[:, 2] + 0.25 * np.sin(0.35 * p[:, 0]) + 0.15 * np.sin(1.1 * p[:, 0] + 2.0 * p[:, 1])
    return np.asarray(0.5 + 0.5 * np.sin(2 * np.pi * across)) ** 2


def _texture_planks(p: Floats) -> Floats:
    rows = np.floor(p[:, 1:2])
    cells = np.column_stack([np.floor(p[:, :1] * 0.12 + rows * 0.37), rows, np.floor(p[:, 2:] * 0.5)])
    seam = np.mod(p[:, 1], 1.0) < 0.06
    return np.where(seam, 1.0, 0.6 * _hashed(cells) + 0.1 * np.sin(9 * p[:, 1] + np.sin(p[:, 0])))


def _texture_rings(p: Floats) -> Floats:
    radius = np.hypot(np.mod(p[:, 0] * 0.3, 4.0) - 2.0, p[:, 1] + p[:, 2] * 0.5)
    return np.asarray(np.mod(radius, 1.0))


def _texture_brushed(p: Floats) -> Floats:
    return 0.5 * _hashed(np.floor(p * (0.05, 1.0, 1.0)))


def _texture_weave(p: Floats) -> Floats:
    return np.asarray(0.5 + 0.25 * (np.sin(2 * np.pi * p[:, 0]) + np.sin(2 * np.pi * (p[:, 1] + p[:, 2]))))


def _texture_stripes(p: Floats) -> Floats:
    return (np.mod(p[:, 0] + 0.35 * p[:, 1], 1.0) < 0.4).astype(np.float64)


def _texture_pebble(p: Floats) -> Floats:
    return 0.35 * _hashed(np.floor(p))


def _texture_speckle(p: Floats) -> Floats:
    return np.asarray(_hashed(np.floor(p)) ** 2)


def _texture_tiles(p: Floats) -> Floats:
    return np.asarray((np.mod(p, 1.0) < 0.05).any(axis=1)).astype(np.float64)


def _texture_checker(p: Floats) -> Floats:
    return np.asarray(np.floor(p).sum(axis=1) % 2)


def _texture_dots(p: Floats) -> Floats:
    return (np.square(np.mod(p, 1.0) - 0.5).sum(axis=1) < 0.12).astype(np.float64)


def _texture_marble(p: Floats) -> Floats:
    bent = p[:, 0] + p[:, 1] * 0.6 + p[:, 2] + 1.5 * np.sin(0.7 * p[:, 1]) + 0.8 * np.sin(1.9 * p[:, 0] + p[:, 2])
    return np.asarray(np.abs(np.sin(bent))) ** 0.3 * -0.8 + 0.8


def _texture_sheen(p: Floats) -> Floats:
    return np.asarray(0.5 + 0.5 * np.sin(p[:, 0] + 1.7 * p[:, 2]))


TEXTURES: dict[str, Callable[[Floats], Floats]] = {
    "plain": _texture_plain,
    "grain": _texture_grain,
    "planks": _texture_planks,
    "rings": _texture_rings,
    "brushed": _texture_brushed,
    "weave": _texture_weave,
    "stripes": _texture_stripes,
    "pebble": _texture_pebble,
    "speckle": _texture_speckle,
    "tiles": _texture_tiles,
    "checker": _texture_checker,
    "dots": _texture_dots,
    "marble": _texture_marble,
    "sheen": _texture_sheen,
}
_SCALES = {
    "plain": 1.0,
    "grain": 14.0,
    "planks": 8.0,
    "rings": 16.0,
    "brushed": 120.0,
    "weave": 70.0,
    "stripes": 9.0,
    "pebble": 80.0,
    "speckle": 70.0,
    "tiles": 4.5,
    "checker": 9.0,
    "dots": 10.0,
    "marble": 7.0,
}


class PaintTable:
    """Evaluates many paints at many points at once.

    Args:
        paints: row i is the paint with id i.
    """

    def __init__(self, paints: Sequence[Paint]) -> None:
        names = list(TEXTURES)
        self._texture = np.array([names.index(paint.texture) for paint in paints])
        self._base = np.array([paint.base for paint in paints])
        self._other = np.array([paint.other for paint in paints])
        self._scale = np.array([paint.scale for paint in paints])
        self.glow = np.array([paint.glow for paint in paints])
        self.holes = np.array([paint.holes for paint in paints])

    def albedo(self, points: Floats, ids: np.ndarray) -> Floats:
        """Returns (M, 3) linear RGB of the paints `ids` (M,) at points (M, 3), metres in the objects' own frames."""
        mix = np.zeros(len(points))
        textures = self._texture[ids]
        for index, texture in enumerate(TEXTURES.values()):
            rows = np.flatnonzero(textures == index)
            if len(rows) and index:
                mix[rows] = texture((points[rows] + 0.0137) * self._scale[ids[rows], None])
        weight = np.clip(mix, 0.0, 1.0)[:, None]
        return self._base[ids] * (1.0 - weight) + self._other[ids] * weight
