"""The whole network of the ablation: it learns, always the same, and is judged with statistics of its own."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from ablation_study.rooms import RoomData
from ablation_study.rows import ROWS
from ablation_study.runs import lesson_of
from ablation_study.voxels import Voxels, voxels_of
from ablation_study.whole_network import WholeStudent, train_whole
from torch import Tensor

from geoguide3d.backbones.network_input import network_input
from geoguide3d.backbones.room_net.backbone import RoomNet
from geoguide3d.distillation.distill import TrainingSettings
from geoguide3d.distillation.objective import Objective
from geoguide3d.evaluation.open_vocabulary import nearest_class
from geoguide3d.geometry.masks import PointMasks
from geoguide3d.losses.centring import centred
from geoguide3d.scenes.scene import Scene

WORDS = torch.eye(3)


def room(seed: int) -> RoomData:
    """Returns a floor, low, and a shelf, high: what a voxel's height tells."""
    generator = torch.Generator().manual_seed(seed)
    cells = torch.unique(torch.randint(24, (500, 3), generator=generator), dim=0)
    high = torch.rand(len(cells), generator=generator) < 0.5
    values = torch.zeros(len(cells), 8, dtype=torch.float16)
    values[:, 6], values[:, 7] = torch.where(high, 1.0, -1.0), 1.0
    labels = high.long()
    return RoomData(
        name=f"train_{seed:06d}_office",
        features=torch.randn(len(cells), 5, generator=generator).to(torch.float16),
        targets=WORDS[labels].to(torch.float16),
        labels=labels,
        superpoints={"standard": labels},
        masks={"proposer": PointMasks.from_labels(labels)},
        voxels=Voxels(values, cells.to(torch.int16), torch.arange(len(cells), dtype=torch.int32)),
    )


def trained(name: str, steps: int) -> WholeStudent:
    rooms, row = [room(0), room(1)], ROWS[name]
    settings = TrainingSettings(steps=steps, learning_rate=3e-3, hidden_channels=16, average=0.5)
    lessons = [lesson_of(row, one, WORDS) for one in rooms]
    return train_whole(lessons, rooms, settings, partial(Objective, row.settings), "random")


def right(student: WholeStudent, one: RoomData) -> float:
    """Returns the share of points whose word is right, of the two that are taught, compared as full is trained."""
    mean = WORDS[:2].mean(dim=0)
    said, words = centred(student.encode(one), mean), centred(WORDS[:2], mean)
    return float((nearest_class(said, words) == one.labels).float().mean())


@pytest.mark.parametrize("name", ["plain", "full"])
def test_it_learns_what_voxels_tell_and_says_it_of_another_room(name: str) -> None:
    student = trained(name, 12)
    assert right(student, room(2)) > 0.9
    assert not student.training and not any(value.requires_grad for value in student.parameters())


def test_the_same_seed_gives_the_same_bits() -> None:
    first, second = (trained("full", 2).encode(room(2)) for _ in range(2))
    assert torch.equal(first, second)


def test_statistics_are_those_of_the_averaged_weights_over_all_rooms() -> None:
    student = trained("plain", 2)
    norm = student.network.norm
    outputs: list[Tensor] = []
    norm.register_forward_pre_hook(lambda module, inputs: outputs.append(inputs[0]))
    for seed in range(2):
        student.encode(room(seed))
    assert int(norm.num_batches_tracked) == 2
    assert norm.running_mean is not None
    expected = torch.stack([rows.mean(dim=0) for rows in outputs]).mean(dim=0)
    # Other norms had the statistics of one room while these were taken, and have the mean of both now.
    torch.testing.assert_close(norm.running_mean, expected, rtol=0.2, atol=0.2)


def test_voxels_are_those_that_the_backbone_sees() -> None:
    generator = torch.Generator().manual_seed(0)
    normals = torch.nn.functional.normalize(torch.randn(300, 3, generator=generator), dim=1)
    up = torch.tensor([0.0, 0.0, 1.0])
    scene = Scene(torch.rand(300, 3, generator=generator), up=up, colors=torch.rand(300, 3), normals=normals)
    rows = torch.arange(0, 300, 3)
    made, seen = voxels_of(scene, rows), network_input(scene, 0.04, ("colors", "normals"))
    assert torch.equal(made.cells.long(), seen.cells) and torch.equal(made.of_point.long(), seen.voxel_of_point[rows])
    torch.testing.assert_close(made.values.float(), RoomNet.load()._values(seen), rtol=0, atol=1e-3)


def test_a_room_without_voxels_is_refused() -> None:
    with pytest.raises(ValueError, match="prepare the rooms with them"):
        trained("plain", 1).encode(RoomData("train_0_x", *[torch.zeros(1, 1)] * 3, {}, {}))
