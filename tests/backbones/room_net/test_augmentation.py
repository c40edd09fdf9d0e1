"""augmentation: two views of one place keep what must be kept, and nothing more."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from geoguide3d.backbones.room_net.augmentation import Augmentation, repainted, two_views
from tests.backbones.room_net.fake_rooms import fake_scene

SCENE = fake_scene(0, "train")
CALM = Augmentation(
    side_m=(1.5, 1.5), apart_m=0.0, stretch=1.0, lift_m=0.0, tilt=0.0, jitter_m=0.0, holes=0, kept_points=1.0,
    no_color=0.0, gray=0.0, repaint=0.0,
)  # fmt: skip


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_the_same_seed_gives_the_same_views() -> None:
    views = [two_views(SCENE, Augmentation(), seeded(3)) for _ in range(2)]
    for first, second in zip(*views, strict=True):
        for name in ("points", "colors", "normals", "rows"):
            assert torch.equal(getattr(first, name), getattr(second, name))
    other = two_views(SCENE, Augmentation(), seeded(4))[0]
    assert not torch.equal(other.rows, views[0][0].rows)


def test_calm_views_are_turned_and_mirrored_alone() -> None:
    """Distances, heights and angles between normals stay; so do the points."""
    view, twin = two_views(SCENE, CALM, seeded())
    assert SCENE.normals is not None
    assert torch.equal(view.rows, twin.rows)
    assert not torch.allclose(view.points, twin.points, atol=0.01)
    points, normals = SCENE.points[view.rows], SCENE.normals[view.rows]
    pairs = torch.randint(len(view.rows), (2, 200), generator=seeded())
    for kept in (view, twin):
        torch.testing.assert_close(kept.points[:, 2], points[:, 2] - SCENE.points[:, 2].amin())
        distances = [(values[pairs[0]] - values[pairs[1]]).norm(dim=1) for values in (points, kept.points)]
        torch.testing.assert_close(*distances, atol=1e-5, rtol=1e-5)
        angles = [(values[pairs[0]] * values[pairs[1]]).sum(dim=1) for values in (normals, kept.normals)]
        torch.testing.assert_close(*angles, atol=1e-5, rtol=1e-5)
        assert bool((kept.points[:, :2].abs().amax(dim=1) <= 0.75 * 2**0.5 + 1e-5).all())


@pytest.mark.parametrize("seed", range(8))
def test_limits_hold(seed: int) -> None:
    how = Augmentation()
    for view in two_views(SCENE, how, seeded(seed)):
        assert bool((view.rows.diff() > 0).all())
        assert bool(((view.colors >= 0) & (view.colors <= 1)).all())
        torch.testing.assert_close(view.normals.norm(dim=1), torch.ones(len(view.rows)), atol=1e-4, rtol=0)
        heights = SCENE.points[view.rows, 2] - SCENE.points[:, 2].amin()
        tilted = 2 * how.tilt * how.side_m[1] * how.stretch
        assert float((view.points[:, 2] - heights).abs().max()) < how.lift_m + 0.2 * 1.2 + tilted + 0.05
        assert float(view.points[:, :2].norm(dim=1).max()) < how.side_m[1] / 2 * 2**0.5 * how.stretch + 0.2


def test_stretching_keeps_normals_upright() -> None:
    """A horizontal face stays horizontal, a wall a wall, whatever the factors."""
    view, _ = two_views(SCENE, replace(CALM, stretch=1.5), seeded(1))
    assert SCENE.normals is not None
    assert torch.allclose(view.normals[:, 2], SCENE.normals[view.rows][:, 2], atol=1e-6)


def test_holes_and_thinning_take_points_away() -> None:
    whole, _ = two_views(SCENE, CALM, seeded())
    holed, _ = two_views(SCENE, replace(CALM, holes=6), seeded())
    assert len(holed.rows) < len(whole.rows)
    thinned, _ = two_views(SCENE, replace(CALM, kept_points=0.0), seeded(1))
    full, _ = two_views(SCENE, CALM, seeded(1))
    assert set(thinned.rows.tolist()) < set(full.rows.tolist())


def test_missing_colors_and_normals_look_like_those_of_scenes_without() -> None:
    view, _ = two_views(SCENE, replace(CALM, no_color=1.0, no_normals=1.0), seeded())
    assert not bool(view.colors.any())
    assert not bool(view.normals.any())


def test_gray_has_no_hue_and_zero_weight_changes_little() -> None:
    colors = torch.rand(500, 3, generator=seeded())
    kept = repainted(colors, CALM, seeded())
    assert float((kept - colors).abs().mean()) < 0.05
    gray = repainted(colors, replace(CALM, gray=1.0), seeded())
    spread = gray.amax(dim=1) - gray.amin(dim=1)
    assert float(spread.mean()) < 0.1 < float((colors.amax(dim=1) - colors.amin(dim=1)).mean())
