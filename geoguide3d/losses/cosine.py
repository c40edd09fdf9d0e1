"""Plain cosine distillation: every predicted vector is turned towards its target, lengths do not matter."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.ops import direction_total


def cosine_distance(
    predicted: Tensor,  # (N, C)
    target: Tensor,  # (N, C)
) -> Tensor:
    """Returns the mean of 1 − cos(predicted, target) over the rows, a scalar in [0, 2].

    A row of zeros has cosine 0 with everything and a finite gradient (OpenScene 2023, `run/distill.py`, "cosine").

    Raises:
        ValueError: shapes that differ, or no rows.
    """
    if predicted.ndim != 2 or predicted.shape != target.shape:
        raise ValueError(
            f"expected two (N, C) tensors of one shape, got {tuple(predicted.shape)}, {tuple(target.shape)}"
        )
    if len(predicted) == 0:
        raise ValueError("the cosine distance of no rows is undefined; leave scenes without a taught point out")
    return 1 - torch.nn.functional.cosine_similarity(predicted, target, dim=1).mean()


def mean_pairwise_cosine(
    vectors: Tensor,  # (P, C)
) -> Tensor:
    """Returns the mean cosine over all pairs of two different rows, a scalar; NaN for one row.

    Exact in O(P · C): the length of the sum of unit vectors says it.
    """
    total = direction_total(vectors)
    count = len(vectors)
    if count < 2:
        return total.new_full((), torch.nan)
    return total.dot(total).sub(count).div(count * (count - 1))
