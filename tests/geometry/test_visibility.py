"""Projection and the depth test, against answers known from the drawing board."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.rendering import render_depth
from geoguide3d.geometry.visibility import VisibilityRule, splat_radius, visible_points

WIDTH, HEIGHT, FOCAL = 64, 48, 50.0
EVERYTHING = VisibilityRule(occlusion="none")


def camera(camera_from_world: Tensor | None = None) -> Camera:
    intrinsics = torch.tensor([[FOCAL, 0.0, 31.5], [0.0, FOCAL, 23.5], [0.0, 0.0, 1.0]])
    pose = torch.eye(4, dtype=torch.float64) if camera_from_world is None else camera_from_world
    return Camera(intrinsics, pose, WIDTH, HEIGHT)


def at_pixel(u: float, v: float, z: float) -> list[float]:
    """The point that `camera()` sees at (u, v) and depth z."""
    return [(u - 31.5) * z / FOCAL, (v - 23.5) * z / FOCAL, z]


def depth(value: float) -> Tensor:
    return torch.full((HEIGHT, WIDTH), value)


def wall(z: float, half_width: float, spacing: float) -> Tensor:
    line = torch.arange(-half_width, half_width + spacing / 2, spacing)
    x, y = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y, torch.full_like(x, z)], dim=-1).reshape(-1, 3)


def rotation(seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    return q if torch.linalg.det(q) > 0 else -q


def posed(seed: int) -> Tensor:
    """A random rigid camera_from_world."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = rotation(seed)
    pose[:3, 3] = torch.randn(3, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    return pose


def test_a_point_lands_where_the_drawing_says() -> None:
    """The camera stands at (1, 2, 3) and looks along the world's +x; right is −y, down is −z."""
    pose = torch.eye(4, dtype=torch.float64)
    pose[:3, :3] = torch.tensor([[0.0, -1.0, 0.0], [0.0, 0.0, -1.0], [1.0, 0.0, 0.0]])
    pose[:3, 3] = -pose[:3, :3] @ torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64)
    point = torch.tensor([[1.0 + 2.0, 2.0 - 0.21, 3.0 + 0.41]])  # 2 m ahead, 0.21 m right, 0.41 m up
    seen = visible_points(point, camera(pose), depth(2.0), VisibilityRule())
    assert (seen.point_ids.tolist(), seen.u.tolist(), seen.v.tolist()) == ([0], [37], [13])
    torch.testing.assert_close(seen.uv, torch.tensor([[36.75, 13.25]]).double(), atol=1e-5, rtol=0)
    assert seen.depth.dtype == torch.float32
    assert seen.depth.tolist() == [2.0]


def test_pixels_are_rounded_half_to_even() -> None:
    points = torch.tensor([at_pixel(u, 24, FOCAL) for u in (10.5, 11.5, 12.4, 12.6)], dtype=torch.float64)
    assert visible_points(points, camera(), None, EVERYTHING).u.tolist() == [10, 12, 12, 13]


def test_the_tolerance_is_metres_plus_a_share_of_the_measured_depth() -> None:
    z = torch.tensor([3.89, 3.91, 4.0, 4.09, 4.11], dtype=torch.float64)  # 0.02 + 0.02 · 4 = 0.1
    points = torch.tensor([at_pixel(20, 20, float(value)) for value in z], dtype=torch.float64)
    rule = VisibilityRule(depth_tolerance_m=0.02, depth_tolerance_ratio=0.02)
    assert visible_points(points, camera(), depth(4.0), rule).point_ids.tolist() == [1, 2, 3]


@pytest.mark.parametrize("missing", [0.0, -1.0, math.nan, math.inf, -math.inf])
def test_nothing_is_seen_where_depth_is_missing(missing: float) -> None:
    points = torch.tensor([at_pixel(20, 20, 2.0), at_pixel(21, 20, 2.0)])
    depth_map = depth(2.0)
    depth_map[20, 20] = missing
    rule = VisibilityRule(depth_tolerance_m=10.0, depth_tolerance_ratio=1.0)
    assert visible_points(points, camera(), depth_map, rule).point_ids.tolist() == [1]


def test_points_behind_and_at_the_camera_are_not_seen() -> None:
    points = torch.tensor([[0.0, 0.0, 0.0], at_pixel(20, 20, -2.0), [0.1, 0.0, 0.0], at_pixel(20, 20, 2.0)])
    assert visible_points(points, camera(), None, EVERYTHING).point_ids.tolist() == [3]
    assert visible_points(points, camera(), depth(2.0), VisibilityRule(10.0, 10.0)).point_ids.tolist() == [3]


@pytest.mark.parametrize("border", [0, 10])
def test_the_border_is_not_seen(border: int) -> None:
    columns = [border - 1, border, WIDTH - border - 1, WIDTH - border]
    rows = [border - 1, border, HEIGHT - border - 1, HEIGHT - border]
    points = [at_pixel(u, 24, 1.0) for u in columns] + [at_pixel(32, v, 1.0) for v in rows]
    seen = visible_points(torch.tensor(points), camera(), None, VisibilityRule(border_px=border, occlusion="none"))
    assert seen.point_ids.tolist() == [1, 2, 5, 6]


