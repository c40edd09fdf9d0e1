"""What training never sees: shape variants, layouts, textures, and category × colour pairs, each by a fixed rule.

Validation and test rooms have a shape of their own for every category, so what is chosen by the ones is not chosen
for the shapes that training shows, nor for those that the others are judged by.
"""

from __future__ import annotations

import zlib
from typing import Literal, get_args

import numpy as np

from geoguide3d.scenes.rooms.categories import CATEGORIES, CATEGORY_OF, STRUCTURE
from geoguide3d.scenes.rooms.furniture import VARIANTS
from geoguide3d.scenes.rooms.shape import Variant

Split = Literal["train", "validation", "test"]
SPLITS: tuple[str, ...] = get_args(Split)


def stream(split: Split, seed: int, purpose: str, *numbers: int) -> np.random.Generator:
    """Returns the random stream of one purpose, so that a draw for one object never shifts another's."""
    key = [seed, SPLITS.index(split), zlib.crc32(purpose.encode()), *numbers]
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))


def held_out_color(category: str) -> str | None:
    """Returns the colour in which training never shows this category.

    None for walls, floors and ceilings, and where there is only one colour.
    """
    palette = CATEGORY_OF[category].colors
    if category in STRUCTURE or len(palette) == 1:
        return None
    return palette[(3 * CATEGORIES.index(category) + 1) % len(palette)]


def is_held_out(category: str, color: str) -> bool:
    """Says whether training never shows this category in this colour.

    Raises:
        KeyError: a category that is not in CATEGORIES.
    """
    return held_out_color(category) == color


def variants_for(category: str, split: Split) -> tuple[Variant, ...]:
    """Returns the shape variants that a split draws from; no two splits share one.

    Raises:
        KeyError: a category without shapes of its own: walls, floors and ceilings.
    """
    *seen, validation, test = VARIANTS[category]
    return {"train": tuple(seen), "validation": (validation,), "test": (test,)}[split]


def draw_color(category: str, split: Split, random: np.random.Generator) -> str:
    """Returns a colour word; test rooms take the held-out colour half of the time."""
    held_out = held_out_color(category)
    seen = [color for color in CATEGORY_OF[category].colors if color != held_out]
    surprise, choice = random.random() < 0.5, int(random.integers(len(seen)))
    return held_out if split == "test" and surprise and held_out is not None else seen[choice]
