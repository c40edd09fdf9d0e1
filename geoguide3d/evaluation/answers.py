"""How well the answer to one prompt finds the points that are meant."""

from __future__ import annotations

import torch
from torch import Tensor


def intersection_over_union(
    mask: Tensor,  # (N,) bool
    truth: Tensor,  # (N,) bool
) -> float:
    """Returns the points in both over the points in either; NaN where neither holds a point.

    Raises:
        ValueError: lengths that differ, or anything but bool.
    """
    _check(mask, truth)
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be bool, got {mask.dtype}")
    either = int((mask | truth).sum())
    return int((mask & truth).sum()) / either if either else float("nan")


def area_under_roc(
    scores: Tensor,  # (N,)
    truth: Tensor,  # (N,) bool
) -> float:
    """Returns how often a true point has a higher score than another point, equal scores counted by half.

    1: every true point ranks before all others, 0.5: scores say nothing. No threshold has a part in it. NaN where all
    points are true, or none is.

    Args:
        scores: no NaN; −inf for points without any.

    Raises:
        ValueError: lengths that differ, a truth that is not bool, or NaN scores.
    """
    _check(scores, truth)
    _, level, counts = torch.unique(scores, return_inverse=True, return_counts=True)
    middle = counts.cumsum(0).to(torch.float64) - (counts - 1).to(torch.float64) / 2  # mean rank of equal scores
    true = int(truth.sum())
    others = len(truth) - true
    if true == 0 or others == 0:
        return float("nan")
    above = float(middle[level[truth]].sum()) - true * (true + 1) / 2
    return above / (true * others)


def best_iou(
    scores: Tensor,  # (N,)
    truth: Tensor,  # (N,) bool
) -> float:
    """Returns the largest IoU that any threshold on the scores gives; NaN where no point is true.

    It says how well scores separate what is meant, whatever rule makes masks of them.

    Raises:
        ValueError: as `area_under_roc`.
    """
    _check(scores, truth)
    if not bool(truth.any()):
        return float("nan")
    order = scores.argsort(descending=True)
    ordered = scores[order]
    found = truth[order].cumsum(0).to(torch.float64)
    taken = torch.arange(1, len(scores) + 1, device=scores.device)
    last = torch.ones_like(truth)
    last[:-1] = ordered[:-1] != ordered[1:]  # no threshold parts equal scores
    return float((found / (taken + int(truth.sum()) - found))[last].max())


def _check(values: Tensor, truth: Tensor) -> None:
    if values.ndim != 1 or values.shape != truth.shape or truth.dtype != torch.bool:
        raise ValueError(
            f"a value and a bool are needed per point, got {tuple(values.shape)} and {tuple(truth.shape)} {truth.dtype}"
        )
    if values.is_floating_point() and bool(values.isnan().any()):
        raise ValueError(f"{int(values.isnan().sum())} of {len(values)} scores are NaN; are the features damaged?")
