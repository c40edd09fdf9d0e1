"""Small scenes of one class each, told apart by a channel of small scale beside one of large scale."""

from __future__ import annotations

import torch
from torch import nn

from geoguide3d.distillation.distill import TrainingSettings
from geoguide3d.distillation.lessons import Lesson
from geoguide3d.distillation.objective import Objective, preset
from geoguide3d.distillation.sample import Sample

SETTINGS = TrainingSettings(
    steps=160, scenes_per_step=1, points_per_step=128, learning_rate=3e-3, hidden_channels=32, log_every=60
)
DIRECTIONS = torch.eye(6)[:3]


def lesson(kind: int, count: int = 200) -> Lesson:
    """Every second point is taught, targets are 3 long."""
    generator = torch.Generator().manual_seed(kind)
    features = torch.randn(count, 4, generator=generator) * torch.tensor([1e-3, 1e3, 1.0, 0.0])
    features[:, 0] += 1e-2 * kind
    taught = torch.arange(0, count, 2)
    return Lesson(f"kind {kind}", features, taught, 3 * DIRECTIONS[kind].expand(len(taught), -1).to(torch.float16))


def three_lessons() -> list[Lesson]:
    return [lesson(0), lesson(1, count=50), lesson(2)]


class PlainObjective(Objective):
    """The preset "plain"."""

    def __init__(self, geometric_channels: int, semantic_channels: int, semantic_mean: torch.Tensor) -> None:
        super().__init__(preset("plain"), geometric_channels, semantic_channels, semantic_mean)


class ScaledObjective(PlainObjective):
    """Has a head, and scenes that do not use it: `kind 1` does not."""

    def __init__(self, geometric_channels: int, semantic_channels: int, semantic_mean: torch.Tensor) -> None:
        super().__init__(geometric_channels, semantic_channels, semantic_mean)
        self.head = nn.Linear(semantic_channels, semantic_channels)

    def forward(self, semantic: torch.Tensor, sample: Sample, generator: torch.Generator) -> dict[str, torch.Tensor]:
        loss = super().forward(semantic, sample, generator)["loss"]
        if bool(sample.targets[:, 1].any()):
            return {"loss": loss}
        noise = torch.rand(semantic.shape[1], generator=generator)
        headed = (self.head(semantic) - noise).square().mean()
        return {"loss": loss + 0.1 * headed, "headed": headed.detach()}
