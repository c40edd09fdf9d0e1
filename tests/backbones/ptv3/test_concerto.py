"""Concerto: Sonata's network under its own name, with a transform for the outdoors."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.ptv3.concerto import Concerto
from geoguide3d.backbones.ptv3.config import CONCERTO_LARGE
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder
from geoguide3d.backbones.ptv3.sonata import Sonata
from geoguide3d.scenes.scene import Scene
from tests.backbones.ptv3.random_encoder import name_seeded

SMALL = replace(
    CONCERTO_LARGE, stride=(2,), enc_depths=(1, 1), enc_channels=(16, 32), enc_num_head=(1, 2), enc_patch_size=(64, 64)
)


def street() -> Scene:
    generator = torch.Generator().manual_seed(2)
    places = torch.rand(1200, 3, generator=generator) * torch.tensor([10.0, 8.0, 2.0])
    places[::2, 2] = 0.0
    return Scene(places, up=torch.tensor([0.0, 0.0, 1.0]), colors=torch.rand(1200, 3, generator=generator))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("concerto") / "concerto_large.pth"
    torch.save({"config": asdict(SMALL), "state_dict": name_seeded(PTv3Encoder(SMALL), 3)}, path)
    return path


def test_indoors_it_is_sonatas_network(checkpoint: Path) -> None:
    backbone, scene = load_backbone("concerto", {}, checkpoint), street()
    assert (backbone.name, backbone.licence, backbone.voxel_size_m) == ("concerto", "CC-BY-NC-4.0", 0.02)
    assert torch.equal(backbone.encode(scene), Sonata.load(checkpoint).encode(scene))


def test_outdoors_nothing_but_places_is_seen(checkpoint: Path) -> None:
    backbone, scene = load_backbone("concerto", {"transform": "outdoor"}, checkpoint), street()
    assert (backbone.needs, backbone.voxel_size_m) == ((), 0.05)
    features = backbone.encode(scene)
    assert torch.equal(features, backbone.encode(replace(scene, colors=None)))
    assert not torch.equal(features, Concerto.load(checkpoint, voxel_size_m=0.05).encode(scene))


def test_outdoors_heights_are_the_scenes_and_places_are_centred(checkpoint: Path) -> None:
    backbone, scene = Concerto.load(checkpoint, transform="outdoor"), street()
    features = backbone.encode(scene)
    along = backbone.encode(replace(scene, points=scene.points + torch.tensor([32.0, -16.0, 0.0])))
    above = backbone.encode(replace(scene, points=scene.points + torch.tensor([0.0, 0.0, 8.0])))
    # Moved by whole voxels; float32 puts a few points on the other side of a border.
    assert float(((features - along).abs().amax(dim=1) < 1e-2).float().mean()) > 0.95
    assert float(((features - above).abs().amax(dim=1) > 0.1).float().mean()) > 0.95
