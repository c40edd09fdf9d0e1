"""PointMasks: dense, labels and lists say the same; parts of masks and of points are what numpy's indexing gives."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor

from geoguide3d.geometry.masks import PointMasks

DENSE = arrays.arrays(bool, st.tuples(st.integers(0, 5), st.integers(1, 9))).map(torch.from_numpy)


@given(DENSE)
def test_dense_masks_come_back(dense: Tensor) -> None:
    masks = PointMasks.from_dense(dense)
    assert len(masks) == len(dense)
    assert torch.equal(masks.to_dense(), dense)
    assert torch.equal(masks.sizes, dense.sum(1))
    assert masks.known_scores.tolist() == [1.0] * len(dense)


@given(DENSE, st.data())
def test_parts_are_those_of_the_dense_masks(dense: Tensor, data: st.DataObject) -> None:
    masks = PointMasks.from_dense(dense, torch.arange(float(len(dense))))
    rows = torch.tensor(data.draw(st.lists(st.integers(0, len(dense) - 1), max_size=6) if len(dense) else st.just([])))
    rows = rows.to(torch.int64)
    assert torch.equal(masks.select(rows).to_dense(), dense[rows])
    assert torch.equal(masks.select(rows).known_scores, rows.float())
    kept = torch.tensor(data.draw(st.lists(st.booleans(), min_size=len(dense), max_size=len(dense))), dtype=torch.bool)
    assert torch.equal(masks.select(kept).to_dense(), dense[kept])
    chosen = data.draw(st.sets(st.integers(0, dense.shape[1] - 1)))
    points = torch.tensor(sorted(chosen), dtype=torch.int64)
    part = masks.of_points(points)
    assert torch.equal(part.to_dense(), dense[:, points])
    assert torch.equal(part.known_scores, masks.known_scores)


@given(arrays.arrays("int64", st.integers(1, 20), elements=st.integers(-1, 6)).map(torch.from_numpy))
def test_labels_become_one_mask_each(labels: Tensor) -> None:
    names = [name for name in torch.unique(labels).tolist() if name >= 0]
    expected = torch.stack([labels == name for name in names]) if names else torch.zeros(0, len(labels)).bool()
    assert torch.equal(PointMasks.from_labels(labels).to_dense(), expected)


@given(DENSE)
def test_pairs_and_lists_become_the_same_masks(dense: Tensor) -> None:
    points, masks = dense.T.nonzero().unbind(1)
    paired = PointMasks.from_pairs(masks, points, *dense.shape)
    listed = PointMasks.from_lists([row.nonzero().squeeze(1) for row in dense], dense.shape[1])
    assert torch.equal(paired.to_dense(), dense)
    assert torch.equal(listed.to_dense(), dense)


def test_another_label_may_mean_none() -> None:
    assert PointMasks.from_labels(torch.tensor([0, 1, 2, 1]), none=0).to_dense().tolist() == [
        [False, True, False, True],
        [False, False, True, False],
    ]


@pytest.mark.parametrize(
    ("offsets", "ids", "count", "scores", "message"),
    [
        ([[0]], [], 1, None, r"offsets must be \(M \+ 1,\) int64"),
        ([], [], 1, None, r"offsets must be \(M \+ 1,\) int64"),
        ([0, 2], [0], 3, None, "rise from 0 to 1"),
        ([0, 2, 1], [0], 3, None, "rise from 0 to 1"),
        ([1, 1], [0], 3, None, "rise from 0 to 1"),
        ([0, 1], [3], 3, None, r"lie in \[0, 3\), got 3 to 3: are the masks of another scene"),
        ([0, 1], [-1], 3, None, r"lie in \[0, 3\)"),
        ([0, 2], [1, 1], 3, None, "ascend, each at most once"),
        ([0, 2], [1, 0], 3, None, "ascend, each at most once"),
        ([0, 1], [1], 3, [1.0, 1.0], r"scores must be \(1,\) floats"),
        ([0, 1], [1], 3, [float("nan")], "the scores of 1 masks are NaN"),
    ],
)
def test_broken_lists_are_refused(
    offsets: list[int], ids: list[int], count: int, scores: list[float] | None, message: str
) -> None:
    tensors = torch.tensor(offsets, dtype=torch.int64), torch.tensor(ids, dtype=torch.int64)
    with pytest.raises(ValueError, match=message):
        PointMasks(*tensors, count, None if scores is None else torch.tensor(scores))


def test_labels_up_to_none_are_no_masks() -> None:
    labels = torch.tensor([-2, 3, -1, 0, 3])
    assert PointMasks.from_labels(labels).to_dense().nonzero().tolist() == [[0, 3], [1, 1], [1, 4]]
    assert PointMasks.from_labels(labels, none=0).to_dense().nonzero().tolist() == [[0, 1], [0, 4]]


def test_masks_are_selected_by_one_answer_each() -> None:
    masks = PointMasks.from_labels(torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="3 answers for 2 masks; one for each is needed"):
        masks.select(torch.tensor([True, False, True]))


def test_dense_masks_must_be_bool() -> None:
    with pytest.raises(ValueError, match=r"\(M, N\) bool, got \(2, 3\) torch.float32"):
        PointMasks.from_dense(torch.zeros(2, 3))
