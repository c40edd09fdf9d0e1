"""answers: counts by hand, pairs one by one, and thresholds one by one."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from geoguide3d.evaluation.answers import area_under_roc, best_iou, intersection_over_union

INF = float("inf")


def drawn(seed: int, levels: int = 7, count: int = 40) -> tuple[Tensor, Tensor]:
    """Scores with many equal ones, and a truth."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randint(levels, (count,), generator=generator) / levels
    return scores, torch.rand(count, generator=generator) < 0.3


def test_iou_counts_points() -> None:
    mask, truth = torch.tensor([True, True, False, False]), torch.tensor([True, False, True, False])
    assert intersection_over_union(mask, truth) == pytest.approx(1 / 3)
    assert intersection_over_union(mask, mask) == 1.0
    assert math.isnan(intersection_over_union(mask & ~mask, mask & ~mask))


@pytest.mark.parametrize("seed", range(5))
def test_area_is_the_share_of_pairs_in_order(seed: int) -> None:
    scores, truth = drawn(seed)
    pairs = scores[truth][:, None] - scores[~truth][None, :]
    assert area_under_roc(scores, truth) == pytest.approx(float(((pairs > 0) + 0.5 * (pairs == 0)).double().mean()))


def test_area_of_known_orders() -> None:
    truth = torch.tensor([True, True, False, False])
    assert area_under_roc(torch.tensor([4.0, 3.0, 2.0, 1.0]), truth) == 1.0
    assert area_under_roc(torch.tensor([1.0, 2.0, 3.0, 4.0]), truth) == 0.0
    assert area_under_roc(torch.zeros(4), truth) == 0.5
    assert area_under_roc(torch.tensor([1.0, -INF, -INF, -INF]), truth) == pytest.approx(0.75)
    assert math.isnan(area_under_roc(torch.zeros(4), truth | True))


def test_area_of_a_million_points_has_no_overflow() -> None:
    scores = torch.arange(1_000_000)
    assert area_under_roc(scores, scores >= 500_000) == 1.0


@pytest.mark.parametrize("seed", range(5))
def test_best_iou_is_that_of_the_best_threshold(seed: int) -> None:
    scores, truth = drawn(seed)
    every = [intersection_over_union(scores >= threshold, truth) for threshold in scores.unique()]
    assert best_iou(scores, truth) == pytest.approx(max(every))


def test_best_iou_needs_something_to_find() -> None:
    assert math.isnan(best_iou(torch.zeros(3), torch.zeros(3, dtype=torch.bool)))
    assert best_iou(torch.zeros(4), torch.tensor([True, False, False, False])) == 0.25  # all or nothing


def test_wrong_input_is_refused() -> None:
    truth = torch.tensor([True, False])
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        area_under_roc(torch.zeros(3), truth)
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        best_iou(torch.tensor([0.0, float("nan")]), truth)
    with pytest.raises(ValueError, match="mask must be bool"):
        intersection_over_union(torch.zeros(2), truth)
