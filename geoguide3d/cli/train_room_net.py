"""Pre-train RoomNet without labels on procedural rooms, and judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from geoguide3d.backbones.room_net.clouds import CloudCounts, write_clouds
from geoguide3d.backbones.room_net.network import RoomNetConfig
from geoguide3d.backbones.room_net.pretraining import PretrainingConfig, train_weights
from geoguide3d.cli.outputs import write_report
from geoguide3d.cli.room_retrieval import judge
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.scenes.rooms import make_room

EXAMPLES = """examples:
  train_room_net --config configs/room_net.yaml --output outputs/room_net
"""


@dataclass(frozen=True)
class TrainRoomNetSettings:
    """Pre-trains RoomNet without labels and writes room_net.safetensors, config.yaml and report.json.

    The report holds the average precision of finding things of one category in validation rooms. A run that was
    stopped goes on from its last checkpoint when it is started again.

    Args:
        output: folder of the results and of the checkpoint.
        clouds: folder of rooms; what is missing there is made (needs open3d). Default: OUTPUT/clouds.
        threads: CPU threads; 0 leaves the choice to torch.
        rooms: how many rooms are made.
        model: sizes of the network.
        training: how it is trained.
    """

    output: Path
    clouds: Path | None = None
    threads: int = 0
    rooms: CloudCounts = field(default_factory=CloudCounts)
    model: RoomNetConfig = field(default_factory=RoomNetConfig)
    training: PretrainingConfig = field(default_factory=PretrainingConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, resolved = parse_settings(TrainRoomNetSettings, argv, EXAMPLES)
    with command("geoguide3d train_room_net"):
        if settings.threads:
            torch.set_num_threads(settings.threads)
        clouds = settings.clouds or settings.output / "clouds"
        write_clouds(clouds, settings.rooms, lambda seed, split: make_room(seed, split).scene())
        weights = train_weights(clouds, settings.rooms.train, settings.output, settings.model, settings.training)
        text = write_report(settings.output, resolved, judge(weights, clouds, settings.rooms.validation))
    print(text)
    return 0
