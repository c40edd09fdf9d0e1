"""nearest_class on vectors whose answer is known."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.evaluation.confusion import UNPREDICTED
from geoguide3d.evaluation.open_vocabulary import nearest_class

CLASSES = torch.eye(3)


def test_length_does_not_matter() -> None:
    features = torch.tensor([[0.1, 0.0, 0.0], [0.0, 90.0, 1.0], [-5.0, -4.0, -3.0]])
    assert nearest_class(features, CLASSES).tolist() == [0, 1, 2]


def test_rows_without_a_feature_are_unpredicted() -> None:
    known = torch.tensor([True, False])
    assert nearest_class(torch.ones(2, 3) * CLASSES[1], CLASSES, known).tolist() == [1, UNPREDICTED]


def test_half_features_give_the_same() -> None:
    features = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).half()
    assert torch.equal(nearest_class(features, CLASSES), features.float().argmax(dim=1))


def test_rows_that_are_not_finite_are_unpredicted() -> None:
    features = torch.tensor([[0.0, float("nan"), 0.0], [0.0, 1.0, 0.0], [float("inf"), 0.0, 0.0]])
    assert nearest_class(features, CLASSES).tolist() == [UNPREDICTED, 1, UNPREDICTED]


def test_features_of_another_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"text must be \(K, 4\) floats"):
        nearest_class(torch.ones(2, 4), CLASSES)
