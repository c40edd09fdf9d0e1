"""Utonia: rotary attention, its transform, and a run of torch-pointcloud's port; upstream's own code was not run."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.ptv3.config import UTONIA, PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder
from geoguide3d.backbones.ptv3.layers import RotaryPosition
from geoguide3d.backbones.ptv3.sonata import Sonata
from geoguide3d.backbones.ptv3.utonia import Utonia
from geoguide3d.scenes.scene import Scene
from tests.backbones.ptv3.random_encoder import name_seeded

UP = torch.tensor([0.0, 0.0, 1.0])
SMALL = replace(
    UTONIA, stride=(2,), enc_depths=(2, 2), enc_channels=(18, 36), enc_num_head=(1, 2), enc_patch_size=(64, 64)
)


def room(extent_m: float = 1.0) -> Scene:
    generator = torch.Generator().manual_seed(5)
    places = torch.rand(1500, 3, generator=generator) * extent_m
    places[torch.arange(1500), torch.arange(1500) % 3] = 0.0
    normals = torch.nn.functional.normalize(torch.randn(1500, 3, generator=generator), dim=1)
    return Scene(places, up=UP, colors=torch.rand(1500, 3, generator=generator), normals=normals)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("utonia") / "utonia.pth"
    config = asdict(SMALL) | {"enc_mode": True, "pre_norm": True, "jitter_coords": 1.1, "freeze_encoder": False}
    torch.save({"config": config, "state_dict": name_seeded(PTv3Encoder(SMALL), 1)}, path)
    return path


def test_scores_depend_on_differences_of_positions_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    rope = RotaryPosition(18, 10.0).double()
    query, key = torch.randn(2, 50, 4, 18, generator=generator, dtype=torch.float64)
    here, there, shift = torch.randn(3, 50, 3, generator=generator, dtype=torch.float64)
    scores = (rope(query, here) * rope(key, there)).sum(-1)
    shifted = (rope(query, here + shift) * rope(key, there + shift)).sum(-1)
    moved = (rope(query, here + shift) * rope(key, there)).sum(-1)
    assert torch.allclose(shifted, scores, atol=1e-12)
    assert not torch.allclose(moved, scores, atol=0.1)
    assert torch.allclose(rope(query, here).norm(dim=-1), query.norm(dim=-1), atol=1e-12)


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_third_of_the_channels_turns_with_each_axis(axis: int) -> None:
    rope, position = RotaryPosition(18, 10.0), torch.zeros(1, 3)
    position[0, axis] = 2.0
    vector = torch.zeros(1, 18)
    vector[0, 6 * axis + 1] = 1.0  # the second pair: channels 1 and 1 + 3 of this axis' six
    angle = 2.0 * 10 ** (-1 / 3)
    expected = torch.zeros(1, 18)
    expected[0, 6 * axis + 1], expected[0, 6 * axis + 4] = math.cos(angle), math.sin(angle)
    assert torch.allclose(rope(vector, position), expected, atol=1e-6)


def test_features_are_those_of_the_recorded_port() -> None:
    recorded = load_file(Path(__file__).with_name("utonia_port.safetensors"))
    encoder = PTv3Encoder(replace(SMALL, mask_token=False)).eval()
    encoder.load_state_dict(name_seeded(encoder, 18))
    cells = recorded["cells"].long()
    with torch.no_grad():
        levels = encoder(recorded["values"], cells, recorded["positions"])
        unplaced = encoder(recorded["values"], cells, torch.zeros_like(recorded["positions"]))
    for number, level in enumerate(levels):
        error = float((level.features - recorded[f"level{number}"]).abs().max())
        print(f"level {number}: max abs error {error:.1e}")
        assert error <= 2e-4
        assert float((unplaced[number].features - recorded[f"level{number}"]).abs().max()) > 1


def test_features_in_the_order_of_the_points(checkpoint: Path) -> None:
    backbone, scene = load_backbone("utonia", {}, checkpoint), room()
    features = backbone.encode(scene)
    assert isinstance(backbone, FrozenBackbone)
    assert (backbone.voxel_size_m, backbone.licence, features.shape) == (0.02, "CC-BY-NC-4.0", (1500, 54))
    assert bool(features.isfinite().all())
    assert torch.equal(features, backbone.encode(scene))
    again = load_backbone("utonia", backbone.config, checkpoint)
    assert torch.equal(features, again.encode(scene))


def test_indoors_the_network_sees_half_the_size(checkpoint: Path) -> None:
    scene, backbone = room(), Utonia.load(checkpoint)
    whole = Utonia.load(checkpoint)
    whole.transform = replace(whole.transform, scale=1.0)
    halved = replace(scene, points=scene.points * 0.5)  # by a power of two: nothing is rounded
    whole.voxel_size_m = 0.01
    assert torch.equal(backbone.encode(scene), whole.encode(halved))
    assert not torch.equal(backbone.encode(scene), whole.encode(scene))


def test_outdoors_coordinates_are_the_sensors(checkpoint: Path) -> None:
    scene = room(extent_m=8.0)
    moved = replace(scene, points=scene.points + torch.tensor([16.0, 0.0, 0.0]))
    outdoor, indoor = (Utonia.load(checkpoint, transform=name) for name in ("outdoor", "indoor"))
    assert outdoor.voxel_size_m == 0.05
    assert (outdoor.encode(scene) - outdoor.encode(moved)).abs().max() > 0.1
    assert torch.allclose(indoor.encode(scene), indoor.encode(moved), atol=2e-3)


def test_a_network_without_rotation_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="rotary attention, so it is none of 'sonata'; try utonia"):
        Sonata.load(checkpoint)
    plain: PTv3Config = replace(SMALL, rope_base=None)
    torch.save({"config": asdict(plain), "state_dict": PTv3Encoder(plain).state_dict()}, tmp_path / "plain.pth")
    with pytest.raises(ValueError, match="try sonata or concerto"):
        Utonia.load(tmp_path / "plain.pth")
