"""The small renderer: directions, frames, and the nearest point per pixel."""

from __future__ import annotations

import math

import pytest
import torch

from geoguide3d.query.splat import Direction, Frame, edge_shade, fit_frame, splat

Z_UP = torch.tensor([0.0, 0.0, 1.0])


@pytest.mark.parametrize("up", [Z_UP, torch.tensor([0.0, -1.0, 0.0]), torch.tensor([0.6, 0.0, 0.8])])
@pytest.mark.parametrize("direction", [Direction(0, 90), Direction(112.5, 38), Direction(270, 0)])
def test_axes_are_a_right_handed_frame_at_the_elevation(direction: Direction, up: torch.Tensor) -> None:
    axes = direction.axes(up)
    torch.testing.assert_close(axes @ axes.T, torch.eye(3, dtype=torch.float64))
    torch.testing.assert_close(torch.linalg.det(axes), torch.tensor(1.0, dtype=torch.float64))
    right, down, forward = axes @ up.to(torch.float64)
    assert right.item() == pytest.approx(0, abs=1e-6)  # the picture is not tilted
    assert down.item() <= 1e-6
    assert forward.item() == pytest.approx(-math.sin(math.radians(direction.elevation_deg)), abs=1e-6)


def test_each_pixel_shows_the_nearest_point() -> None:
    frame = Frame(left_m=0, top_m=0, pixel_m=1, width=4, height=3)
    points = torch.tensor([[0.5, 0.5, 5], [0.5, 0.5, 2], [3.5, 2.5, 1], [4.5, 0.5, 0], [-0.1, 0.5, 0]])
    splats = splat(points.double(), frame, radius_m=0.1)
    assert splats.ids.tolist() == [[1, -1, -1, -1], [-1, -1, -1, -1], [-1, -1, -1, 2]]
    assert splats.depth[0, 0] == pytest.approx(2)
    assert splats.depth[0, 1] == math.inf


def test_overlapping_cones_meet_half_way() -> None:
    frame = Frame(left_m=0, top_m=0, pixel_m=0.1, width=9, height=1)
    points = torch.tensor([[0.25, 0.05, 1], [0.65, 0.05, 1]])
    ids = splat(points.double(), frame, radius_m=0.3).ids[0]
    assert ids.tolist() == [0, 0, 0, 0, 0, 1, 1, 1, 1]  # the pixel between them goes to the first


def test_frame_holds_the_points_but_not_a_stray_one() -> None:
    points = torch.rand(2000, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([4.0, 2.0, 1.0])
    points[0] = 500.0
    frame = fit_frame(points, width=100)
    assert (frame.width, frame.height) == (100, 50)
    assert 0.04 < frame.pixel_m < 0.045
    assert frame.left_m == pytest.approx(-0.12, abs=0.03)


def test_frame_keeps_to_the_limits_of_its_shape() -> None:
    tall = torch.tensor([[0.0, 0, 0], [0.1, 9, 0]])
    assert fit_frame(tall, 100, aspect_limits=(0.5, 1.0)).height == 100
    assert fit_frame(tall[:, [1, 0, 2]], 100, aspect_limits=(0.5, 1.0)).height == 50


def test_only_what_stands_back_is_shaded() -> None:
    depth = torch.full((9, 9), 2.0, dtype=torch.float64)
    depth[:, 5:] = 1.0
    shade = edge_shade(depth, reach_px=1)
    assert bool((shade[:, 4] < 0.8).all())
    assert bool((shade[:, :4] == 1).all())
    assert bool((shade[:, 5:] == 1).all())
