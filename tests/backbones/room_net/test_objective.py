"""objective: known losses, and a gradient for every weight."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from geoguide3d.backbones.room_net.augmentation import Augmentation
from geoguide3d.backbones.room_net.batches import Batch, Sampling, make_batch
from geoguide3d.backbones.room_net.clouds import TrainingRooms
from geoguide3d.backbones.room_net.network import RoomNetConfig
from geoguide3d.backbones.room_net.objective import Objective, Pretraining, contrast, piece_means

TINY = RoomNetConfig(base_channels=4, channels=(6, 8, 8, 6))


@pytest.fixture(scope="module")
def batch(fake_clouds: Path) -> Batch:
    rooms = TrainingRooms(fake_clouds, 4)[:2]
    return make_batch(rooms, Augmentation(), Sampling(2, 300, 100), 0.05, torch.Generator().manual_seed(0))


@pytest.fixture
def model(batch: Batch) -> Pretraining:
    torch.manual_seed(0)
    deviation, mean = torch.std_mean(batch.descriptors, dim=0)
    return Pretraining(TINY, mean, deviation.clamp(min=1e-4))


def test_contrast_of_known_rows() -> None:
    """Each row has cosine 1 with its own and 0 with the two others: −log(e / (e + 2)) at temperature 1."""
    expected = -math.log(math.e / (math.e + 2))
    assert float(contrast(torch.eye(3), 5 * torch.eye(3), 1.0)) == pytest.approx(expected, abs=1e-6)
    assert float(contrast(torch.eye(3), torch.eye(3), 0.01)) == pytest.approx(0, abs=1e-6)
    assert float(contrast(torch.ones(4, 3), torch.ones(4, 3), 0.1)) == pytest.approx(math.log(4), abs=1e-6)


def test_contrast_has_the_gradient_of_its_values() -> None:
    generator = torch.Generator().manual_seed(0)
    first, second = torch.randn(2, 5, 3, dtype=torch.float64, generator=generator).requires_grad_().unbind(0)
    assert torch.autograd.gradcheck(lambda a, b: contrast(a, b, 0.5), (first, second))


def test_means_of_pieces_with_enough_points() -> None:
    piece = torch.tensor([5] * 8 + [2] * 7 + [9] * 10)
    features = torch.stack([piece.float(), torch.ones(25)], dim=1)
    assert piece_means(features, piece, 8).tolist() == [[5.0, 1.0], [9.0, 1.0]]


def test_every_weight_learns(batch: Batch, model: Pretraining) -> None:
    model(batch, Objective(), torch.Generator().manual_seed(0)).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and bool(parameter.grad.isfinite().all()), name
        assert bool(parameter.grad.any()) or name.endswith("bias"), name  # a bias before BatchNorm has none


def test_parts_weigh_what_they_should(batch: Batch, model: Pretraining) -> None:
    def loss(**weights: float) -> float:
        objective = Objective(**({"points": 0.0, "pieces": 0.0, "descriptors": 0.0} | weights))
        return float(model(batch, objective, torch.Generator().manual_seed(0)).detach())

    points, pieces, descriptors = loss(points=1), loss(pieces=1), loss(descriptors=1)
    assert min(points, pieces, descriptors) > 0
    assert loss(points=0.5, pieces=2, descriptors=3) == pytest.approx(0.5 * points + 2 * pieces + 3 * descriptors)


def test_descriptors_are_foretold_in_their_own_units(batch: Batch, model: Pretraining) -> None:
    """The same descriptors in other units, with their mean and deviation, cost the same."""
    objective = Objective(points=0, pieces=0, descriptors=1)
    before = float(model(batch, objective, torch.Generator().manual_seed(0)).detach())
    model.mean.mul_(100).add_(7)
    model.deviation.mul_(100)
    other = replace(batch, descriptors=batch.descriptors * 100 + 7)
    after = model(other, objective, torch.Generator().manual_seed(0))
    assert float(after.detach()) == pytest.approx(before, rel=1e-4)
