"""Sonata as a backbone: from a scene to features in the order of its points, and what it says of bad input."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.ptv3.backbone import PTv3Settings
from geoguide3d.backbones.ptv3.config import PTv3Config
from geoguide3d.backbones.ptv3.encoder import PTv3Encoder
from geoguide3d.backbones.ptv3.sonata import Sonata
from geoguide3d.geometry.upright import rotation_to_z_up
from geoguide3d.scenes.scene import Scene
from tests.backbones.ptv3.random_encoder import name_seeded

UP = torch.tensor([0.0, 0.0, 1.0])
SMALL = PTv3Config(
    in_channels=9,
    order=("z", "z-trans", "hilbert", "hilbert-trans"),
    stride=(2, 2),
    enc_depths=(2, 1, 1),
    enc_channels=(8, 12, 16),
    enc_num_head=(2, 3, 4),
    enc_patch_size=(32, 32, 32),
    mask_token=True,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(7)
    path = tmp_path_factory.mktemp("sonata") / "small.pth"
    config = asdict(SMALL) | {"enc_mode": True, "pre_norm": True, "enable_flash": True, "drop_path": 0.3}
    torch.save({"config": config, "state_dict": PTv3Encoder(SMALL).state_dict()}, path)
    return path


def room(points: int = 3000, extent_m: float = 1.0) -> Scene:
    generator = torch.Generator().manual_seed(points)
    places = torch.rand(points, 3, generator=generator) * extent_m
    places[torch.arange(points), torch.arange(points) % 3] = 0.0  # three walls of a corner
    normals = torch.nn.functional.normalize(torch.randn(points, 3, generator=generator), dim=1)
    return Scene(places, up=UP, colors=torch.rand(points, 3, generator=generator), normals=normals)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_features_in_the_order_of_the_points(checkpoint: Path, level: int) -> None:
    backbone, scene = Sonata.load(checkpoint, level=level), room()
    features = backbone.encode(scene)
    assert isinstance(backbone, FrozenBackbone)
    assert features.shape == (3000, backbone.channels) == (3000, sum(SMALL.enc_channels[level:]))
    assert features.dtype == torch.float32
    assert not features.requires_grad
    assert bool(features.isfinite().all())
    assert torch.equal(features, backbone.encode(scene))
    nodes = backbone.encode_nodes(scene)
    assert torch.equal(nodes.per_row(), features)
    assert len(nodes.features) < len(scene)


def test_features_are_those_of_the_recorded_network(shared_fixtures: Path, tmp_path: Path) -> None:
    folder = shared_fixtures / "backbones"
    config = json.loads((folder / "sonata_tiny" / "config.json").read_text())["config"]
    state = load_file(folder / "sonata_tiny" / "params.safetensors")
    save_file(state, tmp_path / "tiny.safetensors", metadata={"config": json.dumps(config)})
    raw = load_file(folder / "transforms" / "main.safetensors")
    recorded = load_file(folder / "sonata_tiny" / "run_single.safetensors")["upcast.feat_rows_every16"]
    scene = Scene(raw["raw.coord"], up=UP, colors=raw["raw.color"] / 255, normals=raw["raw.normal"])
    features = Sonata.load(tmp_path / "tiny.safetensors", level=2).encode(scene)
    error = float((features[raw["pick"].long()][::16] - recorded).abs().max())
    print(f"max abs error from raw points to up-cast features: {error:.1e}")
    assert error <= 5e-5


def test_points_of_a_voxel_share_their_features(checkpoint: Path) -> None:
    scene = room()
    twice = Scene(
        scene.points.repeat(2, 1), up=UP, colors=scene.colors.repeat(2, 1), normals=scene.normals.repeat(2, 1)
    )
    backbone = Sonata.load(checkpoint)
    features = backbone.encode(twice)
    assert torch.equal(features[:3000], features[3000:])
    assert torch.equal(features[:3000], backbone.encode(scene))


def test_settings_come_back_through_the_config(checkpoint: Path) -> None:
    backbone = Sonata.load(checkpoint, level=1, order_seed=3, voxel_size_m=0.05)
    again = load_backbone("sonata", backbone.config | {"weights": str(checkpoint)}, checkpoint)
    assert json.loads(json.dumps(backbone.config)) == again.config == backbone.config
    scene = room()
    assert torch.equal(again.encode(scene), backbone.encode(scene))
    other = Sonata.load(checkpoint, level=1, order_seed=4, voxel_size_m=0.05)
    assert not torch.equal(other.encode(scene), backbone.encode(scene))


def test_up_is_turned_to_z(checkpoint: Path) -> None:
    scene, backbone = replace(room(), up=torch.eye(3)[0]), Sonata.load(checkpoint)
    assert scene.normals is not None
    rotation = rotation_to_z_up(torch.eye(3)[0]).to(torch.float32)  # of ones and zeros: it rounds nothing
    turned = replace(scene, points=scene.points @ rotation.T, normals=scene.normals @ rotation.T, up=UP)
    assert torch.equal(backbone.encode(scene), backbone.encode(turned))
    assert not torch.equal(backbone.encode(scene), backbone.encode(replace(scene, up=UP)))


@pytest.mark.parametrize(("missing", "message"), [("colors", "no colours"), ("normals", "normals from neighbouring")])
def test_what_is_missing_is_said(
    checkpoint: Path, missing: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    scene, backbone = replace(room(), **{missing: None}), Sonata.load(checkpoint)
    with caplog.at_level(logging.INFO):
        features = backbone.encode(scene)
    assert bool(features.isfinite().all())
    assert message in caplog.text


@pytest.mark.parametrize("count", [1, 2])
def test_a_point_or_two(checkpoint: Path, count: int, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        features = Sonata.load(checkpoint).encode(Scene(torch.eye(3)[:count]))
    assert features.shape == (count, 36)
    assert bool(features.isfinite().all())
    assert "have no normals; they count as zero" in caplog.text


def test_colors_up_to_255_are_seen(checkpoint: Path, caplog: pytest.LogCaptureFixture) -> None:
    scene, backbone = room(), Sonata.load(checkpoint)
    assert scene.colors is not None
    bytes_scale = backbone.encode(replace(scene, colors=scene.colors * 255))
    assert "read as 0 … 255" in caplog.text
    assert torch.allclose(bytes_scale, backbone.encode(scene), atol=1e-4)
    with pytest.raises(ValueError, match="colours must be"):
        backbone.encode(replace(scene, colors=scene.colors * 1000))


def test_rejects_clouds_it_cannot_place(checkpoint: Path) -> None:
    scene, backbone = room(100), Sonata.load(checkpoint)
    with pytest.raises(ValueError, match=r"Scene\.origin"):
        backbone.encode(replace(scene, points=scene.points + 5_000_000))
    stray = scene.points.clone()
    stray[0, 0] = 2000.0
    with pytest.raises(ValueError, match=r"along x they are 0 … 100000: drop stray .*tiles\.core_m"):
        backbone.encode(replace(scene, points=stray))


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"level": 3}, "level must be 0 … 2, got 3"),
        ({"voxel_size_m": 0}, "positive"),
        ({"grid": 1}, "grid"),
        ({"dtype": "int8"}, "dtype must be one of float32, bfloat16, float16, got 'int8'"),
        ({"transform": "outdoor"}, "transform of 'sonata' must be one of indoor, got 'outdoor'"),
    ],
)
def test_rejects_settings_it_does_not_have(checkpoint: Path, config: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_backbone("sonata", config, checkpoint)


def test_needs_weights() -> None:
    with pytest.raises(ValueError, match="needs weights"):
        load_backbone("sonata", {}, None)


def test_another_size_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    content = torch.load(checkpoint, weights_only=True)
    torch.save(content["state_dict"], tmp_path / "bare.pth")
    with pytest.raises(
        ValueError, match=r"bare\.pth: no config, and \[8, 12, 16\] channels are not made of heads of 16"
    ):
        Sonata.load(tmp_path / "bare.pth")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "linear.pth")
    with pytest.raises(
        ValueError, match=r"linear\.pth: no config, and names that are not a PTv3 encoder's: bias, weight"
    ):
        Sonata.load(tmp_path / "linear.pth")
    content["state_dict"]["dec.dec0.up.weight"] = torch.zeros(1)
    del content["state_dict"]["enc.enc0.block0.cpe.0.weight"]
    torch.save(content, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"lacks enc\.enc0\.block0\.cpe\.0\.weight; .*not know dec\.dec0\.up\.weight"):
        Sonata.load(tmp_path / "other.pth")


def test_a_network_of_the_other_attention_is_refused(checkpoint: Path) -> None:
    with pytest.raises(ValueError, match="no rotary attention, so it is none of 'utonia'; try sonata"):
        load_backbone("utonia", {}, checkpoint)


@pytest.mark.parametrize(("name", "licence"), [("sonata.pth", "CC-BY-NC-4.0"), ("mine.pth", "unknown")])
def test_the_licence_is_known_of_published_names(
    checkpoint: Path, tmp_path: Path, name: str, licence: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copy(checkpoint, tmp_path / name)
    backbone = Sonata.load(tmp_path / name)
    assert backbone.licence == backbone.config["licence"] == licence
    assert ("its licence is unknown" in caplog.text) == (licence == "unknown")
    assert Sonata.load(tmp_path / name, licence="MIT").licence == "MIT"


@pytest.mark.parametrize("prefix", ["module.", "module.backbone.", "module.student.backbone."])
def test_checkpoints_of_training_are_read(checkpoint: Path, tmp_path: Path, prefix: str) -> None:
    content = torch.load(checkpoint, weights_only=True)
    state = {prefix + name: value for name, value in content["state_dict"].items()}
    if "student" in prefix:
        state |= {name.replace("student", "teacher"): value + 1 for name, value in state.items()}
    torch.save({"epoch": 3, "config": content["config"], "state_dict": state}, tmp_path / "model_last.pth")
    scene = room()
    found = Sonata.load(tmp_path / "model_last.pth").encode(scene)
    assert torch.equal(found, Sonata.load(checkpoint).encode(scene))


def difference(found: torch.Tensor, expected: torch.Tensor) -> tuple[float, float]:
    """The largest 1 − cosine, and the largest error in lengths of the expected row."""
    cosine = torch.nn.functional.cosine_similarity(found.double(), expected.double(), dim=1)
    return float((1 - cosine).max()), float(((found - expected).norm(dim=1) / expected.norm(dim=1)).max())


@pytest.mark.parametrize(("dtype", "cosine", "length"), [("bfloat16", 5e-4, 3e-2), ("float16", 1e-5, 5e-3)])
def test_half_types_are_near(shared_fixtures: Path, dtype: str, cosine: float, length: float) -> None:
    folder = shared_fixtures / "backbones"
    config = json.loads((folder / "sonata_tiny" / "config.json").read_text())["config"]
    encoder = PTv3Encoder(PTv3Config.from_upstream(config))
    encoder.load_state_dict(load_file(folder / "sonata_tiny" / "params.safetensors"))
    raw = load_file(folder / "transforms" / "main.safetensors")
    scene = Scene(raw["raw.coord"], up=UP, colors=raw["raw.color"] / 255, normals=raw["raw.normal"])
    expected = Sonata(encoder).encode(scene)
    backbone = Sonata(encoder, PTv3Settings(dtype=dtype))
    found = backbone.encode(scene)
    by_cosine, by_length = difference(found, expected)
    print(f"{dtype}: 1 − cosine up to {by_cosine:.1e}, error up to {by_length:.1e} of the length")
    assert 1e-8 < by_cosine <= cosine
    assert by_length <= length
    assert found.dtype == torch.float32
    assert all(parameter.dtype == torch.float32 for parameter in encoder.parameters())
    assert torch.equal(found, backbone.encode(scene))


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("dtype", "cosine", "length"), [("float32", 1e-6, 1e-3), ("bfloat16", 2e-3, 6e-2), ("float16", 5e-5, 1e-2)]
)
@pytest.mark.parametrize("name", ["sonata", "utonia"])
def test_a_gpu_gives_the_same(tmp_path: Path, name: str, dtype: str, cosine: float, length: float) -> None:
    rotary: dict[str, Any] = {"rope_base": 10.0, "enc_channels": (12, 18, 24)} if name == "utonia" else {}
    encoder = PTv3Encoder(replace(SMALL, **rotary))
    torch.save(
        {"config": asdict(encoder.config), "state_dict": name_seeded(encoder, 2, attention_gain=1)},
        tmp_path / f"{name}.pth",
    )
    scene = room()
    expected = load_backbone(name, {}, tmp_path / f"{name}.pth").encode(scene)
    backbone = load_backbone(name, {"device": "cuda", "dtype": dtype}, tmp_path / f"{name}.pth")
    found = backbone.encode(scene)
    by_cosine, by_length = difference(found, expected)
    print(f"{name}, {dtype} on CUDA: 1 − cosine up to {by_cosine:.1e}, error up to {by_length:.1e} of the length")
    assert by_cosine <= cosine
    assert by_length <= length
    assert torch.equal(found, backbone.encode(scene))


def test_the_callers_autocast_changes_nothing(checkpoint: Path) -> None:
    scene, backbone = room(500), Sonata.load(checkpoint)
    with torch.autocast("cpu", torch.bfloat16):
        inside = backbone.encode(scene)
    assert torch.equal(inside, backbone.encode(scene))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"enable_rpe": True}, "enable_rpe = True"),
        ({"enc_mode": False}, "decoder"),
        ({"order": ["peano"]}, "unknown orders"),
        ({"enc_num_head": [3, 3, 4]}, "do not divide"),
        ({"stride": [2]}, "3 levels"),
        ({"enc_channels": None}, "lacks enc_channels"),
    ],
)
def test_configs_of_other_networks_are_refused(change: dict[str, object], message: str) -> None:
    config = {key: value for key, value in (asdict(SMALL) | change).items() if value is not None}
    with pytest.raises(ValueError, match=message):
        PTv3Config.from_upstream(config)


def test_unknown_keys_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    assert PTv3Config.from_upstream(asdict(SMALL) | {"new_switch": 1}) == SMALL
    assert "new_switch" in caplog.text
