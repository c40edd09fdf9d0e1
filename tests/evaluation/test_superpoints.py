"""Scores of superpoints: answers counted by hand, and what must hold for any superpoints."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.evaluation.superpoints import boundary_recall, majority_labels, superpoint_scores

# A line of eight points; labels change between 2 and 3, and between 5 and 6.
LINE = torch.tensor([[i, i + 1] for i in range(7)])
LABELS = torch.tensor([4, 4, 4, 9, 9, 9, 2, 2])


def test_the_labels_themselves_are_perfect() -> None:
    scores = superpoint_scores(torch.tensor([0, 0, 0, 1, 1, 1, 2, 2]), LABELS, LINE, rings=0)
    assert (scores.purity, scores.label_purity, scores.boundary_recall) == (1, 1, 1)
    assert (scores.count, scores.mean_size) == (3, pytest.approx(8 / 3))


def test_one_superpoint_is_as_pure_as_the_commonest_label() -> None:
    scores = superpoint_scores(torch.zeros(8, dtype=torch.int64), LABELS, LINE)
    # 4 and 9 have three points each, the smaller label wins: all of 4 right, none of 9 and 2.
    assert scores.purity == 3 / 8
    assert scores.label_purity == pytest.approx(1 / 3)
    assert scores.boundary_recall == 0
    assert (scores.count, scores.mean_size) == (1, 8)


def test_purity_by_hand() -> None:
    superpoints = torch.tensor([0, 0, 1, 1, 1, 1, 1, 3])  # nobody is in 2
    assert majority_labels(superpoints, LABELS).tolist() == [4, 9, -1, 2]
    scores = superpoint_scores(superpoints, LABELS, LINE)
    assert scores.purity == 6 / 8
    assert scores.label_purity == pytest.approx((2 / 3 + 1 + 1 / 2) / 3)
    assert scores.count == 4


def test_ignored_points_have_no_say() -> None:
    superpoints = torch.tensor([0, 0, 0, 0, 0, 0, 1, 1])
    assert majority_labels(superpoints, LABELS, ignored=4).tolist() == [9, 2]
    assert majority_labels(superpoints, LABELS, ignored=2).tolist() == [4, 2]
    assert superpoint_scores(superpoints, LABELS, LINE, ignored=4).purity == 1
    # The edge between 4 and 9 is no boundary once 4 is ignored.
    assert boundary_recall(superpoints, LABELS, LINE, ignored=4, rings=0) == 1
    assert boundary_recall(superpoints, LABELS, LINE, rings=0) == 0.5


@pytest.mark.parametrize(
    ("cut", "recalls"),  # superpoints change once, before this point; the boundaries are before 3 and before 6
    [
        (3, [0.5, 0.5, 0.5, 1]),
        (2, [0, 0.5, 0.5, 0.5]),
        (4, [0, 0.5, 1, 1]),
        (1, [0, 0, 0.5, 0.5]),
        (6, [0.5, 0.5, 0.5, 1]),
    ],
)
def test_boundary_recall_by_rings(cut: int, recalls: list[float]) -> None:
    superpoints = (torch.arange(8) >= cut).long()
    found = [boundary_recall(superpoints, LABELS, LINE, rings=rings) for rings in range(4)]
    assert found == recalls
    assert [boundary_recall(superpoints, LABELS, LINE.flip(1), rings=rings) for rings in range(4)] == recalls


def test_no_boundary_gives_nan() -> None:
    assert math.isnan(boundary_recall(torch.arange(8), torch.ones(8, dtype=torch.int64), LINE))
    assert math.isnan(boundary_recall(torch.arange(8), LABELS, torch.empty(0, 2, dtype=torch.int64)))


@st.composite
def labelled(draw: st.DrawFn) -> tuple[Tensor, Tensor, Tensor]:
    count = draw(st.integers(1, 30))
    ids = st.lists(st.integers(0, 5), min_size=count, max_size=count)
    edges = draw(st.lists(st.tuples(*[st.integers(0, count - 1)] * 2), max_size=60))
    return (torch.tensor(draw(ids)), torch.tensor(draw(ids)), torch.tensor(edges, dtype=torch.int64).reshape(-1, 2))


@given(labelled())
def test_what_always_holds(case: tuple[Tensor, Tensor, Tensor]) -> None:
    superpoints, labels, edges = case
    scores = superpoint_scores(superpoints, labels, edges)
    groups: dict[int, Counter[int]] = {}
    for superpoint, label in zip(superpoints.tolist(), labels.tolist(), strict=True):
        groups.setdefault(superpoint, Counter())[label] += 1
    assert scores.purity == sum(max(counts.values()) for counts in groups.values()) / len(labels)
    recalls = [boundary_recall(superpoints, labels, edges, rings=rings) for rings in range(4)]
    assert recalls == sorted(recalls) or all(map(math.isnan, recalls))
    # Cutting superpoints further never makes them worse.
    finer = torch.unique(superpoints * 2 + torch.arange(len(labels)) % 2, return_inverse=True)[1]
    assert superpoint_scores(finer, labels, edges).purity >= scores.purity
    assert not boundary_recall(finer, labels, edges) < recalls[1]


def test_rejects_what_does_not_fit() -> None:
    ids = torch.zeros(8, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"\(N,\) alike, got \(3,\) and \(8,\)"):
        superpoint_scores(ids[:3], LABELS, LINE)
    with pytest.raises(ValueError, match=r"int64, got torch\.float32"):
        superpoint_scores(ids.float(), LABELS, LINE)
    with pytest.raises(ValueError, match="0 or more, got -1"):
        superpoint_scores(ids - 1, LABELS, LINE)
    with pytest.raises(ValueError, match="all 8 points have the ignored label 0"):
        superpoint_scores(ids, ids, LINE, ignored=0)
    with pytest.raises(ValueError, match=r"edges must be \(E, 2\) int64"):
        boundary_recall(ids, LABELS, LINE.float())
    with pytest.raises(ValueError, match="rings must not be negative, got -1"):
        boundary_recall(ids, LABELS, LINE, rings=-1)
