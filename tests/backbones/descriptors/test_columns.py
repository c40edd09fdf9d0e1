"""columns: a table over a floor, in layers that can be counted."""

from __future__ import annotations

import math

import torch

from geoguide3d.backbones.descriptors.columns import column_features

SPACING_M = 0.04
BANDS = 10  # above the floor, below and between and beyond its nine edges


def layer(height_m: float) -> torch.Tensor:
    steps = torch.arange(-25, 26, dtype=torch.float64) * SPACING_M
    plane = torch.cartesian_prod(steps, steps)
    return torch.cat([plane, torch.full((len(plane), 1), height_m, dtype=torch.float64)], dim=1)


def middle_of_floor(normals_up: bool) -> torch.Tensor:
    positions = torch.cat([layer(0.0), layer(0.8), layer(0.8)])
    normals = torch.tensor([[0.0, 0.0, 1.0 if normals_up else -1.0]], dtype=torch.float64).expand_as(positions)
    return column_features(positions, normals, 0.4, SPACING_M**2)[51 * 51 // 2]


def test_layers_are_counted_in_their_bands() -> None:
    above_floor = middle_of_floor(normals_up=True)[:BANDS].expm1()
    expected = torch.zeros(BANDS, dtype=torch.float64)
    expected[0] = 1.0  # the floor, up to 0.1 m
    expected[5] = 2.0  # two layers between 0.7 and 0.85 m
    torch.testing.assert_close(above_floor, expected, atol=0.1, rtol=0)


def test_only_what_faces_up_is_a_top() -> None:
    features = middle_of_floor(normals_up=True)
    torch.testing.assert_close(features[BANDS : 2 * BANDS], features[:BANDS])
    assert not middle_of_floor(normals_up=False)[BANDS : 2 * BANDS].any()


def test_quantiles_are_heights_above_the_point() -> None:
    low, middle, high = middle_of_floor(normals_up=True)[-3:].tolist()
    assert math.isclose(low, 0.0, abs_tol=0.06)
    assert math.isclose(middle, 0.8, abs_tol=0.06)
    assert math.isclose(high, 0.8, abs_tol=0.06)
