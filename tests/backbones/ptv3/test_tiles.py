"""What tiles do to features that depend on the whole scene: measured, so that the docstring's words stay true."""

from __future__ import annotations

import logging
import re
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from geoguide3d.backbones.ptv3.backbone import PTv3Settings
from geoguide3d.backbones.ptv3.config import SONATA
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder
from geoguide3d.backbones.ptv3.sonata import Sonata
from geoguide3d.backbones.tiling import TiledBackbone, TileSettings
from geoguide3d.scenes.scene import Scene
from tests.backbones.ptv3.random_encoder import name_seeded

SMALL = replace(
    SONATA,
    stride=(2, 2),
    enc_depths=(1, 1, 2),
    enc_channels=(16, 32, 48),
    enc_num_head=(1, 2, 3),
    enc_patch_size=(256,) * 3,
)


@pytest.fixture(scope="module")
def backbone() -> Sonata:
    encoder = PTv3Encoder(SMALL)
    encoder.load_state_dict(name_seeded(encoder, 6))
    return Sonata(encoder, PTv3Settings(voxel_size_m=0.04))


@pytest.fixture(scope="module")
def corridor() -> Scene:
    """A floor, a wall and four boxes, 4 m long."""
    generator = torch.Generator().manual_seed(0)
    along, across = (axis.flatten() for axis in torch.meshgrid(*[torch.arange(0, 4, 0.04)] * 2, indexing="ij"))
    floor = torch.stack([along, 0.4 * across, 0 * along], dim=1)
    wall = torch.stack([along, 0 * along, 0.3 * across], dim=1)
    boxes = torch.rand(4, 400, 3, generator=generator)
    boxes[:, torch.arange(400), torch.arange(400) % 3] = 1.0
    starts = torch.tensor([[0.5, 0.6, 0], [1.4, 0.6, 0], [2.3, 0.6, 0], [3.2, 0.6, 0]])
    points = torch.cat([floor, wall, (boxes * 0.4 + starts[:, None]).flatten(0, 1)])
    normals = torch.eye(3)[2].expand(len(points), 3).contiguous()
    colors = torch.rand(len(points), 3, generator=generator)
    return Scene(points, up=torch.eye(3)[2], colors=colors, normals=normals)


def cosines(backbone: Sonata, scene: Scene, margin_m: float) -> Tensor:
    tiled = TiledBackbone(backbone, TileSettings(core_m=2.0, margin_m=margin_m)).encode(scene)
    return torch.nn.functional.cosine_similarity(tiled, backbone.encode(scene), dim=1)


def test_tiles_change_features_a_little(backbone: Sonata, corridor: Scene) -> None:
    for margin_m in (0.0, 0.5, 1.0):
        found = cosines(backbone, corridor, margin_m)
        print(
            f"margin {margin_m} m: cosine to the whole scene's features {found.median():.3f} in the median, "
            f"{found.quantile(0.05):.3f} at 5 %"
        )
        assert 0.97 <= float(found.median()) < 0.999
        assert float(found.quantile(0.05)) >= 0.88


def test_a_margin_over_the_whole_scene_changes_nothing(backbone: Sonata, corridor: Scene) -> None:
    tiled = TiledBackbone(backbone, TileSettings(core_m=2.0, margin_m=4.0)).encode(corridor)
    assert torch.equal(tiled, backbone.encode(corridor))


@pytest.mark.parametrize(("level", "bytes_per_channel"), [(0, 8), (1, 4)])
def test_the_estimate_is_the_backbones(
    backbone: Sonata, corridor: Scene, level: int, bytes_per_channel: int, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = Sonata(backbone.encoder, PTv3Settings(voxel_size_m=0.04, level=level))
    many = replace(corridor, points=corridor.points.repeat(200, 1), colors=None, normals=None)
    with caplog.at_level(logging.INFO), pytest.raises(MemoryError):
        TiledBackbone(_Full(chosen), TileSettings()).encode(many)
    told = re.search(r"\(([\d,]+) voxels of 0\.04 m\); about ([\d.]+) GB", caplog.text)
    assert told is not None
    voxels = int(told[1].replace(",", ""))
    assert voxels < len(corridor)
    expected = chosen.channels * (voxels * bytes_per_channel + len(many) * 4)
    assert float(told[2]) == pytest.approx(expected / 1e9, abs=0.006)


class _Full:
    """A backbone that runs out of memory."""

    def __init__(self, backbone: Sonata) -> None:
        self.name, self.channels, self.licence = backbone.name, backbone.channels, backbone.licence
        self.voxel_size_m, self.needs, self.config = backbone.voxel_size_m, backbone.needs, backbone.config
        self.bytes_per_voxel = backbone.bytes_per_voxel

    def encode(self, scene: Scene) -> Tensor:
        raise MemoryError
