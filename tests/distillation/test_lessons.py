"""What a scene teaches, and the points it leaves out."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.distillation.lessons import CaptureSettings, make_lesson
from geoguide3d.fusion.accumulator import FusedFeatures
from geoguide3d.scenes.scene import Scene

SCENE = Scene(points=torch.arange(18.0).reshape(6, 3), name="six")
FEATURES = torch.arange(12.0).reshape(6, 2)


def fused(rows: list[list[float]], count: list[int]) -> FusedFeatures:
    return FusedFeatures(torch.tensor(rows, dtype=torch.float32), torch.tensor(count, dtype=torch.int32))


def test_holds_the_seen_points_with_targets_of_unit_length() -> None:
    taught = fused([[0, 0], [3, 4], [0, 0], [0, 2], [0, 0], [-1, 0]], [0, 2, 1, 1, 0, 3])
    lesson = make_lesson(SCENE, FEATURES, taught, most_points=10)
    assert lesson.features.tolist() == FEATURES[[1, 3, 5]].tolist()
    torch.testing.assert_close(lesson.targets.float(), torch.tensor([[0.6, 0.8], [0, 1], [-1, 0]]), atol=1e-3, rtol=0)
    assert (lesson.name, len(lesson), lesson.point_count) == ("six", 3, 6)


def test_keeps_at_most_that_many_points_and_always_the_same() -> None:
    taught = fused([[1.0, row] for row in range(6)], [1] * 6)
    first, second = (make_lesson(SCENE, FEATURES, taught, most_points=4) for _ in range(2))
    assert len(first) == 4
    assert torch.equal(first.features, second.features)
    rows = first.features[:, 0] / 2  # the features of row r start with 2r
    torch.testing.assert_close((first.targets[:, 1] / first.targets[:, 0]).float(), rows, atol=1e-2, rtol=0)


@pytest.mark.parametrize("count", [[0] * 6, [1] * 6])
def test_a_scene_that_teaches_nothing_is_named(count: list[int]) -> None:
    with pytest.raises(ValueError, match="six: no point has a teacher's feature"):
        make_lesson(SCENE, FEATURES, fused([[0.0, 0.0]] * 6, count), most_points=4)


@pytest.mark.parametrize("name", ["depth_scale", "stride", "points_per_scene"])
def test_numbers_must_be_positive(name: str) -> None:
    with pytest.raises(ValueError, match=f"capture.{name} must be positive, got 0"):
        CaptureSettings(**{name: 0})