def test_depth_of_another_size_and_aspect_is_read_at_its_own_pixel_centres() -> None:
    """A depth map of 32 × 12 for an image of 64 × 48: pixel (u, v) lies in its column u // 2 and row v // 4."""
    points = torch.tensor([at_pixel(u, v, 2.0) for v in range(HEIGHT) for u in range(WIDTH)], dtype=torch.float64)
    for column, row in ((0, 0), (7, 3), (31, 11)):
        depth_map = torch.zeros(12, 32)
        depth_map[row, column] = 2.0
        seen = visible_points(points, camera(), depth_map, VisibilityRule())
        expected = {(u, v) for v in range(HEIGHT) for u in range(WIDTH) if (u // 2, v // 4) == (column, row)}
        assert set(zip(seen.u.tolist(), seen.v.tolist(), strict=True)) == expected


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(0, 5))
def test_equals_a_loop_over_the_points(seed: int, border: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    points = torch.randn(200, 3, generator=generator) * 3
    depth_map = torch.rand(HEIGHT, WIDTH, generator=generator) * 5
    depth_map[depth_map < 1] = 0
    cam, rule = camera(posed(seed)), VisibilityRule(0.1, 0.25, border_px=border)
    expected = []
    for index, point in enumerate(points.double()):
        x, y, z = (cam.camera_from_world[:3, :3] @ point + cam.camera_from_world[:3, 3]).tolist()
        if z <= 0:
            continue
        u, v = round(FOCAL * x / z + 31.5), round(FOCAL * y / z + 23.5)  # Python rounds half to even as well
        if border <= u < WIDTH - border and border <= v < HEIGHT - border:
            d = float(depth_map[v, u])
            if d > 0 and abs(d - z) <= 0.1 + 0.25 * d:
                expected.append((index, u, v))
    seen = visible_points(points, cam, depth_map, rule)
    assert list(zip(seen.point_ids.tolist(), seen.u.tolist(), seen.v.tolist(), strict=True)) == expected


def test_what_cannot_be_tested_is_refused() -> None:
    with pytest.raises(ValueError, match="render_depth"):
        visible_points(torch.zeros(1, 3), camera(), None, VisibilityRule())
    with pytest.raises(ValueError, match=r"of \(h, w\), none empty, got \(1, 48, 64\)"):
        visible_points(torch.tensor([[0.0, 0.0, 1.0]]), camera(), depth(1.0)[None], VisibilityRule())
    with pytest.raises(ValueError, match="inf or NaN"):
        visible_points(torch.tensor([[0.0, 0.0, 1.0], [math.nan, 0.0, 1.0]]), camera(), depth(1.0), VisibilityRule())


@pytest.mark.parametrize(
    "wrong", [{"depth_tolerance_m": -0.1}, {"depth_tolerance_ratio": math.nan}, {"border_px": -1}, {"occlusion": "ray"}]
)
def test_a_senseless_rule_is_refused(wrong: dict[str, float | str]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        VisibilityRule(**wrong)  # type: ignore[arg-type]


@settings(max_examples=12, deadline=None)
@given(
    st.integers(0, 10_000),
    st.floats(0.6, 2.0),
    st.floats(0.3, 3.0),
    st.floats(0.015, 0.04),
    st.booleans(),
)
def test_rendered_depth_hides_a_back_wall_and_keeps_the_front(
    seed: int, front_z: float, gap: float, spacing: float, jittered: bool
) -> None:
    front, back = wall(front_z, 2.5, spacing), wall(front_z + gap, 2.5, spacing)
    if jittered:
        front[:, :2] += (torch.rand(len(front), 2, generator=torch.Generator().manual_seed(seed)) - 0.5) * spacing
    pose = posed(seed)
    in_camera = torch.cat([front, back]).double()
    points = (in_camera - pose[:3, 3]) @ pose[:3, :3]  # world_from_camera
    cam, rule = camera(pose), VisibilityRule()
    seen = visible_points(points, cam, render_depth(points, cam, splat_radius(points)), rule).point_ids
    inside = visible_points(points, cam, None, EVERYTHING).point_ids
    assert len(inside[inside < len(front)]) > 0
    torch.testing.assert_close(seen, inside[inside < len(front)])


@pytest.mark.parametrize("degrees", [0, 30, 60, 75])
def test_a_slanted_wall_hides_what_is_behind_but_not_itself(degrees: int) -> None:
    generator = torch.Generator().manual_seed(degrees)
    plane = torch.rand(100_000, 2, generator=generator) * 6 - 3
    tilt = math.radians(degrees)
    front = torch.stack([plane[:, 0] * math.cos(tilt), plane[:, 1], plane[:, 0] * math.sin(tilt) + 4], dim=1)
    points, cam = (
        torch.cat([front, front * 1.4]),
        camera().resized(320, 240),
    )  # seen from the camera, one covers the other
    seen = visible_points(points, cam, render_depth(points, cam, splat_radius(points)), VisibilityRule()).point_ids
    inside = visible_points(points, cam, None, EVERYTHING).point_ids
    covered = inside[inside >= len(front)]
    covered = covered[(plane[covered - len(front)].abs() < 2.8).all(1)]  # clear of the rims
    assert float((seen < len(front)).sum()) > 0.95 * float((inside < len(front)).sum())
    assert float(torch.isin(covered, seen).float().mean()) < 0.02


def test_the_splat_radius_follows_the_spacing() -> None:
    torch.testing.assert_close(splat_radius(wall(1.0, 1.0, 0.05)), 0.05 * 2**0.5, atol=1e-6, rtol=0)
    assert splat_radius(torch.zeros(1, 3)) == 0.0
