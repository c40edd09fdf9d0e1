"""SpUNet as a backbone: from a scene to features in the order of its points, and what it says of bad input."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from geoguide3d.backbones.checkpoint import Checkpoint
from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.sparse_unet.network import SparseUNet, SparseUNetConfig
from geoguide3d.backbones.sparse_unet.spunet import SpUNet
from geoguide3d.backbones.zoo_names import spunet_names
from geoguide3d.geometry.upright import rotation_to_z_up
from geoguide3d.scenes.scene import Scene

UP = torch.tensor([0.0, 0.0, 1.0])
SMALL = SparseUNetConfig(6, 4, 8, (8, 12, 10, 6), (1, 2, 2, 1))


def small_state(config: SparseUNetConfig = SMALL) -> dict[str, torch.Tensor]:
    torch.manual_seed(7)
    return SparseUNet(config).state_dict()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("spunet") / "model_best.pth"
    state = {f"module.backbone.{name}": value for name, value in small_state().items()}
    torch.save(
        {"epoch": 9, "state_dict": state, "optimizer": {"state": {}}, "best_metric_value": np.float64(0.7)}, path
    )
    return path


def room(points: int = 3000) -> Scene:
    generator = torch.Generator().manual_seed(points)
    places = torch.rand(points, 3, generator=generator)
    places[torch.arange(points), torch.arange(points) % 3] = 0.0  # three walls of a corner
    normals = torch.nn.functional.normalize(torch.randn(points, 3, generator=generator), dim=1)
    return Scene(places, up=UP, colors=torch.rand(points, 3, generator=generator), normals=normals)


def test_features_in_the_order_of_the_points(checkpoint: Path) -> None:
    backbone, scene = SpUNet.load(checkpoint), room()
    features = backbone.encode(scene)
    assert isinstance(backbone, FrozenBackbone)
    assert features.shape == (3000, backbone.channels) == (3000, 6)
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert bool(features.isfinite().all())
    assert torch.equal(features, backbone.encode(scene))
    with torch.autocast("cpu", torch.bfloat16):
        nodes = backbone.encode_nodes(scene)
    assert torch.equal(nodes.per_row(), features)


@pytest.mark.gpu
def test_a_gpu_gives_the_same_features(checkpoint: Path) -> None:
    scene = room()
    features = SpUNet.load(checkpoint, device="cuda").encode(scene)
    assert torch.allclose(features, SpUNet.load(checkpoint).encode(scene), atol=1e-4, rtol=1e-4)


def test_the_order_of_the_points_does_not_matter(checkpoint: Path) -> None:
    backbone, scene = SpUNet.load(checkpoint), room(500)
    lattice = torch.randperm(15**3, generator=torch.Generator().manual_seed(1))[:500]
    places = torch.stack([lattice // 225, lattice // 15 % 15, lattice % 15], dim=1) * 0.03  # one point a voxel
    turn = torch.randperm(500, generator=torch.Generator().manual_seed(2))
    assert scene.colors is not None
    assert scene.normals is not None
    turned = Scene(places[turn], up=UP, colors=scene.colors[turn], normals=scene.normals[turn])
    assert torch.equal(backbone.encode(turned), backbone.encode(replace(scene, points=places))[turn])


@pytest.mark.parametrize("centred", [False, True])
def test_features_are_those_of_the_recorded_network(shared_fixtures: Path, tmp_path: Path, centred: bool) -> None:
    """From raw points on; the recording has colours of 0 … 1, so centred ones are those of a brighter room."""
    folder = shared_fixtures / "backbones"
    save_file(load_file(folder / "spunet_tiny" / "params.safetensors"), tmp_path / "tiny.safetensors")
    raw = load_file(folder / "transforms" / "main.safetensors")
    recorded = load_file(folder / "spunet_tiny" / "run_single.safetensors")["dec0.feat"]
    colors = raw["raw.color"] / 255
    scene = Scene(raw["raw.coord"], up=UP, colors=(colors + 1) / 2 if centred else colors, normals=raw["raw.normal"])
    features = SpUNet.load(tmp_path / "tiny.safetensors", centred_colors=centred).encode(scene)
    error = float((features[raw["pick"].long()] - recorded).abs().max())
    print(f"max abs error from raw points to the decoder's features: {error:.1e}")
    assert error <= 2e-5


def test_settings_come_back_through_the_config(checkpoint: Path) -> None:
    backbone = SpUNet.load(checkpoint, voxel_size_m=0.05, centred_colors=False)
    again = load_backbone("spunet", backbone.config | {"weights": str(checkpoint)}, checkpoint)
    assert json.loads(json.dumps(backbone.config)) == again.config == backbone.config
    scene = room()
    assert torch.equal(again.encode(scene), backbone.encode(scene))
    other = SpUNet.load(checkpoint, voxel_size_m=0.05)
    assert not torch.equal(other.encode(scene), backbone.encode(scene))


def test_a_checkpoint_without_the_last_layer(tmp_path: Path) -> None:
    state = {f"backbone.{name}": value for name, value in small_state().items() if not name.startswith("final")}
    torch.save(state | {"color_head.weight": torch.zeros(3, 6)}, tmp_path / "pretrained.pth")
    assert SpUNet.load(tmp_path / "pretrained.pth").encode(room()).shape == (3000, 6)


def test_a_file_of_torch_pointcloud(checkpoint: Path, tmp_path: Path) -> None:
    models = json.loads((Path(__file__).parents[1] / "zoo_names.json").read_text())["models"]
    theirs = models["spunet-v1m1.scannet20.pointcept"]
    named = Checkpoint(tmp_path, {name: torch.zeros(0) for name in theirs}, None)
    name_of = dict(zip(spunet_names(named).state_dict, theirs, strict=True))
    save_file({name_of[name]: value for name, value in small_state().items()}, tmp_path / "model.safetensors")
    scene = room()
    assert torch.equal(SpUNet.load(tmp_path / "model.safetensors").encode(scene), SpUNet.load(checkpoint).encode(scene))


def test_up_is_turned_to_z(checkpoint: Path) -> None:
    scene, backbone = replace(room(), up=torch.eye(3)[0]), SpUNet.load(checkpoint)
    assert scene.normals is not None
    rotation = rotation_to_z_up(torch.eye(3)[0]).to(torch.float32)  # of ones and zeros: it rounds nothing
    turned = replace(scene, points=scene.points @ rotation.T, normals=scene.normals @ rotation.T, up=UP)
    assert torch.equal(backbone.encode(scene), backbone.encode(turned))


@pytest.mark.parametrize(("missing", "message"), [("colors", "no colours"), ("normals", "normals from neighbouring")])
def test_what_is_missing_is_said(
    checkpoint: Path, missing: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        scene = replace(room(), colors=None) if missing == "colors" else replace(room(), normals=None)
        features = SpUNet.load(checkpoint).encode(scene)
    assert bool(features.isfinite().all())
    assert message in caplog.text


def test_one_point(checkpoint: Path) -> None:
    features = SpUNet.load(checkpoint).encode(Scene(torch.eye(3)[:1]))
    assert features.shape == (1, 6)
    assert bool(features.isfinite().all())


def test_colors_up_to_255_are_seen(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene, backbone = room(), SpUNet.load(checkpoint)
    assert scene.colors is not None
    bytes_scale = backbone.encode(replace(scene, colors=scene.colors * 255))
    assert "read as 0 … 255" in caplog.text
    assert torch.allclose(bytes_scale, backbone.encode(scene), atol=1e-4)


def test_rejects_clouds_it_cannot_place(checkpoint: Path) -> None:
    scene, backbone = room(100), SpUNet.load(checkpoint)
    with pytest.raises(ValueError, match=r"Scene\.origin"):
        backbone.encode(replace(scene, points=scene.points + 5_000_000))
    stray = scene.points.clone()
    for far, message in (
        (2000.0, r"1000\d\d voxels of 0\.02 m along one axis, at most 65536 fit: take a larger"),
        (41_000.0, r"20500\d\d voxels of 0\.02 m along one axis, at most 65536 fit"),
        (float("nan"), "points hold inf or NaN"),
    ):
        stray[0, 0] = far
        with pytest.raises(ValueError, match=message):
            backbone.encode(replace(scene, points=stray))


def test_rejects_more_cells_than_can_be_counted(checkpoint: Path) -> None:
    points = room(100).points
    points[:2, 0] = torch.tensor([-1300.0, 1300.0])
    with pytest.raises(ValueError, match=r"26000\d\d voxels of 0\.001 m along one axis, at most 2097152 fit"):
        SpUNet.load(checkpoint, voxel_size_m=0.001).encode(Scene(points, up=UP))


@pytest.mark.parametrize(("config", "message"), [({"voxel_size_m": 0}, "positive"), ({"grid": 1}, "grid")])
def test_rejects_settings_it_does_not_have(checkpoint: Path, config: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_backbone("spunet", config, checkpoint)


def test_other_networks_are_refused(tmp_path: Path) -> None:
    torch.save({"conv0p1s1.kernel": torch.zeros(125, 3, 32)}, tmp_path / "other.pth")
    with pytest.raises(
        ValueError, match=r"other\.pth does not fit SparseUNet \(0 of 3\d\d names .*does not know conv0p1s1\.kernel"
    ):
        SpUNet.load(tmp_path / "other.pth")
    state = small_state()
    state["dec.0.block0.bn3.weight"] = state.pop("dec.0.block0.bn2.weight")
    torch.save(state, tmp_path / "odd.pth")
    with pytest.raises(ValueError, match=r"lacks dec\.0\.block0\.bn2\.weight; .*not know dec\.0\.block0\.bn3\.weight"):
        SpUNet.load(tmp_path / "odd.pth")
    torch.save(small_state(replace(SMALL, in_channels=3)), tmp_path / "colors.pth")
    with pytest.raises(ValueError, match="takes 3 channels; colours and normals are 6"):
        SpUNet.load(tmp_path / "colors.pth")
    torch.save({"state_dict": small_state(), "hook": print}, tmp_path / "code.pth")
    with pytest.raises(ValueError, match=r"code\.pth is refused.*convert it once"):
        SpUNet.load(tmp_path / "code.pth")
