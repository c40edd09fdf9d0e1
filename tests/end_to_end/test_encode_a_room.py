"""The example that encodes a room, on a small one and with small weights."""

from __future__ import annotations

import runpy
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from geoguide3d.backbones.ptv3.config import SONATA, PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder
from geoguide3d.scenes.ply import read_ply, write_ply
from geoguide3d.scenes.scene import Scene

EXAMPLE = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "encode_a_room.py"))
SMALL = PTv3Config(
    in_channels=9,
    order=SONATA.order,
    stride=(2,),
    enc_depths=(1, 1),
    enc_channels=(16, 32),
    enc_num_head=(1, 2),
    enc_patch_size=(64, 64),
)


def test_the_cloud_overlays_the_room(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    torch.save({"config": asdict(SMALL), "state_dict": PTv3Encoder(SMALL).state_dict()}, tmp_path / "small.pth")
    points = torch.rand(2000, 3)
    points[torch.arange(2000), torch.arange(2000) % 3] = 0.0
    instances = torch.arange(2000) % 3
    scene = Scene(points, colors=torch.eye(3)[instances], normals=torch.eye(3)[instances], instances=instances)
    write_ply(tmp_path / "room.ply", scene, extra={"instance": instances})
    places = [str(tmp_path / name) for name in ("room.ply", "small.pth", "features")]
    EXAMPLE["main"]([places[0], "--backbone", "sonata", "--weights", places[1], "--output", places[2]])
    said = capsys.readouterr().out
    assert "2,000 points in" in said and "sonata: 48 channels in" in said and "GB at most" in said
    assert "in one object" in said
    written = read_ply(tmp_path / "features.ply")
    assert torch.allclose(written.points, points, atol=1e-6)
    assert written.colors is not None and not torch.allclose(written.colors, torch.eye(3)[instances], atol=0.1)
    assert np.asarray(Image.open(tmp_path / "features.png")).std() > 5


def test_points_of_an_object_are_told_from_others() -> None:
    generator = torch.Generator().manual_seed(0)
    instances = torch.arange(300) % 3 - 1
    features = torch.eye(3)[instances] * 5 + torch.randn(300, 3, generator=generator) * 0.1
    same, other = EXAMPLE["object_similarity"](features, instances)
    assert same > 0.95
    assert other < 0.0
    colors = EXAMPLE["component_colors"](features)
    assert float(colors.min()) == 0 and float(colors.max()) == 1
    spread = torch.stack([colors[instances == number, :2].std(dim=0) for number in (-1, 0, 1)])
    assert float(spread.max()) < 0.1 < float(colors[:, 0].std())
