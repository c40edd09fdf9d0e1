from __future__ import annotations

from pathlib import Path

import pytest
import torch

from geoguide3d.encoders.room_clip.captions import CaptionWriter, vocabulary_of
from geoguide3d.encoders.room_clip.frames import FrameFolder, Frames
from geoguide3d.encoders.room_clip.networks import RoomClip, RoomClipConfig
from geoguide3d.encoders.room_clip.objective import Sampling
from geoguide3d.encoders.room_clip.trainer import RoomClipTrainer, TrainingConfig
from tests.training.resuming import assert_resumes

TINY = RoomClipConfig(channels=16, stages=(8, 8, 8, 8), image_pixels=768, text_width=16, text_heads=2)


def trainer(folder: Path, steps: int) -> RoomClipTrainer:
    frames = Frames.read(folder, "train")
    writer = CaptionWriter(FrameFolder.read(folder).categories)
    vocabulary = vocabulary_of(frames.things, writer, seed=0)
    sampling = Sampling(24, 4, 16)
    config = TrainingConfig(
        steps=steps, batch=4, crop=(24, 32), warm_up=4, average=0.9, checkpoint_steps=3, sampling=sampling
    )
    torch.manual_seed(0)
    return RoomClipTrainer(RoomClip(TINY, len(vocabulary)), frames, writer, vocabulary, config)


def test_training_lowers_the_loss(fake_frames: Path) -> None:
    run = trainer(fake_frames, steps=60)
    losses = [run.step()["loss"] for _ in range(60)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])


def test_a_resumed_run_is_the_same_run(fake_frames: Path, tmp_path: Path) -> None:
    assert_resumes(lambda: trainer(fake_frames, steps=8), 5, tmp_path)


def test_the_average_lags_behind_the_model(fake_frames: Path) -> None:
    run = trainer(fake_frames, steps=20)
    for _ in range(12):
        run.step()
    weight, average = run.model.image.head.weight, run.averaged.image.head.weight
    assert not torch.equal(weight, average)
    assert torch.allclose(weight, average, atol=0.05)
    assert not average.requires_grad


@pytest.mark.gpu
def test_trains_on_a_gpu(fake_frames: Path) -> None:
    frames = Frames.read(fake_frames, "train")
    writer = CaptionWriter(FrameFolder.read(fake_frames).categories)
    vocabulary = vocabulary_of(frames.things, writer, seed=0)
    config = TrainingConfig(steps=60, batch=4, crop=(24, 32), warm_up=4, sampling=Sampling(24, 4, 16))
    run = RoomClipTrainer(RoomClip(TINY, len(vocabulary)).to("cuda"), frames, writer, vocabulary, config)
    losses = [run.step()["loss"] for _ in range(60)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
