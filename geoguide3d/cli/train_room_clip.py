"""Train RoomCLIP from scratch on rendered rooms and captions, and judge it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch

from geoguide3d.cli.outputs import write_report
from geoguide3d.cli.room_frames import render_room_frames
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.encoders.room_clip.frames import FrameFolder, RoomCounts
from geoguide3d.encoders.room_clip.networks import RoomClipConfig
from geoguide3d.encoders.room_clip.scoring import judge
from geoguide3d.encoders.room_clip.trainer import TrainingConfig, train_weights

EXAMPLES = """examples:
  train_room_clip --config configs/room_clip.yaml --output outputs/room_clip
  train_room_clip --weights geoguide3d/encoders/room_clip/room_clip.safetensors --rooms.train 0 --output outputs/judged
"""


@dataclass(frozen=True)
class TrainRoomClipSettings:
    """Trains RoomCLIP from scratch and writes room_clip.safetensors, its vocabulary, config.yaml and report.json.

    A run that was stopped goes on from its last checkpoint when it is started again.

    Args:
        output: folder of the results and of the checkpoint.
        frames: folder of rendered frames; what is missing there is rendered (needs open3d). Default: OUTPUT/frames.
        weights: judge this weights file instead of training one.
        device: cpu or cuda.
        threads: CPU threads; 0 leaves the choice to torch.
        rooms: what is rendered.
        model: sizes of the networks.
        training: how they are trained.
    """

    output: Path
    frames: Path | None = None
    weights: Path | None = None
    device: str = "cpu"
    threads: int = 0
    rooms: RoomCounts = field(default_factory=RoomCounts)
    model: RoomClipConfig = field(default_factory=RoomClipConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, resolved = parse_settings(TrainRoomClipSettings, argv, EXAMPLES)
    with command("geoguide3d train_room_clip"):
        if settings.threads:
            torch.set_num_threads(settings.threads)
        frames = settings.frames or settings.output / "frames"
        if not FrameFolder.is_whole(frames):
            render_room_frames(frames, settings.rooms)
        weights = settings.weights or train_weights(
            frames, settings.output, settings.model, settings.training, settings.device
        )
        report = {split: judge(weights, frames, split, settings.device) for split in ("validation", "test")}
        text = write_report(settings.output, resolved, report)
    print(text)
    return 0
