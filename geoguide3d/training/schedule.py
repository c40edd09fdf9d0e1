"""How long, how fast and with what optimiser to train."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

_POLY_POWER = 0.9


@dataclass(frozen=True)
class Schedule:
    """What every training sets.

    Args:
        steps: optimiser steps.
        learning_rate: highest learning rate.
        warm_up: steps until it is reached; afterwards it falls.
        optimizer: adamw, or adam as OpenScene and SAS have it (with weight_decay 0).
        decay: how the rate falls to 0: cosine, or poly, (1 - progress) ** 0.9, as OpenScene and SAS have it.
        weight_decay: of matrices and kernels.
        longest_gradient: longer gradients are cut to this length.
        average: decay of the moving average of the weights, which is what is kept; 0 keeps the last weights.
        seed: of weights and batches.
        checkpoint_steps: steps from one checkpoint to the next.
        log_every: steps between two lines of training.jsonl.
        tensorboard: also writes a TensorBoard log.

    Raises:
        ValueError: a number that must be positive is not, or another one is out of its range.
    """

    steps: int = 10_000
    learning_rate: float = 2e-3
    warm_up: int = 200
    optimizer: Literal["adamw", "adam"] = "adamw"
    decay: Literal["cosine", "poly"] = "cosine"
    weight_decay: float = 0.02
    longest_gradient: float = 5.0
    average: float = 0.998
    seed: int = 0
    checkpoint_steps: int = 250
    log_every: int = 20
    tensorboard: bool = False

    def __post_init__(self) -> None:
        self.require_positive("steps", "learning_rate", "longest_gradient", "checkpoint_steps", "log_every")
        for name in ("warm_up", "weight_decay"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"training.{name} must not be negative, got {getattr(self, name)}")
        if not 0 <= self.average < 1:
            raise ValueError(f"training.average must lie in [0, 1), got {self.average}")

    def require_positive(self, *names: str) -> None:
        """Passes where these fields are above 0.

        Raises:
            ValueError: one is not.
        """
        for name in names:
            if not getattr(self, name) > 0:
                raise ValueError(f"training.{name} must be positive, got {getattr(self, name)}")

    def rate(self, step: int) -> float:
        """Returns the learning rate of a step."""
        if step < self.warm_up:
            return self.learning_rate * (step + 1) / self.warm_up
        progress = (step - self.warm_up) / max(1, self.steps - self.warm_up)
        if self.decay == "poly":
            return float(self.learning_rate * (1 - progress) ** _POLY_POWER)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))

    def make_optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Returns the optimiser; only matrices and kernels decay."""
        values = list(parameters)
        groups: list[dict[str, Any]] = [
            {"params": [value for value in values if value.ndim > 1], "weight_decay": self.weight_decay},
            {"params": [value for value in values if value.ndim <= 1], "weight_decay": 0.0},
        ]
        kind = torch.optim.AdamW if self.optimizer == "adamw" else torch.optim.Adam
        return kind(groups, lr=self.learning_rate, fused=True)
