from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.geometry.cameras import Camera

K = torch.tensor([[500.0, 0.0, 319.5], [0.0, 500.0, 239.5], [0.0, 0.0, 1.0]], dtype=torch.float64)


def pose(yaw: float = 0.0, translation: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> Tensor:
    c, s = math.cos(yaw), math.sin(yaw)
    matrix = torch.tensor([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]], dtype=torch.float64)
    matrix[:3, 3] = torch.tensor(translation, dtype=torch.float64)
    return matrix


def pixel_of(camera: Camera, point_world: Tensor) -> Tensor:
    """Projects one point by the definition, (2,)."""
    point = camera.camera_from_world @ torch.cat([point_world, torch.ones(1, dtype=torch.float64)])
    image = camera.intrinsics @ point[:3]
    return image[:2] / image[2]


def test_resized_known_answer() -> None:
    half = Camera(K, pose(), 640, 480).resized(320, 240)
    # The centre of the image stays its centre: (640 - 1) / 2 → (320 - 1) / 2.
    expected = torch.tensor([[250.0, 0.0, 159.5], [0.0, 250.0, 119.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(half.intrinsics, expected)
    assert (half.width, half.height) == (320, 240)


def test_resized_to_another_aspect_scales_each_axis_by_itself() -> None:
    camera = Camera(K, pose(), 640, 480).resized(1280, 240)
    expected = torch.tensor([[1000.0, 0.0, 639.5], [0.0, 250.0, 119.5], [0.0, 0.0, 1.0]], dtype=torch.float64)
    torch.testing.assert_close(camera.intrinsics, expected)


@given(
    width=st.integers(1, 3000),
    height=st.integers(1, 3000),
    x=st.floats(-2, 2),
    y=st.floats(-2, 2),
    z=st.floats(0.3, 9),
)
def test_a_point_keeps_its_place_on_the_sensor(width: int, height: int, x: float, y: float, z: float) -> None:
    camera = Camera(K, pose(), 640, 480)
    point = torch.tensor([x, y, z], dtype=torch.float64)
    before, after = pixel_of(camera, point), pixel_of(camera.resized(width, height), point)
    scale = torch.tensor([width / 640, height / 480], dtype=torch.float64)
    torch.testing.assert_close(after + 0.5, (before + 0.5) * scale, rtol=1e-9, atol=1e-6)


def test_resizing_there_and_back_changes_nothing() -> None:
    camera = Camera(K, pose(), 640, 480)
    torch.testing.assert_close(camera.resized(97, 401).resized(640, 480).intrinsics, K)


def test_relative_to_sees_shifted_points_where_it_saw_the_world() -> None:
    origin = torch.tensor([691_000.0, 5_334_000.0, 500.0], dtype=torch.float64)
    point = origin + torch.tensor([1.0, 0.5, 4.0], dtype=torch.float64)
    world = pose(0.7)
    world[:3, 3] = -world[:3, :3] @ origin
    camera = Camera(K, world, 640, 480)
    local = camera.relative_to(origin)
    torch.testing.assert_close(pixel_of(local, point - origin), pixel_of(camera, point), rtol=0, atol=1e-6)
    torch.testing.assert_close(local.center_world, camera.center_world - origin, rtol=0, atol=1e-8)
    assert torch.equal(camera.camera_from_world, world)


def test_centre_and_up_known_answer() -> None:
    # Camera at (1, 2, 3) looking along +z with y down: up in the image is -y of the world.
    camera = Camera(K, pose(0.0, (-1.0, -2.0, -3.0)), 640, 480)
    assert camera.center_world.tolist() == [1, 2, 3]
    assert camera.up_world.tolist() == [0, -1, 0]


def test_matrices_become_float64_on_the_cpu() -> None:
    camera = Camera(K.float(), pose().float(), 640, 480)
    assert camera.intrinsics.dtype == camera.camera_from_world.dtype == torch.float64


@pytest.mark.parametrize(
    ("intrinsics", "camera_from_world", "size", "message"),
    [
        (torch.eye(4), torch.eye(4), (2, 2), r"intrinsics must be \(3, 3\), got \(4, 4\)"),
        (K, torch.eye(4)[:3], (2, 2), r"camera_from_world must be \(4, 4\), got \(3, 4\)"),
        (K * torch.nan, torch.eye(4), (2, 2), "intrinsics holds inf or NaN"),
        (K, torch.eye(4) / 0, (2, 2), "camera_from_world holds inf or NaN"),
        (K, torch.eye(4), (0, 2), "at least one pixel, got 0 × 2"),
        (K, torch.eye(4), (2, -1), "at least one pixel, got 2 × -1"),
    ],
)
def test_refuses_what_is_no_camera(
    intrinsics: Tensor, camera_from_world: Tensor, size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        Camera(intrinsics, camera_from_world, *size)
