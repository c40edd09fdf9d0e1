"""The whole sparse network trained by the objective, as OpenScene does, instead of an adapter on frozen features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from ablation_study.rooms import RoomData
from ablation_study.rows import Start
from ablation_study.voxels import Voxels
from geoguide3d.backbones.room_net.network import RoomNetConfig, RoomNetwork
from geoguide3d.backbones.room_net.weights import read_room_net
from geoguide3d.distillation.adapter import Adapter
from geoguide3d.distillation.distill import MakeObjective, TrainingSettings
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.objective import Objective
from geoguide3d.distillation.sampling import draw
from geoguide3d.distillation.statistics import mean_unit_target
from geoguide3d.sparse.tensor import SparseTensor
from geoguide3d.training.trainer import Trainer, train

_NORMALS = slice(3, 6)  # of a voxel's values


class WholeStudent(nn.Module):
    """RoomNet's network with an adapter behind it, and the heads of the objective."""

    def __init__(self, network: RoomNetwork, adapter: Adapter, objective: Objective) -> None:
        super().__init__()
        self.network, self.adapter, self.objective = network, adapter, objective

    def forward(self, voxels: Voxels) -> Tensor:
        """Returns (N, C) features of the kept points."""
        values, cells = voxels.values.to(torch.float32), voxels.cells.to(torch.int64)
        said: Tensor = self.adapter(self.network(SparseTensor.of(values, pad(cells, (1, 0))), voxels.of_point.long()))
        return said

    @torch.no_grad()
    def encode(self, room: RoomData) -> Tensor:
        """Returns (N, C) features of a room's kept points."""
        said: Tensor = self(_voxels(room))
        return said


class WholeTrainer(Trainer[WholeStudent]):
    """Trains on one whole room per step, turned and mirrored at random: no points are drawn from it."""

    def __init__(
        self, student: WholeStudent, lessons: Sequence[Lesson], rooms: Sequence[RoomData], settings: TrainingSettings
    ) -> None:
        super().__init__(student, settings)
        self._lessons, self._rooms = lessons, rooms

    def terms(self, part: int) -> Mapping[str, Tensor]:
        """Returns the objective's terms of the room of this step."""
        generator = self.generator(part)
        epoch, place = divmod(self.step_count, len(self._rooms))
        order = torch.Generator().manual_seed((self.schedule.seed + 1) * 1_000_003 + epoch)
        row = int(torch.randperm(len(self._rooms), generator=order)[place])
        lesson = self._lessons[row]
        semantic = self.model(mirrored(_voxels(self._rooms[row]), generator))
        terms: Mapping[str, Tensor] = self.model.objective(semantic, draw(lesson, len(lesson), generator), generator)
        return terms


def train_whole(
    lessons: Sequence[Lesson],
    rooms: Sequence[RoomData],
    settings: TrainingSettings,
    objective: MakeObjective,
    start: Start,
) -> WholeStudent:
    """Returns the moving average of the trained network, in eval mode.

    Lessons are of the rooms; the objective sees the same frozen features of geometry as with an adapter alone.
    """
    mean = mean_unit_target(lessons).to(torch.float32)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        network = RoomNetwork(RoomNetConfig()) if start == "random" else read_room_net()[0]
        adapter = Adapter(network.channels, lessons[0].semantic_channels, settings.hidden_channels)
        heads = objective(lessons[0].geometric_channels, lessons[0].semantic_channels, mean)
    trainer = WholeTrainer(WholeStudent(network, adapter, heads), lessons, rooms, settings)
    train(trainer, None)
    _take_statistics(trainer.averaged, rooms)
    return trainer.averaged


def mirrored(voxels: Voxels, generator: torch.Generator) -> Voxels:
    """Returns the voxels mirrored in x, in y and along the diagonal, each or not: 8 ways, four of them turns."""
    cells, values = voxels.cells.clone(), voxels.values.clone()
    normals = values[:, _NORMALS]
    flip_x, flip_y, swap = (torch.rand(3, generator=generator) < 0.5).tolist()
    for axis, flip in ((0, flip_x), (1, flip_y)):
        if flip:
            cells[:, axis] = cells[:, axis].max() - cells[:, axis]
            normals[:, axis] *= -1
    if swap:
        cells, normals[:, :2] = cells[:, [1, 0, 2]], normals[:, [1, 0]]
    return Voxels(values, cells, voxels.of_point)


@torch.no_grad()
def _take_statistics(student: WholeStudent, rooms: Sequence[RoomData]) -> None:
    """Gives averaged weights the means and deviations that they themselves have over the rooms."""
    norms = [module for module in student.network.modules() if isinstance(module, nn.BatchNorm1d)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean of all rooms
        norm.train()
    for room in rooms:
        student.encode(room)
    student.eval()


def _voxels(room: RoomData) -> Voxels:
    if room.voxels is None:
        raise ValueError(f"{room.name}: a network takes voxels; prepare the rooms with them")
    return room.voxels
