"""From a backbone's name, as stored with every model, to the backbone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from geoguide3d.backbones.descriptors import Descriptors
from geoguide3d.backbones.protocol import FrozenBackbone
from geoguide3d.backbones.ptv3.concerto import Concerto
from geoguide3d.backbones.ptv3.sonata import Sonata
from geoguide3d.backbones.ptv3.utonia import Utonia
from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.backbones.room_net.with_descriptors import RoomNetWithDescriptors
from geoguide3d.backbones.sparse_unet.minkunet import MinkUNet18A
from geoguide3d.backbones.sparse_unet.spunet import SpUNet
from geoguide3d.backbones.zoo import PREFIX, ZooBackbone
from geoguide3d.ops.devices import usable_device

_WITHOUT_WEIGHTS: dict[str, Callable[..., FrozenBackbone]] = {
    "descriptors": Descriptors,
    "room_net": RoomNet.load,
    "room_net_with_descriptors": RoomNetWithDescriptors,
}
_WITH_WEIGHTS: dict[str, Callable[..., FrozenBackbone]] = {
    "concerto": Concerto.load,
    "minkunet18a": MinkUNet18A.load,
    "sonata": Sonata.load,
    "spunet": SpUNet.load,
    "utonia": Utonia.load,
}
_ON_THE_CPU_ALONE = {"descriptors"}
_PLACES = {"weights", "hub"}  # keys of a config that say where the checkpoint is, not what to do with it


def load_backbone(
    name: str, config: dict[str, Any], weights: Path | None, device: torch.device | str | None = None
) -> FrozenBackbone:
    """Returns the backbone of that name, built from its config and its checkpoint.

    Args:
        config: keyword arguments of the backbone, as its own `config` gives them; the places that `find_weights` looks
            up in it ("weights", "hub") are left out.
        weights: the checkpoint; None for backbones that have none or bring their own, and for "zoo:NAME", which finds
            its own.
        device: where the network runs; None: on the CPU, those of "zoo:" on a GPU.

    Raises:
        ValueError: an unknown name, a config that the backbone does not understand, weights for a backbone that has
            none, none for one that needs them, a checkpoint that does not fit, or a device that is not there.
    """
    settings = {key: value for key, value in config.items() if key not in _PLACES}
    if name not in _WITHOUT_WEIGHTS | _WITH_WEIGHTS and not name.startswith(PREFIX):
        known = ", ".join(sorted(_WITHOUT_WEIGHTS | _WITH_WEIGHTS))
        raise ValueError(f"unknown backbone {name!r}; known: {known}, and {PREFIX}NAME for torch-pointcloud's models")
    if name in _WITHOUT_WEIGHTS and weights is not None:
        raise ValueError(f"backbone {name!r} has no weights, but {weights} was given; leave the file out")
    if name in _WITH_WEIGHTS and weights is None:
        raise ValueError(f"backbone {name!r} needs weights; name the file of its checkpoint")
    if device is not None:
        settings["device"] = _checked_device(name, device)
    try:
        if name.startswith(PREFIX):
            return ZooBackbone(name, weights, **settings)
        return _WITHOUT_WEIGHTS[name](**settings) if weights is None else _WITH_WEIGHTS[name](weights, **settings)
    except TypeError as error:
        raise ValueError(f"backbone {name!r} does not understand its config {config}: {error}") from error


def _checked_device(name: str, device: torch.device | str) -> torch.device:
    if name in _ON_THE_CPU_ALONE:
        raise ValueError(f"backbone {name!r} is computed on the CPU alone; leave the device {str(device)!r} out")
    return usable_device(device)
