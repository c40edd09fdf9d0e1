"""What an objective is to the training, and the plainest: every point towards what the images say about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from geoguide3d.distillation.sample import Sample
from geoguide3d.losses.cosine import cosine_distance


class ObjectiveModule(Protocol):
    """A module with whatever heads its terms need.

    Attributes:
        semantic_mean: (C,) what it takes off unit vectors before it compares them; None where it takes nothing off.
        settings: a dataclass, which a resumed run must share; None where nothing can be set.
    """

    semantic_mean: Tensor | None
    settings: Any

    def __call__(self, semantic: Tensor, sample: Sample, generator: torch.Generator) -> Mapping[str, Tensor]:
        """Returns "loss", with a gradient to semantic (P, C), and detached terms for the log.

        Args:
            semantic: (P, C) float32, what the adapter says of the sample's points.
            generator: on the CPU; all that is random comes from it.
        """
        ...


# (geometric channels G, semantic channels C, mean unit vector of the teacher (C,)) → a fresh module
MakeObjective = Callable[[int, int, Tensor], nn.Module]


class PlainObjective(nn.Module):
    """Mean of 1 − cos over the taught points of a sample; 0 where it has none."""

    semantic_mean: Tensor | None
    settings = None

    def __init__(self, geometric_channels: int, semantic_channels: int, semantic_mean: Tensor) -> None:
        super().__init__()
        self.register_buffer("semantic_mean", None)

    def forward(self, semantic: Tensor, sample: Sample, generator: torch.Generator) -> dict[str, Tensor]:
        """Returns the loss alone."""
        if not bool(sample.taught.any()):
            return {"loss": semantic.sum() * 0}
        return {"loss": cosine_distance(semantic[sample.taught], sample.targets[sample.taught])}
