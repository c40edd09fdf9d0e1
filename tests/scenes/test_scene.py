from __future__ import annotations

from typing import Any

import pytest
import torch

from geoguide3d.scenes.scene import Scene

POINTS = torch.arange(12.0).reshape(4, 3)
KEPT = torch.tensor([True, False, True, True, False, True])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"points": torch.zeros(0, 3)}, "at least one point"),
        ({"points": POINTS.double()}, r"points must be \(4, 3\) torch.float32, got .* torch.float64"),
        ({"points": POINTS[:, :2]}, r"points must be \(4, 3\)"),
        ({"points": POINTS / 0}, "inf or NaN"),
        ({"points": POINTS, "colors": torch.zeros(3, 3)}, r"colors must be \(4, 3\)"),
        ({"points": POINTS, "colors": torch.zeros(4, 3, dtype=torch.uint8)}, "colors must be .* got .* torch.uint8"),
        ({"points": POINTS, "normals": torch.zeros(4)}, "normals must be"),
        ({"points": POINTS, "labels": torch.zeros(4)}, r"labels must be \(4,\) torch.int64"),
        ({"points": POINTS, "instances": torch.zeros(4, dtype=torch.int32)}, r"instances must be \(4,\) torch.int64"),
        (
            {"points": POINTS, "faces": torch.zeros(2, 4, dtype=torch.int64)},
            r"faces must be \(F, 3\) int64, got \(2, 4\)",
        ),
        ({"points": POINTS, "faces": torch.tensor([[0, 1, 4]])}, "faces name points outside of 0 … 3"),
        ({"points": POINTS, "up": torch.zeros(3)}, "up must be three finite numbers, not all 0"),
        ({"points": POINTS, "kept": torch.ones(6, dtype=torch.bool)}, "kept marks 6 rows for 4 points"),
    ],
)
def test_refuses_fields_that_do_not_fit(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"kitchen: .*{message}"):
        Scene(**fields, name="kitchen")


def test_fills_in_the_origin_and_the_length_of_up() -> None:
    scene = Scene(POINTS, up=torch.tensor([0.0, -4.0, 0.0]))
    assert scene.origin_world.tolist() == [0, 0, 0]
    assert scene.origin_world.dtype == torch.float64
    assert scene.up is not None
    assert scene.up.tolist() == [0, -1, 0]
    assert Scene(POINTS).up is None


def test_points_world_is_exact_far_from_zero() -> None:
    scene = Scene(POINTS + 0.125, origin=torch.tensor([5e6, 4e5, -300.0], dtype=torch.float64))
    expected = (POINTS + 0.125).double() + torch.tensor([5e6, 4e5, -300.0], dtype=torch.float64)
    assert torch.equal(scene.points_world, expected)


def test_results_return_to_the_rows_of_the_input() -> None:
    scene = Scene(POINTS, kept=KEPT)
    assert (len(scene), scene.input_count) == (4, 6)
    assert scene.to_input_rows(torch.tensor([1, 2, 3, 4]), 255).tolist() == [1, 255, 2, 3, 255, 4]
    rows = scene.to_input_rows(POINTS, float("nan"))
    assert torch.equal(rows[KEPT], POINTS)
    assert bool(rows[~KEPT].isnan().all())


def test_without_dropped_rows_nothing_is_copied() -> None:
    scene = Scene(POINTS)
    values = torch.zeros(4)
    assert scene.input_count == 4
    assert scene.to_input_rows(values, 0) is values
