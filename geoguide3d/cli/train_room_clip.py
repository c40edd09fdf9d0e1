"""Train RoomCLIP from scratch on rendered rooms and captions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from geoguide3d.cli.room_frames import render_room_frames
from geoguide3d.cli.settings import command, parse_settings
from geoguide3d.encoders.room_clip import scoring
from geoguide3d.encoders.room_clip.captions import CaptionWriter, vocabulary_of
from geoguide3d.encoders.room_clip.frames import FrameFolder, Frames, RoomCounts
from geoguide3d.encoders.room_clip.networks import RoomClip, RoomClipConfig
from geoguide3d.encoders.room_clip.trainer import Trainer, TrainingConfig, train
from geoguide3d.encoders.room_clip.weights import write_room_clip
from geoguide3d.store.atomic import atomic_file


@dataclass(frozen=True)
class TrainRoomClipSettings:
    """Trains RoomCLIP from scratch and writes room_clip.safetensors, its vocabulary, config.yaml and report.json.

    A run that was stopped goes on from its last checkpoint when it is started again.

    Args:
        output: folder of the results and of the checkpoint.
        frames: folder of rendered frames; what is missing there is rendered (needs open3d). Default: OUTPUT/frames.
        device: cpu or cuda.
        threads: CPU threads; 0 leaves the choice to torch.
        checkpoint_steps: steps from one checkpoint to the next.
        rooms: what is rendered.
        model: sizes of the networks.
        training: how they are trained.
    """

    output: Path
    frames: Path | None = None
    device: str = "cpu"
    threads: int = 0
    checkpoint_steps: int = 250
    rooms: RoomCounts = field(default_factory=RoomCounts)
    model: RoomClipConfig = field(default_factory=RoomClipConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command."""
    settings, resolved = parse_settings(TrainRoomClipSettings, argv)
    with command("geoguide3d train_room_clip"):
        report = json.dumps(train_room_clip(settings), indent=1)
        for name, text in (("config.yaml", resolved), ("report.json", report + "\n")):
            with atomic_file(settings.output / name) as temporary:
                temporary.write_text(text, encoding="utf-8")
    print(report)
    return 0


def train_room_clip(settings: TrainRoomClipSettings) -> dict[str, Any]:
    """Does everything and returns the report."""
    if settings.threads:
        torch.set_num_threads(settings.threads)
    folder = settings.frames or settings.output / "frames"
    if not FrameFolder.is_whole(folder):
        render_room_frames(folder, settings.rooms)
    names, frames = FrameFolder.read(folder), Frames.read(folder, "train")
    writer = CaptionWriter(names.categories)
    vocabulary = vocabulary_of(frames.things, writer, settings.training.seed)
    torch.manual_seed(settings.training.seed)
    model = RoomClip(settings.model, len(vocabulary)).to(settings.device)
    trainer = Trainer(model, frames, writer, vocabulary, settings.training)
    train(trainer, settings.output / "checkpoint.pt", settings.checkpoint_steps)
    weights = settings.output / "room_clip.safetensors"
    write_room_clip(weights, trainer.averaged, settings.model, vocabulary)
    report: dict[str, Any] = {"parameters": sum(p.numel() for p in model.parameters()), "words": len(vocabulary)}
    return report | {split: scoring.judge(weights, folder, split, settings.device) for split in ("validation", "test")}
