"""Textures: patterns in three dimensions, each a number in [0, 1] per point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Singles = NDArray[np.float32]

_TURN = np.float32(2 * np.pi)


@dataclass(frozen=True)
class Texture:
    """A pattern and how it is used.

    Args:
        pattern: (M, 3) float32 points, already scaled, → (M,) float32 in [0, 1].
        scale: its features per metre.
        shade: darkest and lightest factor on a colour where the pattern is 1.
    """

    pattern: Callable[[Singles], Singles]
    scale: float = 1.0
    shade: tuple[float, float] = (0.6, 0.75)


def _single(values: NDArray[np.generic]) -> Singles:
    return values.astype(np.float32, copy=False)


def _hashed(x: Singles, y: Singles, z: Singles) -> Singles:
    """Returns a number in [0, 1] for every cell of the unit grid."""
    whole = [np.floor(axis).astype(np.int32).view(np.uint32) for axis in (x, y, z)]
    mixed = whole[0] * np.uint32(73856093) ^ whole[1] * np.uint32(19349663) ^ whole[2] * np.uint32(83492791)
    mixed = (mixed ^ (mixed >> np.uint32(13))) * np.uint32(1274126177)
    return _single(mixed >> np.uint32(20)) / np.float32(4095)


def _plain(p: Singles) -> Singles:
    return np.zeros(len(p), dtype=np.float32)


def _grain(p: Singles) -> Singles:
    x, across = p[:, 0], p[:, 1] + 0.8 * p[:, 2]
    bent = across + 1.6 * np.sin(0.02 * x) + 0.7 * np.sin(0.055 * x + 0.1 * across)
    return _single(np.square(0.5 + 0.5 * np.sin(bent)))


def _planks(p: Singles) -> Singles:
    row = np.floor(p[:, 1])
    tone = _hashed(_single(p[:, 0] * 0.12 + row * 0.37), row, _single(p[:, 2] * 0.5))
    return _single(np.where(p[:, 1] - row < 0.05, 1.0, 0.7 * tone))


def _boards(p: Singles) -> Singles:
    row = np.floor(p[:, 0])
    tone = _hashed(row, row, row)
    return _single(np.where(p[:, 0] - row < 0.05, 1.0, 0.5 * tone + 0.15 * np.sin(31.0 * p[:, 0] + np.sin(p[:, 2]))))


def _rings(p: Singles) -> Singles:
    radius = np.hypot(np.mod(p[:, 0] * 0.15, 8.0) - 4.0, p[:, 1] + p[:, 2] * 0.5)
    return _single(np.mod(radius, 1.0))


def _brushed(p: Singles) -> Singles:
    return _hashed(_single(0.05 * p[:, 0]), p[:, 1], p[:, 2])


def _weave(p: Singles) -> Singles:
    return _single(0.5 + 0.25 * (np.sin(_TURN * p[:, 0]) + np.sin(_TURN * (p[:, 1] + p[:, 2]))))


def _stripes(p: Singles) -> Singles:
    return _single(np.mod(p[:, 0] + 0.35 * p[:, 1], 1.0) < 0.4)


def _pebble(p: Singles) -> Singles:
    return _hashed(p[:, 0], p[:, 1], p[:, 2])


def _speckle(p: Singles) -> Singles:
    return np.square(_pebble(p))


def _tiles(p: Singles) -> Singles:
    return _single(np.min(np.mod(p, 1.0), axis=1) < 0.06)


def _bricks(p: Singles) -> Singles:
    row = np.floor(p[:, 2] + 0.02)
    joint = np.mod(p[:, 2], 1.0) < 0.1
    return _single(joint | (np.mod(0.5 * (p[:, 0] + p[:, 1]) + 0.5 * row, 1.0) < 0.05))


def _checker(p: Singles) -> Singles:
    return _single(np.mod(np.floor(p).sum(axis=1), 2.0))


def _dots(p: Singles) -> Singles:
    return _single(np.square(np.mod(p, 1.0) - 0.5).sum(axis=1) < 0.14)


def _marble(p: Singles) -> Singles:
    bent = p[:, 0] + p[:, 1] * 0.6 + p[:, 2] + 1.5 * np.sin(0.7 * p[:, 1]) + 0.8 * np.sin(1.9 * p[:, 0] + p[:, 2])
    return _single(np.square(1.0 - np.sqrt(np.abs(np.sin(bent)))))


def _sheen(p: Singles) -> Singles:
    return _single(0.5 + 0.5 * np.sin(p[:, 0] + 1.7 * p[:, 2]))


def _sky(p: Singles) -> Singles:
    hills = 0.3 + 0.06 * np.sin(5.0 * p[:, 0]) + 0.03 * np.sin(13.0 * p[:, 0])
    return _single(np.clip((p[:, 2] - hills) * 12.0, 0.0, 1.0))


TEXTURES: dict[str, Texture] = {
    "plain": Texture(_plain),
    "grain": Texture(_grain, 260.0, (0.72, 0.85)),
    "planks": Texture(_planks, 8.0, (0.6, 0.75)),
    "boards": Texture(_boards, 9.0, (0.6, 0.75)),
    "rings": Texture(_rings, 28.0, (0.6, 0.75)),
    "brushed": Texture(_brushed, 120.0, (0.8, 0.88)),
    "weave": Texture(_weave, 60.0, (0.6, 0.75)),
    "stripes": Texture(_stripes, 9.0, (0.55, 0.7)),
    "wallpaper": Texture(_stripes, 6.0, (0.82, 0.9)),
    "pebble": Texture(_pebble, 80.0, (0.82, 0.9)),
    "speckle": Texture(_speckle, 70.0, (0.5, 0.65)),
    "tiles": Texture(_tiles, 4.5, (0.4, 0.6)),
    "bricks": Texture(_bricks, 9.0, (0.5, 0.65)),
    "checker": Texture(_checker, 9.0, (0.5, 0.65)),
    "dots": Texture(_dots, 10.0, (0.5, 0.65)),
    "marble": Texture(_marble, 7.0, (0.35, 0.5)),
    "sheen": Texture(_sheen, 3.0),
    "sky": Texture(_sky, 1.0),
}
