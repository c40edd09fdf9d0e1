"""How RoomNet is trained, without labels: batches that depend on (seed, step) alone."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from geoguide3d.backbones.room_net.augmentation import Augmentation
from geoguide3d.backbones.room_net.batches import Sampling, make_batch
from geoguide3d.backbones.room_net.calibration import calibrate
from geoguide3d.backbones.room_net.clouds import TrainingRooms
from geoguide3d.backbones.room_net.network import RoomNetConfig
from geoguide3d.backbones.room_net.objective import Objective, Pretraining
from geoguide3d.backbones.room_net.weights import write_room_net
from geoguide3d.training.run_folder import open_run
from geoguide3d.training.schedule import Schedule
from geoguide3d.training.trainer import Trainer, train

_ROOMS_FOR_STATISTICS, _CALIBRATING_ROOMS = 40, 24


@dataclass(frozen=True)
class PretrainingConfig(Schedule):
    """How RoomNet is trained, besides the `Schedule`.

    Args:
        sampling: what of a batch the losses look at.
        augmentation: how strongly two views differ.
        objective: how much each part of the loss weighs.
    """

    steps: int = 3600
    warm_up: int = 50
    checkpoint_steps: int = 100
    sampling: Sampling = field(default_factory=Sampling)
    augmentation: Augmentation = field(default_factory=Augmentation)
    objective: Objective = field(default_factory=Objective)


class RoomNetTrainer(Trainer[Pretraining]):
    """Trains RoomNet on rooms without labels.

    Args:
        rooms: to learn from.
        sizes: of the network.
        config: how.
    """

    def __init__(self, rooms: TrainingRooms, sizes: RoomNetConfig, config: PretrainingConfig) -> None:
        deviation, mean = torch.std_mean(torch.cat([room.described for room in rooms[:_ROOMS_FOR_STATISTICS]]), dim=0)
        torch.manual_seed(config.seed)
        super().__init__(Pretraining(sizes, mean, deviation.clamp(min=1e-4)), config)
        self._rooms, self._sizes, self._config = rooms, sizes, config

    def terms(self, part: int) -> dict[str, Tensor]:
        """Returns the loss of the views of this step."""
        config, generator = self._config, self.generator(part)
        drawn = torch.randint(len(self._rooms), (config.sampling.rooms,), generator=generator).tolist()
        rooms = [self._rooms[number] for number in drawn]
        batch = make_batch(rooms, config.augmentation, config.sampling, self._sizes.voxel_size_m, generator)
        return {"loss": self.model(batch, config.objective, generator)}


def train_weights(clouds: Path, count: int, output: Path, sizes: RoomNetConfig, config: PretrainingConfig) -> Path:
    """Trains on the folder's first rooms and returns the weights file that it wrote, beside a checkpoint."""
    rooms = TrainingRooms(clouds, count)
    trainer = RoomNetTrainer(rooms, sizes, config)
    with open_run(output, trainer.processes) as run:
        train(trainer, run)
    calibrate(trainer.averaged.network, rooms[:_CALIBRATING_ROOMS], sizes.voxel_size_m)
    weights = output / "room_net.safetensors"
    write_room_net(weights, trainer.averaged.network, sizes)
    return weights
