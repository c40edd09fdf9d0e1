"""What 2D networks get wrong, done on purpose: four ways to spoil what a view says of the objects that it shows."""

from __future__ import annotations

from dataclasses import astuple, dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor
from torch.nn.functional import normalize

Ids = NDArray[np.int64]  # (H, W) object that each pixel shows, -1 = nothing
_LIKENESS = 0.1  # scale of cosines: a word closer by so much is e times as likely to be said instead


@dataclass(frozen=True)
class Errors:
    """How much of each kind; none by default.

    Args:
        bleeding_px: half of the objects grow by so much in a view, and all labels shift by half as much.
        flips: chance that an object is called by another word in a view.
        parts: chance that the part of an object beyond a line through its middle is called wall in a view.
        drift_degrees: turn of an object's vector towards another word, in views from the side where it is largest.
    """

    bleeding_px: float = 0.0
    flips: float = 0.0
    parts: float = 0.0
    drift_degrees: float = 0.0

    def scaled(self, strength: float) -> Errors:
        """Returns strength times as much of each."""
        return Errors(*(strength * value for value in astuple(self)))


def grown(ids: Ids, growing: NDArray[np.bool_], reach_px: float) -> Ids:
    """Returns the ids with some objects larger: pixels within reach of one take its id, those of nothing do not.

    Args:
        growing: (O,) objects that grow.
    """
    sources = (ids >= 0) & growing[ids]
    if reach_px < 1 or not sources.any():
        return ids
    distance, nearest = ndimage.distance_transform_edt(~sources, return_indices=True)
    taken = (distance <= reach_px) & (ids >= 0)
    return np.where(taken, ids[tuple(nearest)], ids)


def shifted(ids: Ids, down: int, across: int) -> Ids:
    """Returns the ids moved by so many pixels; what moves in from outside is the edge's."""
    rows = np.clip(np.arange(ids.shape[0]) - down, 0, ids.shape[0] - 1)
    columns = np.clip(np.arange(ids.shape[1]) - across, 0, ids.shape[1] - 1)
    return ids[rows[:, None], columns]


def beyond_line(ids: Ids, cut: NDArray[np.bool_], angles: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Returns (H, W): pixels of objects to be cut that lie beyond a line through the middle of the object's pixels.

    Args:
        cut: (O,) objects to be cut.
        angles: (O,) radians from the image's right towards its bottom, of the direction away from what is kept.
    """
    rows, columns = np.nonzero((ids >= 0) & cut[ids])
    own = ids[rows, columns]
    along = columns * np.cos(angles[own]) + rows * np.sin(angles[own])
    sizes = np.bincount(own, minlength=len(cut))
    middle = np.bincount(own, along, minlength=len(cut)) / np.maximum(sizes, 1)
    found = np.zeros(ids.shape, dtype=np.bool_)
    found[rows, columns] = along > middle[own]
    return found


def confusions(words: Tensor) -> NDArray[np.float64]:
    """Returns (K, K) chances that a word is said instead of each other one: the more alike the words, the larger.

    Likeness is the cosine as seen from the mean word; all words lie in one narrow cone.

    Args:
        words: (K, C) unit vectors.
    """
    seen = normalize(words - words.mean(dim=0), dim=1).to(torch.float64)
    likeness = seen @ seen.T / _LIKENESS
    return likeness.fill_diagonal_(-torch.inf).softmax(dim=1).numpy()


def drawn_confusions(chances: NDArray[np.float64], labels: Ids, uniform: NDArray[np.float64]) -> Ids:
    """Returns (O,) another category for each object, from (K, K) chances and (O,) numbers in [0, 1)."""
    upper = chances[labels].cumsum(axis=1)
    return np.argmax(upper > uniform[:, None] * upper[:, -1:], axis=1)


def turned(
    vectors: Tensor,  # (O, C) unit
    towards: Tensor,  # (O, C)
    radians: Tensor,  # (O,)
) -> Tensor:
    """Returns (O, C) the unit vectors turned by an angle, in the planes that they span with others."""
    across = normalize(towards - (towards * vectors).sum(dim=1, keepdim=True) * vectors, dim=1)
    return radians.cos()[:, None] * vectors + radians.sin()[:, None] * across
