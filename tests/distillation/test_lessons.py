"""What a scene teaches, what it leaves out, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch

from geoguide3d.backbones.cached import CachedBackbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.lessons import CaptureSettings, Lesson, LessonReader, taught_points
from geoguide3d.distillation.validation import Validation, ValidationScene
from geoguide3d.encoders.label_sets import LabelSet
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeatureCache
from geoguide3d.store.feature_file import FeatureFile

SCENE = Scene(points=torch.arange(18.0).reshape(6, 3), name="six")
FEATURES = torch.arange(12.0).reshape(6, 2)
BACKBONE = cast(
    FrozenBackbone,
    SimpleNamespace(
        name="rows", channels=2, voxel_size_m=0.1, needs=(), licence="none", config={}, encode=lambda _: FEATURES
    ),
)
READER = LessonReader(CaptureSettings(), BACKBONE)
TARGETS = [[0, 0], [3, 4], [0, 0], [0, 2], [0, 0], [-1, 0]]


def fused(rows: list[list[float]], count: list[int]) -> FusedFeatures:
    return FusedFeatures(torch.tensor(rows, dtype=torch.float32), torch.tensor(count, dtype=torch.int32))


def six(**changes: object) -> Lesson:
    made = Lesson("six", FEATURES, torch.tensor([1, 3, 5]), torch.ones(3, 4, dtype=torch.float16))
    return replace(made, **changes)  # type: ignore[arg-type]


def test_holds_all_points_and_the_targets_of_the_seen_as_they_are() -> None:
    lesson = READER.lesson(SCENE, fused(TARGETS, [0, 2, 1, 1, 0, 3]))
    assert lesson.feature_rows(slice(None)).tolist() == FEATURES.tolist()
    assert lesson.taught.tolist() == [1, 3, 5]  # point 2 was seen, but the teacher says nothing about it
    assert lesson.target_rows(slice(None)).tolist() == [[3, 4], [0, 2], [-1, 0]]
    assert lesson.targets.dtype == torch.float16
    assert (lesson.name, len(lesson), lesson.superpoints, lesson.masks) == ("six", 6, None, None)


def test_superpoints_and_masks_go_with_it() -> None:
    superpoints = torch.tensor([0, 0, 1, 1, 2, 2])
    lesson = READER.lesson(SCENE, fused(TARGETS, [1] * 6), superpoints, PointMasks.from_labels(superpoints))
    assert lesson.superpoints is superpoints
    assert lesson.masks is not None and len(lesson.masks) == 3


def test_features_of_a_cached_backbone_stay_on_disk(tmp_path: Path) -> None:
    reader = replace(READER, backbone=CachedBackbone(BACKBONE, FeatureCache(tmp_path), None))
    lesson = reader.lesson(SCENE, fused(TARGETS, [1] * 6))
    assert isinstance(lesson.features, FeatureFile)
    assert lesson.feature_rows(torch.tensor([4, 1])).tolist() == FEATURES[[4, 1]].tolist()
    assert (lesson.geometric_channels, lesson.semantic_channels, len(lesson)) == (2, 2, 6)


def test_targets_can_stay_on_disk(tmp_path: Path) -> None:
    capture = CaptureSettings(targets_folder=tmp_path)
    lesson = replace(READER, capture=capture).lesson(SCENE, fused(TARGETS, [1] * 6))
    assert isinstance(lesson.targets, FeatureFile)
    assert lesson.target_rows(torch.tensor([2, 0])).tolist() == [[-1, 0], [3, 4]]
    again = replace(READER, capture=capture).lesson(replace(SCENE, name="again"), fused(TARGETS, [1] * 6))
    assert isinstance(again.targets, FeatureFile) and again.targets.path == lesson.targets.path
    with pytest.raises(ValueError, match=r"six: 2D features of 1 points of 6 are not finite"):
        replace(READER, capture=capture).lesson(SCENE, fused([[torch.nan, 1], *[[1.0, 1.0]] * 5], [1] * 6))


def test_keeps_at_most_that_many_points_and_always_the_same() -> None:
    seen = fused([[1.0, row] for row in range(6)], [1] * 6)
    first, second = (taught_points(seen, 4) for _ in range(2))
    assert len(first) == 4
    assert torch.equal(first, second)
    assert bool((first.diff() > 0).all())


@pytest.mark.parametrize("count", [[0] * 6, [1] * 6])
def test_a_scene_without_2d_features_is_named(count: list[int]) -> None:
    with pytest.raises(ValueError, match=r"six: no point has a teacher's feature.*take the scene off the list"):
        READER.lesson(SCENE, fused([[0.0, 0.0]] * 6, count))


def test_features_that_are_not_finite_are_counted() -> None:
    with pytest.raises(ValueError, match=r"six: 2D features of 2 points of 6 are not finite as torch.float16"):
        READER.lesson(SCENE, fused([[torch.nan, 1], [1e30, 1], *[[1.0, 1.0]] * 4], [1] * 6))
    broken = FEATURES.clone()
    broken[2:5, 1] = torch.inf
    with pytest.raises(ValueError, match="six: geometric features of 3 points of 6 are not finite"):
        six(features=broken)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"masks": PointMasks.from_labels(torch.zeros(7, dtype=torch.int64))}, "six: masks are of 7 points.* has 6"),
        ({"superpoints": torch.zeros(5, dtype=torch.int64)}, "six: superpoints are of 5 points, the scene has 6"),
        ({"superpoints": torch.tensor([0, 0, -1, 0, 0, 0])}, "six: superpoints must be at least 0, got -1"),
        ({"points": torch.zeros(5, 3)}, "six: points are of 5 points, the scene has 6"),
        ({"taught": torch.tensor([1, 3, 6])}, r"six: taught points must ascend in \[0, 6\)"),
        ({"taught": torch.tensor([1, 3])}, "six: 3 targets for 2 taught points"),
        ({"features": FEATURES.to(torch.int64)}, r"six: geometric features must be \(n, channels\) floats"),
    ],
)
def test_what_does_not_belong_together_is_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        six(**changes)


def test_validation_names_what_it_cannot_use() -> None:
    with pytest.raises(ValueError, match="six: 5 labels for features of 6 points"):
        ValidationScene("six", FEATURES, torch.zeros(5, dtype=torch.int64))
    scene = ValidationScene("six", FEATURES, torch.tensor([0, 1, 2, 255, 0, 0]))
    Validation([scene], torch.eye(3), every=1)
    with pytest.raises(ValueError, match="six: labels go from 0 to 2, but 2 class names are given"):
        Validation([scene], torch.eye(2), every=1)
    with pytest.raises(ValueError, match=r"validation.every must be positive, got 0"):
        Validation([scene], torch.eye(3), every=0)
    unlabelled = ValidationScene("six", FEATURES, torch.full((6,), 255))
    Validation([unlabelled, scene], torch.eye(3), every=1)
    with pytest.raises(ValueError, match="no point of the 2 scenes to validate with has a label; list others, or none"):
        Validation([unlabelled, unlabelled], torch.eye(3), every=1)


class Same:
    """An adapter that gives back what it gets."""

    input_mean = torch.zeros(1)

    def __call__(self, features: torch.Tensor) -> torch.Tensor:
        return features


def test_finer_words_are_joined_to_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("geoguide3d.distillation.validation._ROWS_AT_ONCE", 2)
    finer = LabelSet(("a", "b"), details=("a", "aa", "b", "bb"), class_of_detail=(0, 0, 1, 1))
    said = torch.eye(4)[[0, 1, 2, 3, 1]]
    scene = ValidationScene("five", said, torch.tensor([0, 0, 1, 0, 255]))
    validation = Validation([scene], torch.eye(4), 1, finer)
    assert validation.class_count == 2
    assert validation.measure(cast(Adapter, Same())) == pytest.approx(
        {"validation_mean_iou": (2 / 3 + 1 / 2) / 2, "validation_mean_accuracy": (2 / 3 + 1) / 2}
    )
    with pytest.raises(ValueError, match="labels go from 0 to 2, but 2 class names are given"):
        Validation([replace(scene, labels=torch.tensor([0, 2, 0, 0, 0]))], torch.eye(4), 1, finer)


@pytest.mark.parametrize("name", ["depth_scale", "stride", "points_per_scene"])
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"capture.{name} must be positive, got 0"):
        CaptureSettings(**{name: 0})
