"""Tiles of a sparse U-Net: with a margin of its receptive field, features are those of the whole scene."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from geoguide3d.backbones.network_input import Bounds, Placement, network_input, upright_bounds
from geoguide3d.backbones.sparse_unet.network import SparseUNet, SparseUNetConfig
from geoguide3d.backbones.sparse_unet.spunet import SpUNet
from geoguide3d.backbones.tiling import TiledBackbone, TileSettings
from geoguide3d.scenes.scene import Scene

VOXEL_M = 0.05
SMALL = SparseUNetConfig(num_classes=0, base_channels=4, channels=(6, 8, 6, 4), layers=(1,) * 4)
# Voxels that a feature depends on, to one side: 2 by the stem, 2 by the two convolutions of the last block, 4 + 4 by
# those of level 1 (voxels of twice the side) on both ways, 8 by those of level 2, and 3 by the blocks that are pooled.
REACH_M = VOXEL_M * (2 + 2 + 4 + 4 + 8 + 3)


@pytest.fixture(scope="module")
def backbone() -> SpUNet:
    torch.manual_seed(0)
    return SpUNet(SparseUNet(SMALL), voxel_size_m=VOXEL_M)


@pytest.fixture(scope="module")
def hall() -> Scene:
    """A bumpy floor, 8 m long, whose zero is not where its voxels begin."""
    generator = torch.Generator().manual_seed(0)
    start, size = torch.tensor([1.37, -2.0, 0.4]), torch.tensor([8.0, 3.0, 0.3])
    points = torch.rand(20_000, 3, generator=generator) * size + start
    colors = torch.rand(len(points), 3, generator=generator)
    return Scene(points, up=torch.eye(3)[2], colors=colors, normals=torch.eye(3)[2].expand(len(points), 3).contiguous())


def test_a_margin_of_the_receptive_field_makes_seams_exact(backbone: SpUNet, hall: Scene) -> None:
    whole = backbone.encode(hall)
    tiled = TiledBackbone(backbone, TileSettings(core_m=2.0, margin_m=REACH_M)).encode(hall)
    assert float((tiled - whole).abs().max()) <= 1e-5 * float(whole.abs().max())


def test_without_a_margin_seams_show(backbone: SpUNet, hall: Scene) -> None:
    whole = backbone.encode(hall)
    tiled = TiledBackbone(backbone, TileSettings(core_m=2.0, margin_m=0.0)).encode(hall)
    changed = (tiled - whole).abs().amax(dim=1) > 1e-5 * float(whole.abs().max())
    assert 0.01 < float(changed.float().mean()) < 0.9


@pytest.mark.parametrize("upstream_compat", [False, True])
@pytest.mark.parametrize("placement", list(Placement))
def test_parts_have_the_coordinates_and_cells_of_the_whole(
    hall: Scene, placement: Placement, upstream_compat: bool
) -> None:
    whole = network_input(hall, VOXEL_M, (), upstream_compat, placement, upright_bounds(hall))
    chosen = (hall.points[:, 0] > 4.0).nonzero().squeeze(1)
    part = replace(hall, points=hall.points[chosen], colors=None, normals=None)
    seen = network_input(part, VOXEL_M, (), upstream_compat, placement, upright_bounds(hall))
    ours, theirs = seen.voxel_of_point, whole.voxel_of_point[chosen]
    offsets = torch.unique(whole.cells[theirs] - seen.cells[ours], dim=0)
    assert len(offsets) == 1
    assert (offsets % 64 == 0).all()
    assert int(seen.cells.amin(dim=0).amax()) < 64
    same = (whole.points[theirs] == seen.points[ours]).all(dim=1)
    assert float(same.float().mean()) > 0.95  # all but voxels that the part's border cuts


@pytest.mark.parametrize("placement", [Placement.ROOM, Placement.SENSOR])
def test_the_whole_is_a_part_of_itself(hall: Scene, placement: Placement) -> None:
    alone = network_input(hall, VOXEL_M, ("colors",), placement=placement)
    told = network_input(hall, VOXEL_M, ("colors",), placement=placement, whole=upright_bounds(hall))
    for name in ("points", "colors", "normals", "cells", "voxel_of_point"):
        assert torch.equal(getattr(alone, name), getattr(told, name))


def test_a_part_above_the_floor_keeps_its_height(hall: Scene) -> None:
    bounds = upright_bounds(hall)
    deeper = Bounds(bounds.low - torch.tensor([0.0, 0.0, 1.0]), bounds.high)
    heights = network_input(hall, 0.01, (), whole=deeper).points[:, 2]
    assert float(heights.amin()) == pytest.approx(1.0, abs=0.01)
