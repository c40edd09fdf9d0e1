"""loading: names, configs, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoguide3d.backbones.loading import load_backbone
from geoguide3d.backbones.protocol import FrozenBackbone


def test_loads_what_its_own_config_describes() -> None:
    backbone = load_backbone("descriptors", {"voxel_size_m": 0.05}, None)
    assert isinstance(backbone, FrozenBackbone)
    again = load_backbone(backbone.name, backbone.config, None)
    assert (again.config, again.channels) == (backbone.config, backbone.channels)
    assert again.config["voxel_size_m"] == 0.05


def test_unknown_name_lists_the_known_ones() -> None:
    known = "concerto, descriptors, minkunet18a, room_net, room_net_with_descriptors, sonata, spunet, utonia"
    with pytest.raises(ValueError, match=f"unknown backbone 'sonato'; known: {known}"):
        load_backbone("sonato", {}, None)


def test_rejects_weights_it_has_no_use_for() -> None:
    with pytest.raises(ValueError, match=r"has no weights, but net\.pth"):
        load_backbone("descriptors", {}, Path("net.pth"))


@pytest.mark.parametrize(
    ("config", "message"),
    [({"voxel": 1}, "voxel"), ({"version": 999}, "version 999"), ({"voxel_size_m": 0.0}, "must be positive, got 0.0")],
)
def test_rejects_a_config_it_does_not_understand(config: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_backbone("descriptors", config, None)
