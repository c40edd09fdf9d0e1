"""Tiles: every point once, the same features where the margin covers what a backbone sees, memory as estimated."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from geoguide3d.backbones.cached import CachedBackbone
from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.protocol import EncodesInPieces, FrozenBackbone
from geoguide3d.backbones.tiling import TiledBackbone, TileSettings, Tiling
from geoguide3d.ops import voxel_hash
from geoguide3d.scenes.scene import Scene
from geoguide3d.store.cache import FeatureCache

UP = torch.tensor([0.0, 0.0, 1.0])
REACH_M = 0.5


class Local:
    """Counts of neighbours within REACH_M, and their colours as integers: exact in any order of summation."""

    name, channels, licence = "local", 4, "CC0"
    voxel_size_m, needs = 0.02, ("colors",)

    def __init__(self) -> None:
        self.config: dict[str, Any] = {}
        self.sizes: list[int] = []

    def encode(self, scene: Scene) -> Tensor:
        self.sizes.append(len(scene))
        near = torch.cdist(scene.points, scene.points, compute_mode="donot_use_mm_for_euclid_dist") <= REACH_M
        colors = torch.zeros_like(scene.points) if scene.colors is None else (scene.colors * 255).round()
        return near.float() @ torch.cat([torch.ones(len(scene), 1), colors], dim=1)


def hall(points: int = 2000, sides: tuple[float, float, float] = (7.0, 5.0, 1.0), seed: int = 0) -> Scene:
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(points, 3, generator=generator) * torch.tensor(sides) - 2
    normals = UP.expand(points, 3).clone()
    return Scene(corners, colors=torch.rand(points, 3, generator=generator), normals=normals, up=UP)


@settings(max_examples=50, deadline=None)
@given(
    points=st.integers(1, 200),
    width=st.floats(0, 30),
    core=st.floats(0.5, 40),
    margin=st.floats(0, 5),
    seed=st.integers(0, 2**31),
)
def test_each_point_is_in_one_core_with_its_surroundings(
    points: int, width: float, core: float, margin: float, seed: int
) -> None:
    scene = hall(points, (width, 3.0, 1.0), seed)
    tiling = Tiling(scene, TileSettings(core, margin))
    tiles = list(tiling)
    owned = torch.cat([tile.points[tile.core] for tile in tiles])
    assert torch.equal(owned, tiling.order)
    assert owned.sort().values.tolist() == list(range(points))
    assert any(torch.equal(tiling.largest, tile.points) for tile in tiles)
    assert len(tiling.largest) == max(len(tile.points) for tile in tiles)
    for tile in tiles:
        own = scene.points[tile.points[tile.core], :2]
        spread = own.amax(dim=0) - own.amin(dim=0)
        assert float(spread.max()) <= core * (1 + 1e-5)
        near = (torch.cdist(scene.points[:, :2], own).amin(dim=1) < margin * 0.999).nonzero().squeeze(1)
        assert set(near.tolist()) <= set(tile.points.tolist())


@pytest.mark.parametrize("up", [UP, -UP, torch.tensor([0.0, 1.0, 0.0]), torch.tensor([1.0, 0.0, 0.0])])
def test_seams_are_exact_where_the_margin_covers_the_reach(up: Tensor) -> None:
    scene, local = hall(), Local()
    scene = Scene(scene.points, colors=scene.colors, normals=scene.normals, up=up, origin=torch.tensor([1e5, 0, 0]))
    expected = local.encode(scene)
    local.sizes.clear()
    tiled = TiledBackbone(local, TileSettings(core_m=2.0, margin_m=REACH_M + 1e-3))
    assert torch.equal(tiled.encode(scene), expected)
    assert len(local.sizes) > 2 and max(local.sizes) < len(scene)
    pieces = tiled.encode_pieces(scene)
    assert pieces.inverse is not None
    assert torch.equal(torch.cat(list(pieces.pieces))[pieces.inverse], expected)


def test_seams_show_without_a_margin() -> None:
    scene, local = hall(), Local()
    tiled = TiledBackbone(local, TileSettings(core_m=2.0, margin_m=0.0))
    assert not torch.equal(tiled.encode(scene), local.encode(scene))


def test_a_small_scene_is_encoded_at_once() -> None:
    scene, local = hall(), Local()
    for tiles in (TileSettings(), TileSettings(core_m=50.0)):
        local.sizes.clear()
        tiled = TiledBackbone(local, tiles)
        assert torch.equal(tiled.encode(scene), Local().encode(scene))
        assert local.sizes == [len(scene)]
    assert TiledBackbone(local, TileSettings()).config == {}
    assert TiledBackbone(local, TileSettings(8, 1)).config == {"tiles": {"core_m": 8, "margin_m": 1}}


def test_memory_is_estimated_before_the_first_tile(caplog: pytest.LogCaptureFixture) -> None:
    class Failing(Local):
        bytes_per_voxel = 1_000_000
        voxel_size_m = 0.5

        def encode(self, scene: Scene) -> Tensor:
            raise MemoryError

    scene = hall()
    largest = scene.points[Tiling(scene, TileSettings(2.0, 0.5)).largest]
    voxels = len(voxel_hash(largest, Failing.voxel_size_m)[0])
    assert voxels < len(largest)
    with caplog.at_level(logging.INFO), pytest.raises(MemoryError):
        TiledBackbone(Failing(), TileSettings(2.0, 0.5)).encode(scene)
    said = (
        f"encodes 2,000 points in 12 tiles of at most {len(largest):,} ({voxels:,} voxels of {Failing.voxel_size_m} m)"
    )
    assert f"{said}; about {voxels / 1e3 + (2000 + len(largest)) * 16 / 1e9:.2f} GB of memory" in caplog.text


def test_missing_up_and_normals_are_estimated_once_for_all_tiles() -> None:
    seen: list[Scene] = []

    class Seeing(Local):
        def encode(self, scene: Scene) -> Tensor:
            seen.append(scene)
            return super().encode(scene)

    TiledBackbone(Seeing(), TileSettings(2.0, 0.5)).encode(Scene(hall().points))
    assert all(part.normals is not None and part.up is not None for part in seen)
    assert len({tuple(part.up.tolist()) for part in seen if part.up is not None}) == 1
    assert all(part.colors is None for part in seen)


def test_tiles_go_to_the_cache_one_by_one(tmp_path: Path) -> None:
    scene, local = hall(), Local()
    tiled = TiledBackbone(local, TileSettings(2.0, REACH_M + 1e-3))
    assert isinstance(tiled, FrozenBackbone) and isinstance(tiled, EncodesInPieces)
    cached = CachedBackbone(tiled, FeatureCache(tmp_path), None)
    assert torch.equal(cached.encode(scene), Local().encode(scene))
    assert torch.equal(CachedBackbone(local, FeatureCache(tmp_path), None).encode(scene), Local().encode(scene))
    assert len(list(tmp_path.iterdir())) == 2  # tiles are another configuration


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((0.0, 1.0), "tiles.core_m must be positive, got 0.0"),
        ((1.0, -1.0), "tiles.margin_m must be at least 0, got -1"),
    ],
)
def test_settings_are_checked(values: tuple[float, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TileSettings(*values)


def test_tiles_need_an_up() -> None:
    with pytest.raises(ValueError, match=r"tiles need core_m and up, got 2\.0 and None"):
        Tiling(Scene(torch.zeros(1, 3)), TileSettings(2.0))


def corridor() -> Scene:
    """10 m × 2 m × 2 m with a box every metre; tiles of 5 m with 1 m of margin keep the phase of a 0.1 m grid."""
    generator = torch.Generator().manual_seed(0)
    points, normals = [], []

    def sheet(corner: tuple[float, ...], sides: tuple[float, ...], normal: tuple[float, ...]) -> None:
        extent = torch.tensor(sides)
        count = int(80 * extent[extent > 0].prod())
        points.append(torch.rand(count, 3, generator=generator) * extent + torch.tensor(corner))
        normals.append(torch.tensor(normal).expand(count, 3))

    for height, down in ((0.0, 1.0), (2.0, -1.0)):
        sheet((0, 0, height), (10, 2, 0), (0, 0, down))
        sheet((0, height, 0), (10, 0, 2), (0, down, 0))
    for k in range(10):
        side, height = 0.3 + 0.03 * k, 0.3 + 0.05 * k
        sheet((k + 0.3, 0.8, height), (side, side, 0), (0, 0, 1))
        sheet((k + 0.3, 0.8, 0), (side, 0, height), (0, -1, 0))
    cloud = torch.cat(points)
    cloud[0], cloud[1] = torch.tensor([0.0, 0, 0]), torch.tensor([10.0, 2, 0])  # the box that phases are counted from
    return Scene(cloud, colors=cloud * 0.37 % 1, normals=torch.cat(normals).contiguous(), up=UP)


def test_descriptors_agree_at_seams_but_for_what_they_read_of_the_whole_room() -> None:
    """A tenth of a channel's spread is the tolerance; objects and far columns are the room's, not the place's."""
    scene, descriptors = corridor(), Descriptors(voxel_size_m=0.1)
    whole = descriptors.encode(scene)
    seam = (scene.points[:, 0] - 5).abs() < 0.5
    share = []
    for margin in (0.0, 1.0):
        tiles = TiledBackbone(descriptors, TileSettings(5.0, margin)).encode(scene)
        close = (tiles - whole)[seam].abs() <= 0.1 * whole.std(dim=0).clamp(min=1e-2)
        share.append((float(close[:, :4].float().mean()), float(close.float().mean())))
    assert share[1][0] > 0.95  # height, clearance, rise
    assert share[1][1] > max(0.8, share[0][1] + 0.02)
