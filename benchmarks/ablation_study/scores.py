"""From counts of predicted against true categories to scores, and to intervals of their differences."""

from __future__ import annotations

import torch
from torch import Tensor

from geoguide3d.evaluation.confusion import ConfusionMatrix

DRAWS = 2000


def mean_iou(
    counts: Tensor,  # (R, K + 1, K)
) -> float:
    """Returns the mean IoU over all rooms together, of the categories that occur."""
    return _matrix(counts.sum(dim=0)).scores().mean_iou


def mean_accuracy(counts: Tensor) -> float:
    """Returns the mean accuracy over all rooms together, of the categories that occur."""
    return _matrix(counts.sum(dim=0)).scores().mean_accuracy


def difference(first: Tensor, second: Tensor) -> tuple[float, float, float]:
    """Returns the mean difference of mIoU, first less second, and its 95 % bootstrap interval.

    Rooms are drawn again with replacement, the same for both sides and all seeds; the seeds' differences are averaged.

    Args:
        first, second: (S, R, K + 1, K) counts of S seeds and R rooms.
    """
    generator = torch.Generator().manual_seed(0)
    rooms = first.shape[1]
    taken = torch.randint(rooms, (DRAWS, rooms), generator=generator)
    weights = torch.zeros(DRAWS, rooms, dtype=torch.float64).scatter_add_(
        1, taken, torch.ones(DRAWS, rooms, dtype=torch.float64)
    )
    drawn = _differences(weights, first, second)
    (mean,) = _differences(torch.ones(1, rooms, dtype=torch.float64), first, second).tolist()
    low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return mean, low, high


def _differences(weights: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Returns (D,) differences of mIoU, mean over seeds, for (D, R) weights of the rooms."""
    sides = [
        torch.stack([_mean_ious(torch.einsum("dr,rpk->dpk", weights, seed.to(torch.float64))) for seed in side])
        for side in (first, second)
    ]
    return (sides[0] - sides[1]).mean(dim=0)


def _mean_ious(
    counts: Tensor,  # (D, K + 1, K)
) -> Tensor:
    """Returns (D,) mean IoU over the categories that occur."""
    classes = counts.shape[2]
    hits = counts[:, :classes].diagonal(dim1=1, dim2=2)
    truth = counts.sum(dim=1)
    union = truth + counts[:, :classes].sum(dim=2) - hits
    iou = torch.where(truth > 0, hits / union.clamp(min=1), torch.nan)
    return iou.nanmean(dim=1)


def _matrix(counts: Tensor) -> ConfusionMatrix:
    matrix = ConfusionMatrix(counts.shape[1])
    matrix.counts = counts
    return matrix
