"""The confusion matrix, against a loop over points and against numbers recorded from OpenScene."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.evaluation.confusion import ConfusionMatrix

IGNORED, UNPREDICTED = 255, 256


def recorded(folder: Path, name: str) -> dict[str, Tensor]:
    with np.load(folder / "modules/openscene_metric" / name) as arrays:
        return {key: torch.from_numpy(np.asarray(arrays[key])) for key in arrays.files}


def matrix_of(case: dict[str, Tensor]) -> ConfusionMatrix:
    matrix = ConfusionMatrix(int(case["num_classes"]))
    matrix.add(case["pred"].long(), case["gt"].long())
    return matrix


@pytest.mark.parametrize(
    "classes", ["scannet_3d", "matterport_3d", "matterport_3d_40", "matterport_3d_160", "nuscenes_3d"]
)
@pytest.mark.parametrize("kind", ["plain", "absent", "nofeature"])
def test_matches_openscene(shared_fixtures: Path, classes: str, kind: str) -> None:
    case = recorded(shared_fixtures, f"{classes}_{kind}.npz")
    matrix = matrix_of(case)
    torch.testing.assert_close(matrix.counts[:-1], case["confusion"], rtol=0, atol=0)
    torch.testing.assert_close(matrix.iou("dropped"), case["iou"], rtol=1e-12, atol=0, equal_nan=True)
    torch.testing.assert_close(matrix.accuracy(), case["acc"], rtol=1e-12, atol=0, equal_nan=True)
    scores = matrix.scores("openscene")
    assert scores.mean_iou == pytest.approx(float(case["miou"]), rel=1e-12)
    assert scores.mean_accuracy == pytest.approx(float(case["macc"]), rel=1e-12)
    assert matrix.mean_iou(unpredicted="dropped") == pytest.approx(float(case["miou_present_only"]), rel=1e-12)
    assert matrix.mean_accuracy() == pytest.approx(float(case["macc_present_only"]), rel=1e-12)


@pytest.mark.parametrize(("name", "value"), [("perfect", 1.0), ("allwrong", 0.0)])
def test_the_ends_of_the_scale(shared_fixtures: Path, name: str, value: float) -> None:
    scores = matrix_of(recorded(shared_fixtures, f"scannet_3d_{name}.npz")).scores()
    assert (scores.mean_iou, scores.mean_accuracy) == (value, value)


def test_scenes_add_up(shared_fixtures: Path) -> None:
    case = recorded(shared_fixtures, "scannet_3d_scenes.npz")
    matrix = ConfusionMatrix(int(case["num_classes"]))
    for start, end in zip(case["scene_offsets"][:-1].tolist(), case["scene_offsets"][1:].tolist(), strict=True):
        matrix.add(case["pred"][start:end].long(), case["gt"][start:end].long())
    torch.testing.assert_close(matrix.counts[:-1], case["confusion"], rtol=0, atol=0)


def test_a_class_whose_points_all_lack_features_scores_zero(shared_fixtures: Path) -> None:
    case = recorded(shared_fixtures, "crash_all_points_of_a_class_without_feature.npz")
    labels, predicted = case["gt"].long(), case["pred"].long()
    matrix = ConfusionMatrix(20)
    matrix.add(predicted, labels)
    lost = [c for c in labels.unique().tolist() if c != IGNORED and bool((predicted[labels == c] == UNPREDICTED).all())]
    assert lost
    for unpredicted in ("wrong", "dropped"):
        assert matrix.iou(unpredicted)[lost].tolist() == [0.0] * len(lost)
    assert matrix.accuracy()[lost].tolist() == [0.0] * len(lost)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 60))
def test_equals_a_loop_over_points(seed: int, classes: int, count: int) -> None:
    generator = np.random.default_rng(seed)
    predicted = generator.choice([*range(classes), UNPREDICTED], count)
    labels = generator.choice([*range(classes), IGNORED], count)
    matrix = ConfusionMatrix(classes)
    matrix.add(torch.from_numpy(predicted).long(), torch.from_numpy(labels).long())
    pairs = [(int(p), int(t)) for p, t in zip(predicted, labels, strict=True) if t != IGNORED]
    ious = []
    for c in range(classes):
        hits = sum(p == t == c for p, t in pairs)
        labelled, guessed = sum(t == c for _, t in pairs), sum(p == c for p, _ in pairs)
        ious.append(hits / (labelled + guessed - hits) if labelled else math.nan)
        assert float(matrix.accuracy()[c]) == pytest.approx(hits / labelled if labelled else math.nan, nan_ok=True)
    assert matrix.iou().tolist() == pytest.approx(ious, nan_ok=True)
    present = [value for value in ious if not math.isnan(value)]
    assert matrix.mean_iou() == pytest.approx(sum(present) / len(present) if present else math.nan, nan_ok=True)
    assert matrix.mean_iou("zero") == pytest.approx(sum(present) / classes)


@pytest.mark.parametrize(("predicted", "label"), [(3, 0), (-1, 0), (0, 3), (0, -1), (255, 0), (0, 256)])
def test_ids_outside_of_the_classes_are_refused(predicted: int, label: int) -> None:
    with pytest.raises(ValueError, match="outside of 3 classes"):
        ConfusionMatrix(3).add(torch.tensor([predicted]), torch.tensor([label]))


def test_unequal_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="alike"):
        ConfusionMatrix(3).add(torch.zeros(2, dtype=torch.int64), torch.zeros(3, dtype=torch.int64))


def test_ids_that_are_classes_cannot_be_ignored() -> None:
    with pytest.raises(ValueError, match="ignored=255"):
        ConfusionMatrix(300)
    assert ConfusionMatrix(300, ignored=-1, unpredicted=-2).num_classes == 300
