"""loading: names, configs, and what does not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

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


@pytest.mark.parametrize(
    ("name", "device", "message"),
    [
        ("descriptors", "cuda", "'descriptors' is computed on the CPU alone; leave the device 'cuda' out"),
        ("room_net", "gpu", "'gpu' is no device of torch; try cpu or cuda"),
    ],
)
def test_rejects_a_device_it_cannot_run_on(name: str, device: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        load_backbone(name, {}, None, device)


@pytest.mark.skipif(torch.cuda.is_available(), reason="torch sees a GPU")
def test_a_missing_gpu_is_said() -> None:
    with pytest.raises(ValueError, match="torch sees no GPU for 'cuda'; leave the device out to run on the CPU"):
        load_backbone("room_net_with_descriptors", {}, None, "cuda")


def test_a_device_that_is_there() -> None:
    assert load_backbone("room_net_with_descriptors", {}, None, "cpu").channels == 487
