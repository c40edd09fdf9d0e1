"""Class-agnostic AP and recall: known answers, the rules one by one, and a plain dense evaluation of random masks."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import Tensor

from geoguide3d.evaluation.instances import (
    THRESHOLDS,
    InstanceOverlaps,
    average_precision_at,
    instance_overlaps,
    instance_scores,
)
from geoguide3d.geometry.masks import PointMasks


def overlaps(instances: Tensor, masks: list[tuple[int, int]], scores: list[float]) -> InstanceOverlaps:
    """Masks are ranges of points."""
    points = torch.arange(len(instances))
    dense = torch.stack([(points >= start) & (points < end) for start, end in masks])
    return instance_overlaps(PointMasks.from_dense(dense, torch.tensor(scores)), instances)


def three_things() -> Tensor:
    """100 points of no thing, then instances of 200, 400 and 50 points, then 250 points of no thing."""
    return torch.tensor([-1] * 100 + [7] * 200 + [2] * 400 + [9] * 50 + [-1] * 250)


def test_perfect_masks_score_one_and_the_small_instance_is_not_asked_for() -> None:
    scores = instance_scores([overlaps(three_things(), [(100, 300), (300, 700)], [0.3, 0.9])])
    assert scores.average_precision == scores.average_precision_50 == scores.average_precision_25 == 1.0
    assert scores.recall_50 == 1.0
    assert (scores.instances, scores.masks) == (2, 2)


def test_known_curve() -> None:
    """Right at 0.9, wrong at 0.8, right at 0.7: points (recall, precision) (1, 2/3), (1/2, 1/2), (1/2, 1), (0, 1)."""
    wrong = (150, 550)  # IoU 150/450 and 250/550
    scene = overlaps(three_things(), [(100, 300), wrong, (300, 700)], [0.9, 0.8, 0.7])
    expected = 2 / 3 * (1 - 0.5) / 2 + 0.5 * (1 - 0.5) / 2 + 1 * (0.5 - 0) / 2 + 1 * (0.5 - 0) / 2
    assert average_precision_at([scene], 0.5) == pytest.approx(expected)


def test_equal_iou_is_not_found() -> None:
    scene = overlaps(three_things(), [(100, 200)], [1.0])  # IoU 1/2 exactly
    assert average_precision_at([scene], 0.5) == 0.0
    assert average_precision_at([scene], 0.45) > 0.0
    assert instance_scores([scene]).recall_50 == 0.0


def test_of_two_masks_of_one_instance_the_surer_is_right() -> None:
    twice = overlaps(three_things(), [(300, 690), (300, 700)], [0.2, 0.6])
    # Right at 0.6, wrong at 0.2, one of two instances found.
    assert average_precision_at([twice], 0.5) == pytest.approx(0.5 * 0 + 1 * 0.25 + 1 * 0.25)
    # The other way round, with the same masks: which one is better cut plays no part.
    turned = overlaps(three_things(), [(300, 690), (300, 700)], [0.6, 0.2])
    assert average_precision_at([turned], 0.5) == average_precision_at([twice], 0.5)


def test_masks_in_the_void_or_on_small_instances_are_excused() -> None:
    things = [(100, 300), (300, 700)]
    alone = average_precision_at([overlaps(three_things(), things, [0.5, 0.5])], 0.5)
    for excused in ((750, 1000), (0, 160), (700, 820), (680, 790)):
        scene = overlaps(three_things(), [*things, excused], [0.5, 0.5, 0.9])
        assert average_precision_at([scene], 0.5) == alone == 1.0
    for blamed in ((200, 400), (50, 150)):  # half of the second is void, and more than half would be excused
        scene = overlaps(three_things(), [*things, blamed], [0.5, 0.5, 0.9])
        assert average_precision_at([scene], 0.5) < 1.0


def test_a_mask_finds_one_instance_even_where_it_meets_two() -> None:
    """Below 0.5 it can: IoU 200/600 and 400/600. Points (recall, precision): (1/2, 1), (0, 1)."""
    scene = overlaps(three_things(), [(100, 700)], [0.5])
    assert average_precision_at([scene], 0.25) == pytest.approx(0.5)


def test_small_masks_are_not_counted() -> None:
    scene = overlaps(three_things(), [(100, 300), (300, 399)], [0.5, 0.9])
    assert instance_scores([scene]).masks == 1


def test_scores_are_taken_over_all_scenes_at_once() -> None:
    """A sure error in one scene outweighs an unsure find in another; alone, the second scene would have AP 1."""
    things = torch.tensor([0] * 200 + [1] * 200)
    wrong = overlaps(things, [(100, 300)], [0.9])
    right = overlaps(things, [(0, 200), (200, 400)], [0.1, 0.1])
    assert average_precision_at([right], 0.5) == 1.0
    assert average_precision_at([wrong], 0.5) == 0.0
    # Points (recall, precision): (1/2, 2/3), (0, 0), (0, 1).
    assert average_precision_at([wrong, right], 0.5) == pytest.approx(2 / 3 * 0.25)


def test_thresholds_are_those_of_the_script() -> None:
    np.testing.assert_allclose(THRESHOLDS, np.arange(0.5, 0.95, 0.05))


def plain_average_precision(scenes: list[tuple[Tensor, Tensor, Tensor]], threshold: float) -> float:
    """The rules of the module once more, mask by mask on dense masks; sums instead of levels of score."""
    judged: list[tuple[float, bool]] = []
    total = 0
    for instances, dense, scores in scenes:
        truth = {int(name): instances == name for name in torch.unique(instances) if name >= 0}
        large = {name for name, points in truth.items() if int(points.sum()) >= 100}
        total += len(large)
        found: set[int] = set()
        for row in scores.argsort(descending=True, stable=True).tolist():
            mask, score = dense[row], float(scores[row])
            size = int(mask.sum())
            if size < 100:
                continue
            best = [n for n, t in truth.items() if int((mask & t).sum()) / int((mask | t).sum()) > threshold]
            if best:
                if best[0] in large:
                    judged.append((score, best[0] not in found))
                    found.add(best[0])
                continue
            ignored = sum(int((mask & points).sum()) for name, points in truth.items() if name not in large)
            if (ignored + int((mask & (instances < 0)).sum())) / size <= threshold:
                judged.append((score, False))
    curve = [(0.0, 1.0)]
    for level in sorted({score for score, _ in judged}, reverse=True):
        above = [right for score, right in judged if score >= level]
        curve.append((sum(above) / total, sum(above) / len(above)))
    recalls = [0.0, *(recall for recall, _ in curve), curve[-1][0]]
    return math.fsum(p * (recalls[i + 2] - recalls[i]) / 2 for i, (_, p) in enumerate(curve))


@pytest.mark.parametrize("seed", range(20))
def test_random_scenes_score_as_the_plain_evaluation(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    plain, ours = [], []
    for _ in range(3):
        edges = torch.randint(0, 3000, (12,), generator=generator).sort().values
        instances = torch.bucketize(torch.arange(3000), edges) - 3
        instances[instances < 0] = -1
        starts = torch.randint(0, 2900, (15,), generator=generator)
        ranges = [(int(s), int(s) + int(torch.randint(50, 600, (1,), generator=generator))) for s in starts]
        ranges += [(int(a), int(b)) for a, b in pairwise(edges)]
        points = torch.arange(3000)
        dense = torch.stack([(points >= start) & (points < end) for start, end in ranges])
        scores = torch.randint(0, 8, (len(ranges),), generator=generator) / 8
        plain.append((instances, dense, scores))
        ours.append(instance_overlaps(PointMasks.from_dense(dense, scores), instances))
    for threshold in (0.5, 0.7, 0.9):
        assert average_precision_at(ours, threshold) == pytest.approx(plain_average_precision(plain, threshold))
    assert instance_scores(ours).recall_50 >= 0.5


def test_no_masks_score_zero_and_no_instances_are_an_error() -> None:
    nothing = PointMasks.from_dense(torch.zeros(0, 1000, dtype=torch.bool))
    scores = instance_scores([instance_overlaps(nothing, three_things())])
    assert (scores.average_precision, scores.recall_50, scores.masks) == (0.0, 0.0, 0)
    with pytest.raises(ValueError, match="none of 1 scenes has an instance of at least 100 points"):
        instance_scores([instance_overlaps(nothing, torch.full((1000,), -1))])
    with pytest.raises(ValueError, match=r"instances must be \(1000,\) int64"):
        instance_overlaps(nothing, torch.zeros(999, dtype=torch.int64))
