"""Depth images of points and meshes, against answers known from the drawing board."""

from __future__ import annotations

import pytest
import torch

from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.rendering import render_depth, render_mesh_depth

WIDTH, HEIGHT, FOCAL = 64, 48, 50.0


def camera() -> Camera:
    intrinsics = torch.tensor([[FOCAL, 0.0, 31.5], [0.0, FOCAL, 23.5], [0.0, 0.0, 1.0]])
    return Camera(intrinsics, torch.eye(4), WIDTH, HEIGHT)


def at_pixel(u: float, v: float, z: float) -> list[float]:
    """The point that `camera()` sees at (u, v) and depth z."""
    return [(u - 31.5) * z / FOCAL, (v - 23.5) * z / FOCAL, z]


def test_rendered_depth_holds_the_nearest_depth_and_zero_elsewhere() -> None:
    points = torch.tensor([at_pixel(20, 10, 3.0), at_pixel(20, 10, 2.0), at_pixel(40, 30, 4.0), at_pixel(5, 5, -1.0)])
    image = render_depth(points, camera(), splat_radius_m=0.0)
    assert image.shape == (HEIGHT, WIDTH)
    assert image.dtype == torch.float32
    expected = torch.zeros(HEIGHT, WIDTH)
    expected[10, 20], expected[30, 40] = 2.0, 4.0
    torch.testing.assert_close(image, expected)


def test_gaps_between_points_close_and_rims_stay() -> None:
    """Points on every fourth pixel, splats of 2 px: the grid fills, and nothing grows beyond its first and last row."""
    points = torch.tensor([at_pixel(u, v, 2.0) for u in range(10, 31, 4) for v in range(8, 29, 4)])
    expected = torch.zeros(HEIGHT, WIDTH)
    expected[8:29, 10:31] = 2.0
    torch.testing.assert_close(render_depth(points, camera(), splat_radius_m=2 * 2.0 / FOCAL), expected)


def test_points_just_outside_the_image_close_gaps_at_its_rim() -> None:
    points = torch.tensor([at_pixel(u, 20, 2.0) for u in (-2, 2, WIDTH - 2, WIDTH + 2)])
    image = render_depth(points, camera(), splat_radius_m=2 * 2.0 / FOCAL)
    assert image[20].nonzero().squeeze(1).tolist() == [0, 1, 2, WIDTH - 2, WIDTH - 1]


def test_a_stray_point_before_the_lens_hides_one_pixel() -> None:
    image = render_depth(torch.tensor([at_pixel(32, 24, 0.01)]), camera(), splat_radius_m=0.05)
    assert image.nonzero().tolist() == [[24, 32]]


def test_a_view_of_nothing_has_an_empty_render_depth() -> None:
    assert int(render_depth(torch.tensor([at_pixel(20, 20, -2.0)]), camera(), 0.05).count_nonzero()) == 0


def test_half_precision_points_are_drawn_as_float32() -> None:
    points = torch.tensor([at_pixel(u, v, 2.0) for u in range(10, 20) for v in range(5, 30)]).half()
    assert torch.equal(render_depth(points, camera(), 0.05), render_depth(points.float(), camera(), 0.05))


def test_a_mesh_has_the_depth_of_its_planes() -> None:
    """A wall at 3 m over the left half of the image, and a floor 1 m below the camera, to be seen in front of it."""
    wall = [at_pixel(-20, -20, 3.0), at_pixel(31.25, -20, 3.0), at_pixel(-20, 80, 3.0), at_pixel(31.25, 80, 3.0)]
    floor = [[-50.0, 1.0, -9.0], [50.0, 1.0, -9.0], [0.0, 1.0, 90.0]]
    vertices = torch.tensor([*wall, *floor])
    faces = torch.tensor([[0, 1, 2], [3, 2, 1], [4, 5, 6]])
    image = render_mesh_depth(vertices, faces, camera())
    rows = torch.arange(HEIGHT) - 23.5
    floor_z = FOCAL / rows[30:]  # nearer than 8 m
    torch.testing.assert_close(image[30:, 32:], floor_z[:, None].expand(-1, WIDTH - 32), rtol=1e-5, atol=0)
    torch.testing.assert_close(image[30:, :32], floor_z.clamp(max=3)[:, None].expand(-1, 32), rtol=1e-5, atol=0)
    assert bool((image[:23, 32:] == 0).all())
    assert image.dtype == torch.float32


def test_a_mesh_with_faces_that_no_vertex_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="faces name vertices 0 to 3, but there are 3"):
        render_mesh_depth(torch.zeros(3, 3), torch.tensor([[0, 1, 3]]), camera())
