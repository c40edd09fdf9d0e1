"""pretraining: the loss falls, and a resumed run is the same run."""

from __future__ import annotations

from pathlib import Path

from geoguide3d.backbones.room_net.batches import Sampling
from geoguide3d.backbones.room_net.clouds import TrainingRooms
from geoguide3d.backbones.room_net.network import RoomNetConfig
from geoguide3d.backbones.room_net.pretraining import PretrainingConfig, RoomNetTrainer, train_weights
from tests.training.resuming import assert_resumes

TINY = RoomNetConfig(voxel_size_m=0.06, base_channels=4, channels=(6, 8, 8, 6))
SAMPLING = Sampling(rooms=2, matches=128, described=128)


def trainer(clouds: Path, steps: int) -> RoomNetTrainer:
    config = PretrainingConfig(steps=steps, warm_up=2, average=0.9, checkpoint_steps=3, sampling=SAMPLING)
    return RoomNetTrainer(TrainingRooms(clouds, 4), TINY, config)


def test_training_lowers_the_loss(fake_clouds: Path) -> None:
    run = trainer(fake_clouds, steps=24)
    losses = [run.step()["loss"] for _ in range(24)]
    assert sum(losses[-6:]) < 0.9 * sum(losses[:6])


def test_a_resumed_run_is_the_same_run(fake_clouds: Path, tmp_path: Path) -> None:
    assert_resumes(lambda: trainer(fake_clouds, steps=6), 4, tmp_path)


def test_the_same_configuration_gives_the_same_bytes(fake_clouds: Path, tmp_path: Path) -> None:
    config = PretrainingConfig(steps=2, sampling=SAMPLING)
    files = [train_weights(fake_clouds, 4, tmp_path / name, TINY, config) for name in ("a", "b")]
    assert files[0].read_bytes() == files[1].read_bytes()
    other = PretrainingConfig(steps=2, sampling=SAMPLING, seed=1)
    assert train_weights(fake_clouds, 4, tmp_path / "c", TINY, other).read_bytes() != files[0].read_bytes()
