"""RoomNet on disk: float16 safetensors with the sizes in its metadata."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from geoguide3d.backbones.checkpoint import load_parameters, read_checkpoint
from geoguide3d.backbones.room_net.network import RoomNetConfig, RoomNetwork
from geoguide3d.store.atomic import atomic_file

EMBEDDED_WEIGHTS = Path(__file__).with_name("room_net.safetensors")


def write_room_net(path: Path, network: RoomNetwork, config: RoomNetConfig) -> None:
    """Writes a weights file."""
    halves = {
        name: value.cpu().to(torch.float16 if value.is_floating_point() else value.dtype).contiguous()
        for name, value in network.state_dict().items()
    }
    with atomic_file(path) as temporary:
        save_file(halves, temporary, {"config": json.dumps(config.as_values())})


def read_room_net(path: Path | None = None) -> tuple[RoomNetwork, RoomNetConfig]:
    """Returns the network of a weights file, by default of the embedded one, and its sizes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file of other content.
    """
    checkpoint = read_checkpoint(path or EMBEDDED_WEIGHTS)
    try:
        config = RoomNetConfig.of(checkpoint.config or {})
    except (KeyError, TypeError) as error:
        raise ValueError(f"{checkpoint.path} is not a RoomNet file: its metadata hold no sizes ({error})") from None
    with torch.device("meta"):  # no random numbers for what the file fills
        network = RoomNetwork(config)
    load_parameters(network, checkpoint)
    return network, config
