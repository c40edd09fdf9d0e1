"""FusionAccumulator, against a loop over views and points."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.fusion.accumulator import FusedFeatures, FusionAccumulator
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.visibility import VisibilityRule, splat_radius, visible_points, z_buffer
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


def fuse(scene: Scene, frames: list[Frame], rule: VisibilityRule = RULE) -> FusedFeatures:
    accumulator = FusionAccumulator(scene, CHANNELS, rule)
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


def test_a_view_of_more_points_than_one_block_adds_them_all() -> None:
    scene, frames = case(7, points=5000, views=2)
    frames = [(view, feature_map, None) for view, feature_map, _ in frames]
    accumulator = FusionAccumulator(scene, CHANNELS, VisibilityRule(occlusion="none"))
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
    accumulator = FusionAccumulator(scene, CHANNELS, VisibilityRule(occlusion="none"))
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
    fused = fuse(scene, [(view, feature_map, None)], VisibilityRule())
    depth_map = z_buffer(scene.points, view.camera, splat_radius(scene.points))
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
    accumulator = FusionAccumulator(scene, CHANNELS, RULE)
    with pytest.raises(ValueError, match=message):
        accumulator.add(frames[0][0], feature_map, frames[0][2])
    assert not bool(accumulator.result().seen.any())


def test_the_result_closes_the_accumulator() -> None:
    scene, frames = case(6)
    accumulator = FusionAccumulator(scene, CHANNELS, RULE)
    accumulator.add(*frames[0])
    first = accumulator.result()
    assert accumulator.result() is first
    with pytest.raises(RuntimeError, match="result"):
        accumulator.add(*frames[1])


@pytest.mark.gpu
@pytest.mark.parametrize("map_device", ["cpu", "cuda"])
@pytest.mark.parametrize("sum_device", ["cpu", "cuda"])
def test_any_mix_of_devices_gives_the_same_features(map_device: str, sum_device: str) -> None:
    scene, frames = case(8)
    frames = [*frames, (frames[0][0], frames[0][1], None)]
    accumulator = FusionAccumulator(scene, CHANNELS, RULE, device=sum_device)
    for view, feature_map, depth_map in frames:
        accumulator.add(view, feature_map.to(map_device), depth_map)
    fused, expected = accumulator.result(), fuse(scene, frames)
    assert fused.features.device.type == sum_device
    torch.testing.assert_close(fused.count.cpu(), expected.count, rtol=0, atol=0)
    torch.testing.assert_close(fused.features.cpu(), expected.features, rtol=0, atol=1e-6)
