"""RoomNetWithDescriptors: both, side by side, whatever the scene lacks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.scenes.scene import Scene
from tests.backbones.room_net.fake_rooms import fake_scene

SCENE = fake_scene(3, "validation")


@pytest.fixture(scope="module")
def backbone() -> FrozenBackbone:
    return load_backbone("room_net_with_descriptors", {}, None)


def test_both_stand_side_by_side(backbone: FrozenBackbone) -> None:
    assert isinstance(backbone, FrozenBackbone)
    parts = [load_backbone(name, {}, None) for name in ("room_net", "descriptors")]
    features = backbone.encode(SCENE)
    assert features.shape == (len(SCENE), backbone.channels)
    assert torch.equal(features, torch.cat([part.encode(SCENE) for part in parts], dim=1))


def test_its_config_builds_it_again(backbone: FrozenBackbone) -> None:
    again = load_backbone(backbone.name, json.loads(json.dumps(backbone.config)), None)
    assert again.config == backbone.config
    assert again.channels == backbone.channels
    with pytest.raises(ValueError, match="descriptors version 99"):
        load_backbone(backbone.name, {"descriptors": {"version": 99}}, None)
    with pytest.raises(ValueError, match="room_net version 99"):
        load_backbone(backbone.name, {"version": 99}, None)


def test_missing_normals_are_estimated_once_for_both(
    backbone: FrozenBackbone, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        features = backbone.encode(replace(SCENE, normals=None, colors=None))
    assert bool(features.isfinite().all())
    assert caplog.text.count("normals from neighbouring") == 1


@pytest.mark.parametrize("count", [1, 2, 3])
def test_a_point_or_two(backbone: FrozenBackbone, count: int) -> None:
    features = backbone.encode(Scene(torch.eye(3)[:count]))
    assert features.shape == (count, backbone.channels)
    assert bool(features.isfinite().all())
