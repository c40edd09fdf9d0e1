"""nearest_class on vectors whose answer is known."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.evaluation import open_vocabulary
from geoguide3d.evaluation.confusion import UNPREDICTED
from geoguide3d.evaluation.open_vocabulary import nearest_class

CLASSES = torch.eye(3)


def test_length_does_not_matter() -> None:
    features = torch.tensor([[0.1, 0.0, 0.0], [0.0, 90.0, 1.0], [-5.0, -4.0, -3.0]])
    assert nearest_class(features, CLASSES).tolist() == [0, 1, 2]


def test_rows_without_a_feature_are_unpredicted() -> None:
    known = torch.tensor([True, False])
    assert nearest_class(torch.ones(2, 3) * CLASSES[1], CLASSES, known).tolist() == [1, UNPREDICTED]


def test_half_features_and_blocks_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    features = torch.randn(10, 3, generator=torch.Generator().manual_seed(0)).half()
    whole = nearest_class(features, CLASSES)
    monkeypatch.setattr(open_vocabulary, "_ROWS_AT_ONCE", 3)
    assert torch.equal(nearest_class(features, CLASSES), whole)
    assert torch.equal(whole, features.float().argmax(dim=1))
