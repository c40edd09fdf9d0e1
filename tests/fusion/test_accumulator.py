"""FusionAccumulator, against a loop over views and points."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.fusion.accumulator import FusedFeatures, FusionAccumulator
from geoguide3d.fusion.settings import FusionSettings, Weighting
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.rendering import render_depth
from geoguide3d.geometry.visibility import VisibilityRule, splat_radius, visible_points
from geoguide3d.ops import FusionState
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

WIDTH, HEIGHT, CHANNELS = 40, 30, 6
Frame = tuple[View, Tensor, Tensor | None]


def a_view(index: int, camera_from_world: Tensor) -> View:
    intrinsics = torch.tensor([[30.0, 0.0, 19.5], [0.0, 30.0, 14.5], [0.0, 0.0, 1.0]])
    return View(f"{index:05d}", Camera(intrinsics, camera_from_world, WIDTH, HEIGHT), read_color=lambda: torch.zeros(0))


def case(
    seed: int, points: int = 300, views: int = 4, map_size: tuple[int, int] = (HEIGHT, WIDTH)
) -> tuple[Scene, list[Frame]]:
    """A cloud of noise, cameras before it, maps of noise, and depth that agrees with a part of the points."""
    generator = torch.Generator().manual_seed(seed)
    scene = Scene(torch.rand(points, 3, generator=generator) * 2)
    frames: list[Frame] = []
    for index in range(views):
        pose = torch.eye(4, dtype=torch.float64)
        pose[:3, 3] = torch.rand(3, generator=generator, dtype=torch.float64) - torch.tensor([1.5, 1.5, 0.0])
        depth_map = torch.rand(HEIGHT, WIDTH, generator=generator) * 2.5
        depth_map[torch.rand(HEIGHT, WIDTH, generator=generator) < 0.2] = 0
        frames.append((a_view(index, pose), torch.randn(*map_size, CHANNELS, generator=generator), depth_map))
    return scene, frames


RULE = VisibilityRule(depth_tolerance_m=0.2, depth_tolerance_ratio=0.1)
SETTINGS = FusionSettings(rule=RULE)
ALL_SEEN = FusionSettings(rule=VisibilityRule(occlusion="none"))


def fuse(scene: Scene, frames: list[Frame], settings: FusionSettings = SETTINGS) -> FusedFeatures:
    accumulator = FusionAccumulator(scene, CHANNELS, settings)
    for view, feature_map, depth_map in frames:
        accumulator.add(view, feature_map, depth_map)
    return accumulator.result()


def fuse_by_loop(scene: Scene, frames: list[Frame]) -> FusedFeatures:
    sums = torch.zeros(len(scene), CHANNELS, dtype=torch.float64)
    count = torch.zeros(len(scene), dtype=torch.int32)
    for view, feature_map, depth_map in frames:
        seen = visible_points(scene.points_world, view.camera, depth_map, RULE)
        for point, u, v in zip(seen.point_ids.tolist(), seen.u.tolist(), seen.v.tolist(), strict=True):
            row = int((v + 0.5) * feature_map.shape[0] / HEIGHT)
            column = int((u + 0.5) * feature_map.shape[1] / WIDTH)
            sums[point] += feature_map[row, column].double()
            count[point] += 1
    return FusedFeatures((sums / count.clamp(min=1)[:, None]).float(), count)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(HEIGHT, WIDTH), (15, 20), (7, 9), (61, 45), (1, 1)]))
def test_equals_a_loop_over_views_and_points(seed: int, map_size: tuple[int, int]) -> None:
    scene, frames = case(seed, map_size=map_size)
    fused, expected = fuse(scene, frames), fuse_by_loop(scene, frames)
    torch.testing.assert_close(fused.count, expected.count, rtol=0, atol=0)
    torch.testing.assert_close(fused.features, expected.features, rtol=0, atol=1e-6)
    assert 0 < int(fused.seen.sum()) < len(scene)
    assert int(fused.features[~fused.seen].count_nonzero()) == 0


def test_a_view_of_many_points_adds_them_all() -> None:
    scene, frames = case(7, points=5000, views=2)
    frames = [(view, feature_map, None) for view, feature_map, _ in frames]
    accumulator = FusionAccumulator(scene, CHANNELS, ALL_SEEN)
    saw = [accumulator.add(*frame) for frame in frames]
    fused = accumulator.result()
    assert min(saw) > 2048
    assert sum(saw) == int(fused.count.sum())
    sums = (fused.features * fused.count[:, None]).sum(0)
    expected = torch.zeros(CHANNELS)
    for view, feature_map, _ in frames:
        seen = visible_points(scene.points_world, view.camera, None, VisibilityRule(occlusion="none"))
        expected += feature_map[seen.v, seen.u].sum(0)
    torch.testing.assert_close(sums, expected, rtol=1e-4, atol=1e-2)


def test_the_order_of_views_does_not_matter() -> None:
    scene, frames = case(1, views=8)
    forth, back = fuse(scene, frames), fuse(scene, frames[::-1])
    torch.testing.assert_close(forth.features, back.features, rtol=0, atol=1e-6)
    torch.testing.assert_close(forth.count, back.count, rtol=0, atol=0)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_sums_are_float32_whatever_the_maps_are(dtype: torch.dtype) -> None:
    """2,048 views of the value 1 + 1/128: half and bfloat16 sums would stall long before."""
    scene = Scene(torch.tensor([[0.0, 0.0, 1.0]]))
    view = a_view(0, torch.eye(4, dtype=torch.float64))
    accumulator = FusionAccumulator(scene, CHANNELS, ALL_SEEN)
    feature_map = torch.full((HEIGHT, WIDTH, CHANNELS), 1 + 1 / 128, dtype=dtype)
    for _ in range(2048):
        accumulator.add(view, feature_map, None)
    fused = accumulator.result()
    assert fused.features.dtype == torch.float32
    assert fused.count.tolist() == [2048]
    torch.testing.assert_close(fused.features, torch.full((1, CHANNELS), 1 + 1 / 128), rtol=1e-6, atol=0)


def test_channel_first_maps_may_be_permuted() -> None:
    scene, frames = case(2)
    permuted = [(v, m.permute(2, 0, 1).contiguous().permute(1, 2, 0), d) for v, m, d in frames]
    torch.testing.assert_close(fuse(scene, permuted).features, fuse(scene, frames).features, rtol=0, atol=0)


def test_maps_that_require_grad_leave_no_graph() -> None:
    scene, frames = case(2)
    fused = fuse(scene, [(v, m.requires_grad_(), d) for v, m, d in frames])
    assert not fused.features.requires_grad


def test_a_scene_in_utm_coordinates_gives_the_same_features() -> None:
    scene, frames = case(3)
    origin = torch.tensor([448_262.25, 5_411_932.5, 137.75], dtype=torch.float64)
    far_frames: list[Frame] = []
    for view, feature_map, depth_map in frames:
        pose = view.camera.camera_from_world.clone()
        pose[:3, 3] -= pose[:3, :3] @ origin
        far_frames.append((replace(view, camera=replace(view.camera, camera_from_world=pose)), feature_map, depth_map))
    near, far = fuse(scene, frames), fuse(replace(scene, origin=origin), far_frames)
    torch.testing.assert_close(far.count, near.count, rtol=0, atol=0)
    torch.testing.assert_close(far.features, near.features, rtol=0, atol=0)


def test_without_depth_the_scene_itself_occludes() -> None:
    line = torch.arange(-1.5, 1.5, 0.03)
    x, y = torch.meshgrid(line, line, indexing="ij")
    front = torch.stack([x, y, torch.full_like(x, 1.0)], dim=-1).reshape(-1, 3)
    scene = Scene(torch.cat([front, front + torch.tensor([0.0, 0.0, 1.0])]))
    view = a_view(0, torch.eye(4, dtype=torch.float64))
    feature_map = torch.ones(HEIGHT, WIDTH, CHANNELS)
    fused = fuse(scene, [(view, feature_map, None)], FusionSettings())
    depth_map = render_depth(scene.points, view.camera, splat_radius(scene.points))
    expected = visible_points(scene.points, view.camera, depth_map, VisibilityRule()).point_ids
    assert fused.seen.nonzero().squeeze(1).tolist() == expected.tolist()
    assert bool(fused.seen[: len(front)].any())
    assert not bool(fused.seen[len(front) :].any())


def test_no_view_at_all_gives_zeros() -> None:
    scene, _ = case(4)
    fused = FusionAccumulator(scene, CHANNELS).result()
    assert fused.features.shape == (len(scene), CHANNELS)
    assert int(fused.features.count_nonzero()) == 0
    assert fused.count.dtype == torch.int32
    assert not bool(fused.seen.any())


@pytest.mark.parametrize(
    ("feature_map", "message"),
    [
        (torch.zeros(HEIGHT, WIDTH, CHANNELS + 1), r"00000: a feature map must be \(h, w, 6\), got \(30, 40, 7\)"),
        (torch.zeros(HEIGHT, CHANNELS), r"got \(30, 6\)"),
        (torch.zeros(HEIGHT, WIDTH, CHANNELS, dtype=torch.int64), "floats, got torch.int64"),
    ],
)
def test_a_map_of_another_kind_is_refused_and_adds_nothing(feature_map: Tensor, message: str) -> None:
    scene, frames = case(5)
    accumulator = FusionAccumulator(scene, CHANNELS, SETTINGS)
    with pytest.raises(ValueError, match=message):
        accumulator.add(frames[0][0], feature_map, frames[0][2])
    assert not bool(accumulator.result().seen.any())


def test_the_result_closes_the_accumulator() -> None:
    scene, frames = case(6)
    accumulator = FusionAccumulator(scene, CHANNELS, SETTINGS)
    accumulator.add(*frames[0])
    first = accumulator.result()
    assert accumulator.result() is first
    with pytest.raises(RuntimeError, match="result"):
        accumulator.add(*frames[1])


def rows_by_loop(scene: Scene, frames: list[Frame]) -> list[list[tuple[float, Tensor]]]:
    """What each point gets: (weight, row) of each sighting, by distance, bilinear, one number at a time, in float64."""
    rows: list[list[tuple[float, Tensor]]] = [[] for _ in range(len(scene))]
    for view, feature_map, depth_map in frames:
        seen = visible_points(scene.points_world, view.camera, depth_map, RULE)
        for point, (u, v) in zip(seen.point_ids.tolist(), seen.uv.tolist(), strict=True):
            u, v = min(max(u, 0.0), WIDTH - 1.0), min(max(v, 0.0), HEIGHT - 1.0)
            near = [(i, j) for j in range(HEIGHT) for i in range(WIDTH) if abs(i - u) < 1 and abs(j - v) < 1]
            row = sum((1 - abs(i - u)) * (1 - abs(j - v)) * feature_map[j, i].double() for i, j in near)
            distance_m = float((scene.points_world[point] - view.camera.center_world).norm())
            assert isinstance(row, Tensor)
            rows[point].append((1 / (1 + (distance_m / 1.5) ** 2), row))
    return rows


def test_bilinear_weighted_means_and_their_variance_equal_a_loop() -> None:
    scene, frames = case(9, points=120)
    settings = replace(SETTINGS, interpolation="bilinear", weighting=Weighting(half_distance_m=1.5), variance=True)
    fused = fuse(scene, frames, settings)
    assert fused.variance is not None
    for point, rows in enumerate(rows_by_loop(scene, frames)):
        assert int(fused.count[point]) == len(rows)
        if not rows:
            continue
        mass = sum(weight for weight, _ in rows)
        mean = torch.stack([weight * row for weight, row in rows]).sum(0) / mass
        variance = sum(weight * float((row - mean).square().sum()) for weight, row in rows) / mass
        torch.testing.assert_close(fused.features[point].double(), mean, rtol=0, atol=1e-5)
        assert float(fused.variance[point]) == pytest.approx(variance, abs=1e-4)
    assert int(fused.count.max()) > 1
    assert fuse(scene, frames).variance is None


def test_confidence_weighs_views_and_pixels_and_0_silences_them() -> None:
    scene, frames = case(10, views=2)
    (first, first_map, _), (second, second_map, _) = frames
    accumulator = FusionAccumulator(scene, CHANNELS, ALL_SEEN)
    saw = accumulator.add(first, first_map, None, confidence=0.5)
    right_half = torch.arange(8).expand(6, 8) >= 4
    accumulator.add(second, second_map, None, confidence=right_half.float() * 1.5)
    fused = accumulator.result()
    seen = [visible_points(scene.points_world, view.camera, None, ALL_SEEN.rule) for view in (first, second)]
    mass, sums = torch.zeros(len(scene), 1), torch.zeros(len(scene), CHANNELS)
    for one, feature_map, weight in zip(seen, (first_map, second_map), (0.5, 1.5), strict=True):
        heard = torch.ones(len(one), dtype=torch.bool) if weight == 0.5 else one.u >= WIDTH // 2
        ids = one.point_ids[heard]
        sums[ids] += weight * feature_map[one.v[heard], one.u[heard]]
        mass[ids] += weight
    torch.testing.assert_close(fused.features, sums / mass.clamp(min=1e-9), rtol=0, atol=1e-5)
    assert saw == len(seen[0])
    silent = FusionAccumulator(scene, CHANNELS, ALL_SEEN)
    assert silent.add(first, first_map * torch.nan, None, confidence=0.0) == saw
    assert not bool(silent.result().seen.any())
    assert int(silent.result().features.count_nonzero()) == 0


@pytest.mark.parametrize(
    ("confidence", "message"),
    [
        (-1.0, "00000: a confidence must be at least 0 and finite, got -1.0"),
        (float("nan"), "got nan"),
        (torch.full((6, 8), torch.inf), "got inf"),
        (torch.ones(6, 8, 1), r"00000: a confidence map must be \(h, w\), got \(6, 8, 1\)"),
    ],
)
def test_a_confidence_that_weighs_nothing_known_is_refused_and_adds_nothing(
    confidence: Tensor | float, message: str
) -> None:
    scene, frames = case(5)
    accumulator = FusionAccumulator(scene, CHANNELS, ALL_SEEN)
    with pytest.raises(ValueError, match=message):
        accumulator.add(*frames[0], confidence=confidence)
    assert not bool(accumulator.result().seen.any())


def test_viewing_angles_need_no_normals_of_the_file() -> None:
    """Two views of a wall: head-on, and from 60 degrees aside, which counts half as much."""
    line = torch.linspace(-0.2, 0.2, 21)
    x, y = torch.meshgrid(line, line, indexing="ij")
    wall = Scene(torch.stack([x, y, torch.full_like(x, 2.0)], dim=-1).reshape(-1, 3))
    aside = torch.eye(4, dtype=torch.float64)
    turn = torch.tensor(torch.pi / 3).double()
    aside[0, 0] = aside[2, 2] = turn.cos()
    aside[0, 2], aside[2, 0] = -turn.sin(), turn.sin()
    aside[:3, 3] = torch.tensor([0.0, 0.0, 2.0]).double() - aside[:3, :3] @ torch.tensor([0.0, 0.0, 2.0]).double()
    settings = replace(ALL_SEEN, weighting=Weighting(viewing_angle=True))
    accumulator = FusionAccumulator(wall, 1, settings)
    for value, pose in ((3.0, torch.eye(4, dtype=torch.float64)), (0.0, aside)):
        assert accumulator.add(a_view(0, pose), torch.full((HEIGHT, WIDTH, 1), value), None) == len(wall)
    middle = accumulator.result().features.view(21, 21)[10, 10]
    assert float(middle) == pytest.approx(2.0, abs=1e-3)  # (1 · 3 + ½ · 0) / (1 + ½)


def test_fusing_goes_on_from_a_saved_state_bit_for_bit(tmp_path: Path) -> None:
    scene, frames = case(11, views=10)
    settings = replace(SETTINGS, interpolation="bilinear", weighting=Weighting(border_fade_px=5), variance=True)
    whole = fuse(scene, frames, settings)
    before, after = (FusionAccumulator(scene, CHANNELS, settings) for _ in range(2))
    for frame in frames[:5]:
        before.add(*frame)
    torch.save(before.state_dict(), tmp_path / "state.pt")
    after.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    for frame in frames[5:]:
        after.add(*frame)
    resumed = after.result()
    assert torch.equal(resumed.features, whole.features)
    assert torch.equal(resumed.count, whole.count)
    assert resumed.variance is not None
    assert whole.variance is not None
    assert torch.equal(resumed.variance, whole.variance)


def test_a_state_of_something_else_is_refused() -> None:
    scene, frames = case(12)
    accumulator = FusionAccumulator(scene, CHANNELS, SETTINGS)
    with pytest.raises(ValueError, match=r"got \['count', 'mass', 'spread', 'sums'\]; is `variance` set"):
        accumulator.load_state_dict(FusionAccumulator(scene, CHANNELS, replace(SETTINGS, variance=True)).state_dict())
    with pytest.raises(ValueError, match=r"sums must be \(300, 6\) .* got \(300, 7\)"):
        accumulator.load_state_dict(FusionAccumulator(scene, 7, SETTINGS).state_dict())
    accumulator.add(*frames[0])
    accumulator.result()
    with pytest.raises(RuntimeError, match="result"):
        accumulator.state_dict()


@pytest.mark.gpu
@pytest.mark.parametrize("map_device", ["cpu", "cuda"])
@pytest.mark.parametrize("sum_device", ["cpu", "cuda"])
def test_any_mix_of_devices_gives_the_same_features(map_device: str, sum_device: str) -> None:
    scene, frames = case(8)
    frames = [*frames, (frames[0][0], frames[0][1], None)]
    accumulator = FusionAccumulator(scene, CHANNELS, replace(SETTINGS, device=sum_device))
    for view, feature_map, depth_map in frames:
        accumulator.add(view, feature_map.to(map_device), depth_map)
    fused, expected = accumulator.result(), fuse(scene, frames)
    assert fused.features.device.type == sum_device
    torch.testing.assert_close(fused.count.cpu(), expected.count, rtol=0, atol=0)
    torch.testing.assert_close(fused.features.cpu(), expected.features, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("points", "channels"), [(-1, 3), (5, -3)])
def test_a_state_of_a_negative_size_is_an_error(points: int, channels: int) -> None:
    with pytest.raises(ValueError, match=f"must not be negative, got {points}, {channels}"):
        FusionState.empty(points, channels)
