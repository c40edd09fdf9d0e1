"""fuse_views_once: the same features as without a cache, computed once, and anew whenever anything was changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from geoguide3d.fusion.cached import fuse_views_once
from geoguide3d.fusion.fuse import fuse_views
from geoguide3d.fusion.settings import FusionSettings, Weighting
from geoguide3d.scenes.scene import Scene
from geoguide3d.scenes.view import View
from geoguide3d.store.cache import FeatureCache
from tests.fusion.test_fuse import ColorEncoder, a_wall, walk

SETTINGS = FusionSettings()


class Known(ColorEncoder):
    """Says by `weights` whether it answers as before."""

    def __init__(self, weights: str = "w", reads_images: bool = True) -> None:
        super().__init__(reads_images)
        self.weights = weights

    def content(self, names: Sequence[str]) -> str:
        return self.weights


def half_a_wall() -> Scene:
    """Its upper half lies behind the views' surface and is seen by none."""
    wall = a_wall()
    return replace(wall, points=wall.points + torch.tensor([0.0, 0.0, 1.0]) * (wall.points[:, 1:2] < 0))


def frames() -> list[View]:
    torch.manual_seed(0)
    image = torch.randint(0, 255, (24, 32, 3), dtype=torch.uint8)
    return [replace(view, read_color=lambda: image) for view in walk(3)]


def test_is_fused_once_and_the_same(tmp_path: Path) -> None:
    scene, views, cache = half_a_wall(), frames(), FeatureCache(tmp_path, torch.float16)
    plain, first, second = fuse_views(scene, views, Known()), Known(), Known()
    kept = [fuse_views_once(scene, views, encoder, SETTINGS, cache) for encoder in (first, second)]
    assert first.calls and not second.calls
    for fused in kept:
        assert torch.equal(fused.features, plain.features.to(torch.float16).to(torch.float32))
        assert torch.equal(fused.seen, plain.seen)
        assert 0 < int(fused.seen.sum()) < len(scene)
    again = Known()
    fuse_views_once(replace(scene, name="renamed"), views, again, SETTINGS, cache)
    assert not again.calls
    assert len(list(tmp_path.iterdir())) == 1


def other(view: View, **changes: object) -> View:
    return replace(view, **changes)  # type: ignore[arg-type]


def moved(view: View) -> View:
    pose = view.camera.camera_from_world.clone()
    pose[0, 3] += 0.1
    return replace(view, camera=replace(view.camera, camera_from_world=pose))


def zoomed(view: View) -> View:
    scale = torch.tensor([1.01, 1.01, 1.0], dtype=torch.float64).unsqueeze(1)
    return replace(view, camera=replace(view.camera, intrinsics=scale * view.camera.intrinsics))


def brighter(view: View) -> View:
    image: Tensor = view.read_color() + 1
    return other(view, read_color=lambda: image)


def test_whatever_is_changed_is_fused_again(tmp_path: Path) -> None:
    scene, views, cache = half_a_wall(), frames(), FeatureCache(tmp_path, torch.float16)
    fuse_views_once(scene, views, Known(), SETTINGS, cache)
    depth = torch.full((24, 32), 2.01)
    changed = {
        "a point": (replace(scene, points=scene.points + 1e-4), views, "w", SETTINGS),
        "normals": (replace(scene, normals=torch.ones_like(scene.points)), views, "w", SETTINGS),
        "a view left out": (scene, views[:2], "w", SETTINGS),
        "the order of views": (scene, [moved(views[0]), *views[1:]][::-1], "w", SETTINGS),
        "a pose": (scene, [moved(views[0]), *views[1:]], "w", SETTINGS),
        "a lens": (scene, [zoomed(views[0]), *views[1:]], "w", SETTINGS),
        "colours": (scene, [views[0], brighter(views[1]), views[2]], "w", SETTINGS),
        "depth": (scene, [*views[:2], other(views[2], read_depth=lambda: depth)], "w", SETTINGS),
        "no depth": (scene, [*views[:2], other(views[2], read_depth=None)], "w", SETTINGS),
        "weights": (scene, views, "v", SETTINGS),
        "settings": (scene, views, "w", FusionSettings(weighting=Weighting(half_distance_m=1.0))),
    }
    for what, (cloud, walked, weights, settings) in changed.items():
        encoder = Known(weights)
        fuse_views_once(cloud, walked, encoder, settings, cache)
        assert encoder.calls, what
    assert len(list(tmp_path.iterdir())) == 1 + len(changed)


def test_no_image_is_read_for_an_encoder_that_reads_none(tmp_path: Path) -> None:
    def no_color() -> Tensor:
        raise AssertionError("an image was read")

    views = [other(view, read_color=no_color) for view in frames()]
    encoder = Known(reads_images=False)
    with pytest.raises(AssertionError, match="an image was read"):
        fuse_views_once(a_wall(), views, Known(), SETTINGS, FeatureCache(tmp_path))
    fuse_views_once(a_wall(), views, encoder, SETTINGS, FeatureCache(tmp_path))
    assert encoder.calls


def test_the_variance_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"keeps no variance: switch fusion\.variance off, or the cache"):
        fuse_views_once(a_wall(), frames(), Known(), FusionSettings(variance=True), FeatureCache(tmp_path))
