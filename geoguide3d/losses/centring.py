"""Directions as seen from the mean direction of the teacher, because text and image features share a narrow cone.

Two CLIP features of different things have a cosine of 0.7 to 0.9, so 1 − cos hardly tells them apart. Seen from the
mean unit teacher feature of the training scenes, which is fixed and stored with the model, they do differ.
"""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.ops.direction_sums import NEAREST
from geoguide3d.ops.unit_rows import SHORTEST_ROW


def centred(
    vectors: Tensor,  # (N, C)
    mean: Tensor | None,  # (C,)
) -> Tensor:
    """Returns (N, C): each vector divided by its length, minus mean; unit vectors where mean is None or zero.

    Whoever compares by cosine compares `centred` of both sides. A row of zeros counts as the zero vector, so it becomes
    −mean. Half types come back as float32.
    """
    wide = vectors if vectors.dtype == torch.float64 else vectors.to(torch.float32)
    unit = torch.nn.functional.normalize(wide, dim=1, eps=SHORTEST_ROW)
    return unit if mean is None else unit - mean


def directions(
    vectors: Tensor,  # (N, C)
    mean: Tensor | None,  # (C,)
) -> Tensor:
    """Returns (N, C): `centred` at unit length, so that products of rows are centred cosines.

    A vector whose unit vector is within NEAREST of the mean is shorter than 1.
    """
    seen = centred(vectors, mean)
    return seen if mean is None else torch.nn.functional.normalize(seen, dim=1, eps=NEAREST)
