"""fuse_views: what it asks of encoders and readers, and what it says when nothing can come out."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from geoguide3d.encoders.protocols import ImageEncoder
from geoguide3d.fusion.accumulator import FusionAccumulator
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.fusion.settings import FusionSettings, Weighting
from geoguide3d.geometry.cameras import Camera
from geoguide3d.geometry.visibility import VisibilityRule
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View

WIDTH, HEIGHT = 32, 24


class ColorEncoder:
    """Gives every pixel its own colour, and remembers what it was asked."""

    channels = 3
    text_space = "colors"

    def __init__(self, reads_images: bool = True) -> None:
        self.reads_images = reads_images
        self.calls: list[list[str]] = []
        self.alive_before: list[int] = []
        self._given: list[weakref.ref[Tensor]] = []

    def encode_images(self, images: Sequence[Tensor | None], names: Sequence[str]) -> list[Tensor]:
        gc.collect()
        self.alive_before.append(sum(ref() is not None for ref in self._given))
        self.calls.append(list(names))
        if not self.reads_images:
            assert list(images) == [None] * len(names)
        maps = [torch.zeros(HEIGHT, WIDTH, 3) if image is None else image.float() / 255 for image in images]
        self._given = [weakref.ref(feature_map) for feature_map in maps]
        return maps


def a_wall() -> Scene:
    line = torch.arange(-0.5, 0.5, 0.02)
    x, y = torch.meshgrid(line, line, indexing="ij")
    return Scene(torch.stack([x, y, torch.full_like(x, 2.0)], dim=-1).reshape(-1, 3), name="wall")


def walk(count: int, depth_m: float | None = 2.0) -> list[View]:
    intrinsics = torch.tensor([[30.0, 0.0, 15.5], [0.0, 30.0, 11.5], [0.0, 0.0, 1.0]])
    camera = Camera(intrinsics, torch.eye(4), WIDTH, HEIGHT)
    read_depth = None if depth_m is None else lambda: torch.full((HEIGHT, WIDTH), depth_m)
    return [
        View(
            str(index), camera, lambda index=index: torch.full((HEIGHT, WIDTH, 3), index, dtype=torch.uint8), read_depth
        )
        for index in range(count)
    ]


def test_encoders_meet_the_protocol() -> None:
    assert isinstance(ColorEncoder(), ImageEncoder)


def test_the_mean_over_views_comes_out_in_batches(capfd: pytest.CaptureFixture[str]) -> None:
    encoder = ColorEncoder()
    fused = fuse_views(a_wall(), walk(5), encoder, FusionSettings(images_per_call=2))
    assert encoder.calls == [["0", "1"], ["2", "3"], ["4"]]
    assert bool((fused.count == 5).all())
    torch.testing.assert_close(fused.features, torch.full_like(fused.features, 2 / 255), rtol=0, atol=1e-7)
    assert capfd.readouterr() == ("", "")  # no progress bar where nobody watches


def test_no_map_outlives_its_batch() -> None:
    encoder = ColorEncoder()
    fuse_views(a_wall(), walk(6), encoder, FusionSettings(images_per_call=2))
    assert encoder.alive_before == [0, 0, 0]


def test_pixels_are_not_read_for_encoders_that_do_not_look() -> None:
    def fail() -> Tensor:
        raise AssertionError("read_color was called")

    views = [replace(view, read_color=fail) for view in walk(3)]
    assert bool(fuse_views(a_wall(), views, ColorEncoder(reads_images=False)).seen.all())


def test_depth_is_not_read_where_the_rule_ignores_it() -> None:
    def fail() -> Tensor:
        raise AssertionError("read_depth was called")

    views = [replace(view, read_depth=fail) for view in walk(3)]
    settings = FusionSettings(rule=VisibilityRule(occlusion="none"))
    assert bool(fuse_views(a_wall(), views, ColorEncoder(), settings).seen.all())


def test_views_without_depth_use_the_scene_itself() -> None:
    wall = a_wall()
    hidden = replace(wall, points=torch.cat([wall.points, wall.points + torch.tensor([0.0, 0.0, 1.0])]))
    fused = fuse_views(hidden, walk(2, depth_m=None), ColorEncoder())
    assert bool(fused.seen[: len(wall)].all())
    assert not bool(fused.seen[len(wall) :].any())


def test_views_that_see_nothing_are_an_error_with_the_cure() -> None:
    with pytest.raises(ValueError, match=r"wall: none of the 3 views sees a point.*poses.*metres.*depth scale"):
        fuse_views(a_wall(), walk(3, depth_m=2000.0), ColorEncoder())
    with pytest.raises(ValueError, match="wall: no views"):
        fuse_views(a_wall(), [], ColorEncoder())


def test_features_that_are_not_finite_are_an_error() -> None:
    class Overflowing(ColorEncoder):
        def encode_images(self, images: Sequence[Tensor | None], names: Sequence[str]) -> list[Tensor]:
            return [torch.full((HEIGHT, WIDTH, 3), torch.inf, dtype=torch.float16) for _ in names]

    with pytest.raises(ValueError, match="wall: the encoder gave inf or NaN"):
        fuse_views(a_wall(), walk(2), Overflowing())


def test_interpolation_weighting_and_variance_reach_the_features() -> None:
    wall, views = a_wall(), walk(4)
    settings = FusionSettings(interpolation="bilinear", weighting=Weighting(half_distance_m=2.0), variance=True)
    fused = fuse_views(wall, views, ColorEncoder(), settings)
    torch.testing.assert_close(fused.features, torch.full_like(fused.features, 1.5 / 255), rtol=0, atol=1e-7)
    assert fused.variance is not None  # of 0, 1, 2, 3 it is 1.25, in each of three channels
    torch.testing.assert_close(fused.variance, torch.full_like(fused.variance, 3 * 1.25 / 255**2), rtol=1e-4, atol=0)


def test_settings_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="images_per_call"):
        FusionSettings(images_per_call=0)
    with pytest.raises(ValueError, match=r"interpolation must be .* got 'cubic'"):
        FusionSettings(interpolation="cubic")  # type: ignore[arg-type]
    for wrong in ({"half_distance_m": 0.0}, {"half_distance_m": float("nan")}, {"border_fade_px": -1.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Weighting(**wrong)  # type: ignore[arg-type]


def livingroom_views(folder: Path) -> list[View]:
    intrinsics = torch.from_numpy(np.loadtxt(folder / "intrinsic.txt"))

    def read_color(name: str) -> Tensor:
        return torch.from_numpy(np.array(Image.open(folder / "color" / f"{name}.jpg")))

    def read_depth(name: str) -> Tensor:
        return torch.from_numpy(np.array(Image.open(folder / "depth" / f"{name}.png")).astype(np.float32) / 1000)

    views = []
    for pose in sorted((folder / "pose").glob("*.txt")):
        name = pose.stem
        camera = Camera(intrinsics, torch.from_numpy(np.linalg.inv(np.loadtxt(pose))), 640, 480)
        views.append(View(name, camera, lambda name=name: read_color(name), lambda name=name: read_depth(name)))
    return views


@pytest.fixture(scope="module")
def livingroom(shared_data: Path) -> tuple[Scene, list[View], Tensor]:
    """A cloud of every ninth pixel of the first frame, all frames, and the colours the first frame gives the cloud."""
    views = livingroom_views(shared_data / "livingroom")
    first = views[0]
    assert first.read_depth is not None
    depth_map = first.read_depth()
    v, u = (depth_map > 0).nonzero()[::9].T
    z = depth_map[v, u].double()
    in_camera = torch.linalg.inv(first.camera.intrinsics) @ torch.stack([u * z, v * z, z])
    world_from_camera = torch.linalg.inv(first.camera.camera_from_world)
    points_world = (world_from_camera[:3, :3] @ in_camera).T + world_from_camera[:3, 3]
    return Scene(points_world.float(), name="livingroom"), views, first.read_color()[v, u].float() / 255


def test_points_of_a_frame_are_seen_in_that_frame(livingroom: tuple[Scene, list[View], Tensor]) -> None:
    scene, views, colors = livingroom
    rule = VisibilityRule(depth_tolerance_m=0.001, depth_tolerance_ratio=0.0)
    accumulator = FusionAccumulator(scene, 3, FusionSettings(rule=rule))
    first = views[0]
    assert first.read_depth is not None
    seen = accumulator.add(first, first.read_color().float() / 255, first.read_depth())
    assert seen > 0.99 * len(scene)
    fused = accumulator.result()
    same = (fused.features - colors).abs().amax(1) < 1e-6
    assert float(same[fused.seen].float().mean()) > 0.99


def test_colours_fused_over_the_walk_stay_those_of_the_frame(livingroom: tuple[Scene, list[View], Tensor]) -> None:
    scene, views, colors = livingroom
    fused = fuse_views(scene, views, ColorEncoder())
    assert float(fused.count.float().mean()) > 3
    difference = (fused.features - colors).abs().mean(1)
    assert float(difference[fused.seen].median()) < 0.02
    unrelated = (fused.features.flip(0) - colors).abs().mean(1)
    assert float(difference.mean()) < 0.2 * float(unrelated.mean())
