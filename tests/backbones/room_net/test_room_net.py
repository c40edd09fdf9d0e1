"""RoomNet: the embedded weights, what stays the same and what must not, and input that has to be refused or mended."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import cosine_similarity

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import EncodesInPieces, FrozenBackbone
from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.network import RoomNetConfig, RoomNetwork, columns, voxel_values
from geoguide3d.backbones.room_net.weights import EMBEDDED_WEIGHTS, read_room_net, write_room_net
from geoguide3d.scenes.scene import Scene
from geoguide3d.sparse.tensor import SparseTensor
from tests.backbones.room_net.fake_rooms import fake_scene

SCENE = fake_scene(3, "validation")
TINY = RoomNetConfig(voxel_size_m=0.06, base_channels=4, channels=(6, 8, 8, 6))


@pytest.fixture(scope="module")
def backbone() -> FrozenBackbone:
    return load_backbone("room_net", {}, None)


def test_shipped_weights_are_small_and_half() -> None:
    assert EMBEDDED_WEIGHTS.stat().st_size <= 4_300_000
    tensors = load_file(EMBEDDED_WEIGHTS)
    assert {value.dtype for value in tensors.values() if value.is_floating_point()} == {torch.float16}


def test_it_is_a_backbone(backbone: FrozenBackbone) -> None:
    assert isinstance(backbone, FrozenBackbone)
    assert isinstance(backbone, EncodesInPieces)
    assert (backbone.name, backbone.licence, backbone.voxel_size_m) == ("room_net", "Apache-2.0", 0.04)
    again = load_backbone("room_net", json.loads(json.dumps(backbone.config)), None)
    assert again.config == backbone.config
    features = backbone.encode(SCENE)
    assert features.shape == (len(SCENE), backbone.channels)
    assert features.dtype == torch.float32
    assert bool(features.isfinite().all()) and not features.requires_grad
    assert torch.equal(features, again.encode(SCENE))


def test_pieces_hold_each_feature_once(backbone: FrozenBackbone) -> None:
    assert isinstance(backbone, EncodesInPieces)
    pieces = backbone.encode_pieces(SCENE)
    (rows,) = pieces.pieces
    assert len(rows) < len(SCENE)
    assert pieces.inverse is not None
    assert torch.equal(rows[pieces.inverse], backbone.encode(SCENE))


def test_a_cloud_given_twice_has_the_same_features(backbone: FrozenBackbone) -> None:
    assert SCENE.colors is not None and SCENE.normals is not None
    fields = {name: getattr(SCENE, name).repeat(2, 1) for name in ("points", "colors", "normals")}
    twice = backbone.encode(Scene(up=SCENE.up, **fields))
    assert torch.equal(twice[: len(SCENE)], twice[len(SCENE) :])
    assert torch.equal(twice[: len(SCENE)], backbone.encode(SCENE))


@pytest.mark.parametrize("up", [(0.0, 1.0, 0.0), (1.0, 0.0, 0.0), (0.0, 0.0, -1.0)])
def test_axes_do_not_matter_much(backbone: FrozenBackbone, up: tuple[float, float, float]) -> None:
    """The scene in other axes is turned back, up to a turn about up, which training made nearly all the same."""
    axis = torch.tensor(up)
    side = torch.tensor([axis[1], axis[2], axis[0]])
    frame = torch.stack([side, torch.linalg.cross(axis, side), axis])  # rows: x, y and up of the scene
    assert SCENE.normals is not None
    turned = replace(SCENE, points=SCENE.points @ frame, normals=SCENE.normals @ frame, up=axis)
    likeness = cosine_similarity(backbone.encode(turned), backbone.encode(SCENE), dim=1)
    assert float(likeness.mean()) > 0.9
    wrong = cosine_similarity(backbone.encode(replace(turned, up=side)), backbone.encode(SCENE), dim=1)
    assert float(wrong.mean()) < float(likeness.mean()) - 0.1


def test_place_in_the_world_does_not_matter(backbone: FrozenBackbone) -> None:
    moved = replace(SCENE, points=SCENE.points + torch.tensor([16.0, -8.0, 4.0]))
    likeness = cosine_similarity(backbone.encode(moved), backbone.encode(SCENE), dim=1)
    assert float(likeness.mean()) > 0.99


def test_things_of_one_kind_are_close(backbone: FrozenBackbone) -> None:
    """In fake rooms, of which training saw none: a box is nearer to the other box than to the pillars."""
    assert SCENE.instances is not None
    features = backbone.encode(SCENE)
    means = torch.stack([features[SCENE.instances == instance].mean(dim=0) for instance in range(1, 5)])
    likeness = cosine_similarity(means[:, None], means[None], dim=2)
    for thing, same in ((0, 2), (1, 3), (2, 0), (3, 1)):
        others = [other for other in range(4) if other not in (thing, same)]
        assert float(likeness[thing, same]) > float(likeness[thing, others].max())


@pytest.mark.parametrize(("missing", "message"), [("colors", "no colours"), ("normals", "normals from neighbouring")])
def test_what_is_missing_is_said(
    backbone: FrozenBackbone, missing: str, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        features = backbone.encode(replace(SCENE, **{missing: None}))
    assert message in caplog.text
    assert float(cosine_similarity(features, backbone.encode(SCENE), dim=1).mean()) > 0.5


@pytest.mark.parametrize("count", [1, 2])
def test_a_point_or_two(backbone: FrozenBackbone, count: int) -> None:
    features = backbone.encode(Scene(torch.eye(3)[:count]))
    assert features.shape == (count, backbone.channels)
    assert bool(features.isfinite().all())


def test_rejects_clouds_it_cannot_place(backbone: FrozenBackbone) -> None:
    with pytest.raises(ValueError, match=r"Scene\.origin"):
        backbone.encode(replace(SCENE, points=SCENE.points + 5_000_000))
    with pytest.raises(ValueError, match="inf or NaN"):
        Scene(torch.full((4, 3), torch.nan))
    stray = SCENE.points.clone()
    stray[0, 0] = 5000.0
    with pytest.raises(ValueError, match="stray points"):
        backbone.encode(replace(SCENE, points=stray))
    assert SCENE.colors is not None
    with pytest.raises(ValueError, match="colours must be"):
        backbone.encode(replace(SCENE, colors=SCENE.colors * 1000))


def test_rejects_another_version_and_foreign_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="version 99 is not what this package holds"):
        load_backbone("room_net", {"version": 99}, None)
    with pytest.raises(ValueError, match="has no weights"):
        load_backbone("room_net", {}, tmp_path / "other.safetensors")
    save_file({"weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match=r"other\.safetensors is not a RoomNet file"):
        RoomNet.load(tmp_path / "other.safetensors")
    with pytest.raises(FileNotFoundError):
        RoomNet.load(tmp_path / "none.safetensors")


def test_weights_come_back(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = RoomNetwork(TINY)
    write_room_net(tmp_path / "tiny.safetensors", network, TINY)
    again, config = read_room_net(tmp_path / "tiny.safetensors")
    assert config == TINY
    for name, value in again.state_dict().items():
        assert torch.allclose(value.float(), network.state_dict()[name].float(), atol=2e-3), name


def test_columns_hold_the_coarser_voxels_of_each() -> None:
    """With its cell as the features of every voxel, each row shows its own, halved, and halved again."""
    torch.manual_seed(0)
    cells = torch.unique(torch.randint(0, 12, (200, 4)) * torch.tensor([0, 1, 1, 1]), dim=0)
    levels = RoomNetwork(TINY).unet.levels(SparseTensor.of(torch.rand(len(cells), 8), cells))
    told = [level.with_features(level.cells.float()) for level in levels]
    rows = torch.randperm(len(cells))[:50]
    expected = torch.cat([cells[rows].div(2**step, rounding_mode="floor") for step in range(3)], dim=1)
    assert torch.equal(columns(told, rows), expected.float())


def test_the_network_sees_height_and_no_other_place() -> None:
    points, colors = torch.tensor([[9.0, -7.0, 1.05], [0.0, 0.0, 2.55]]), torch.tensor([[0.5, 0.0, 1.0]]).repeat(2, 1)
    values = voxel_values(points, colors, torch.tensor([[0.0, 0.0, 1.0]]).repeat(2, 1))
    assert values.tolist() == [[1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 2.0, 0.0, 0.0, 1.0, 1.0, 1.0]]
