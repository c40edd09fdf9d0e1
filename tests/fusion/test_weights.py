"""Weights of sightings: the formulas at places where their values are known."""

from __future__ import annotations

import math

import pytest
import torch

from geoguide3d.fusion.settings import Weighting
from geoguide3d.fusion.weights import (
    angle_weights,
    border_weights,
    confidence_weights,
    distance_weights,
    sighting_weights,
)
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.visibility import VisiblePoints

CAMERA = Camera(torch.tensor([[30.0, 0.0, 19.5], [0.0, 30.0, 14.5], [0.0, 0.0, 1.0]]), torch.eye(4), 40, 30)


def visible(*uv: tuple[float, float]) -> VisiblePoints:
    return VisiblePoints(torch.arange(len(uv)), torch.tensor(uv, dtype=torch.float64).view(-1, 2), torch.ones(len(uv)))


def test_a_surface_counts_by_the_cosine_of_its_angle_from_either_side() -> None:
    rays = torch.tensor([[0.0, 0.0, 2.0]] * 4)
    tilt = math.pi / 3
    normals = torch.tensor([[0, 0, -1], [0, 0, 1], [math.sin(tilt), 0, -math.cos(tilt)], [1, 0, 0]])
    torch.testing.assert_close(angle_weights(rays, normals), torch.tensor([1.0, 1.0, 0.5, 0.0]))


def test_distance_halves_the_weight_where_it_says() -> None:
    rays = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 0.0], [0.0, 6.0, 0.0], [0.0, 0.0, 300.0]])
    torch.testing.assert_close(distance_weights(rays, 3.0), torch.tensor([1.0, 0.5, 0.2, 1 / 10_001]))


def test_the_border_fades_from_the_edge_of_the_image() -> None:
    uv = torch.tensor([[-0.5, 10], [0, 10], [4.5, 10], [20, 15], [39, 10], [10, 29], [10, 27], [39.5, 29.5]]).double()
    expected = torch.tensor([0, 0.05, 0.5, 1, 0.05, 0.05, 0.25, 0]).double()
    torch.testing.assert_close(border_weights(uv, CAMERA, 10.0), expected)


def test_confidence_maps_of_any_size_are_read_at_the_pixel() -> None:
    seen = visible((0.0, 0.0), (19.5, 14.4), (19.51, 14.6), (39.2, 29.0))
    quarters = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    assert confidence_weights(quarters, seen, CAMERA).tolist() == [1.0, 2.0, 4.0, 4.0]  # 19.5 rounds to 20
    pixels = torch.arange(1200.0).view(30, 40)
    assert confidence_weights(pixels, seen, CAMERA).tolist() == [0.0, 14 * 40 + 20, 15 * 40 + 20, 29 * 40 + 39]
    assert confidence_weights(0.25, seen, CAMERA).tolist() == [0.25] * 4
    assert confidence_weights(torch.full((2, 2), -1.0), visible(), CAMERA).shape == (0,)  # nothing of it is read


@pytest.mark.parametrize("wrong", [-1.0, math.nan, math.inf])
def test_a_confidence_that_is_no_weight_is_refused(wrong: float) -> None:
    with pytest.raises(ValueError, match="a confidence must be at least 0 and finite"):
        confidence_weights(wrong, visible((1.0, 1.0)), CAMERA)


def test_factors_multiply_and_without_any_there_are_no_weights() -> None:
    seen = visible((19.5, 14.5), (0.0, 14.5))
    points = torch.tensor([[0.0, 0.0, 2.0], [-1.3, 0.0, 2.0]])
    normals = torch.tensor([[0.0, 0.0, 1.0]] * 2)
    assert sighting_weights(Weighting(), CAMERA, seen, points, normals, None) is None
    weighting = Weighting(viewing_angle=True, half_distance_m=2.0, border_fade_px=2.0)
    got = sighting_weights(weighting, CAMERA, seen, points, normals, 3.0)
    length = math.hypot(1.3, 2.0)
    expected = torch.tensor([3 * 0.5, 3 * (2 / length) / (1 + (length / 2) ** 2) * 0.25])
    assert got is not None
    torch.testing.assert_close(got, expected)
